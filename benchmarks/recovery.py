"""From kill -9 until a container without a slot has one again, that is, its next line is on the server.

Measured once with the slot killed, and once with the whole runner killed, which `pushmill up` restarts. The container
prints every 10 ms. Floor: a Python process that has imported the modules of a slot. Promise: at most 5 s, each time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
from bench import IMAGE, at_most, report, scratch, wait_for
from instance import Instance

ROUNDS = 8
PROMISE_S = 5.0
YAML = f"- step:\n    name: print\n    image: {IMAGE}\n    command: while true; do date +%s%N; sleep 0.01; done\n"


def floor() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import runner.cli"], check=True)
    return time.perf_counter() - started


def supervisor(instance: Instance) -> psutil.Process:
    return psutil.Process(int((instance.data / "run" / "runner.pid").read_text().split()[0]))


def keeper(instance: Instance, execution: str) -> psutil.Process | None:
    """Return the slot that has the execution's lock open."""
    lock = str(instance.data / "runner" / "executions" / execution / "lock")
    for slot in supervisor(instance).children():
        files = f"/proc/{slot.pid}/fd"
        if any(os.path.realpath(f"{files}/{fd}") == lock for fd in os.listdir(files)):
            return slot
    return None


def newest_ns(instance: Instance, execution: str) -> int:
    """Return the time of the last line on the server, as printed by the container."""
    events = instance.get(f"/executions/{execution}/events/", limit=10)["events"]
    return max((int(event["message"]) for event in events if event["stream"] == "stdout"), default=0)


def main() -> None:
    with scratch() as (instance, checkout):
        checkout.commit({"valohai.yaml": YAML})
        checkout.push(instance.git_url("bench"))
        execution = wait_for(lambda: instance.executions("bench"), 30)[0]["id"]

        def recovery(all_of_it: bool) -> float:
            wait_for(lambda: time.time_ns() - newest_ns(instance, execution) < 500_000_000, 30)
            time.sleep(1.5)  # a slot that dies within a second of its start is restarted with a delay
            slot = wait_for(lambda: keeper(instance, execution), 30)
            killed_ns = time.time_ns()
            if all_of_it:
                supervisor(instance).send_signal(signal.SIGKILL)
            slot.send_signal(signal.SIGKILL)
            wait_for(lambda: newest_ns(instance, execution) > killed_ns, 60, 0.02)
            return (time.time_ns() - killed_ns) / 1e9

        floors = [floor() for _ in range(ROUNDS)]
        for what, all_of_it, rounds in (("slot", False, ROUNDS), ("runner", True, 3)):
            ours = [recovery(all_of_it) for _ in range(rounds)]
            what = f"kill -9 of the {what} to the next line on the server, the longest"
            report(what, [max(ours)], floors, unit="s", promise=at_most(PROMISE_S, "s"))
        for _ in range(2):
            instance.client.post(f"/executions/{execution}/stop/").raise_for_status()
        instance.wait_final(execution)


if __name__ == "__main__":
    main()

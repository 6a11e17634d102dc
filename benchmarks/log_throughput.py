"""A million lines, 100 MB, a tenth of them JSON, from a container to the server's disk, including metadata rows.

Floor: the same container read through Docker's raw attach socket with the default json-file driver, and discarded.
Promise: at most 1.0 times the floor, and the runner's memory always under 150 MB.
"""

from __future__ import annotations

import threading
import time

import docker
import psutil
from bench import IMAGE, NETWORK, report, scratch, wait_for

ROUNDS = 3
LINES = 1_000_000
POLL_S = 0.05  # rarely enough to leave the processor to what is measured
MEMORY_MB = 150
MAKE = f"""
import json
with open("/tmp/lines", "w") as file:
    for i in range({LINES}):
        if i % 10:
            file.write("line %07d " % i + "x" * 82 + "\\n")
        else:
            file.write(json.dumps({{"step": i, "loss": 1 / (i + 1), "accuracy": i / {LINES}, "note": "y" * 20}}) + "\\n")
"""
# both sides create the lines in the same way before the clock starts; the first line marks the start
COMMAND = f"python3 -c '{MAKE}' && echo begin && sleep 1 && cat /tmp/lines && echo end"
YAML = f"- step:\n    name: print\n    image: {IMAGE}\n    command: sh print.sh\n"


def floor() -> float:
    """Return the seconds from "begin" to the end of the output, read from the attach socket and discarded."""
    client = docker.APIClient()
    host = client.create_host_config(network_mode=NETWORK, log_config={"Type": "json-file"})
    container = client.create_container(IMAGE, ["sh", "-c", COMMAND], host_config=host)["Id"]
    try:
        attached = client.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1})
        client.start(container)
        connection = attached._sock
        while b"begin" not in connection.recv(65536):
            pass
        started = time.perf_counter()
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass
        seconds = time.perf_counter() - started
        attached.close()
    finally:
        client.remove_container(container, force=True)
        client.close()
    return seconds - 1


class RunnerMemory(threading.Thread):
    """Records the largest resident size of any runner process."""

    def __init__(self, parent: int) -> None:
        super().__init__(daemon=True)
        self.parent, self.peak, self.done = parent, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            for process in psutil.Process(self.parent).children(recursive=True):
                try:
                    if "runner" in process.cmdline():
                        self.peak = max(self.peak, process.memory_info().rss)
                except psutil.Error:
                    continue


def main() -> None:
    with scratch() as (instance, checkout):
        assert instance.process is not None
        checkout.commit({"valohai.yaml": YAML, "print.sh": COMMAND})
        url = instance.git_url("bench")
        memory = RunnerMemory(instance.process.pid)
        memory.start()

        def ours(number: int) -> float:
            checkout.commit({"round": str(number)})
            checkout.push(url)
            execution = wait_for(lambda: instance.executions("bench")[number:], 30)[0]
            latest = f"/executions/{execution['id']}/events/"
            wait_for(lambda: "begin" in instance.events(execution["id"], "stdout"), 60, POLL_S)
            started = time.perf_counter()
            wait_for(lambda: instance.get(latest, limit=4)["total"] > LINES, 60, POLL_S)
            wait_for(lambda: any(e["message"] == "end" for e in instance.get(latest, limit=8)["events"]), 60, POLL_S)
            seconds = time.perf_counter() - started
            final = instance.wait_final(execution["id"])
            assert final["cumulative_metadata"]["step"] == LINES - 10, final["cumulative_metadata"]
            return seconds - 1

        results, floors = [], []
        for number in range(ROUNDS):
            floors.append(floor())
            results.append(ours(number))
        memory.done.set()
        report("1,000,000 lines to the server's disk", results, floors, unit="s ", promise=1.0)
        print(f"  runner memory at most {memory.peak / 1e6:.0f} MB (promise: under {MEMORY_MB})")


if __name__ == "__main__":
    main()

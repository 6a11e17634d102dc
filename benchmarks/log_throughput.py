"""A million lines, 100 MB, a tenth of them JSON, from a container to the server's disk, including metadata rows.

Floor: the same container read through Docker's raw attach socket with the default json-file driver, and discarded.
Promise: at most half of the floor, 1.5 processor seconds of the server and the runner together, and the runner's memory
always under 150 MB. Processor seconds include the end of the execution; they grow where other programs share the
caches.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import time
from collections import Counter
from pathlib import Path

import docker
import psutil
from bench import IMAGE, NETWORK, Checkout, Instance, at_most, report, scratch, spent_by_process, times, wait_for

ROUNDS = 3
LINES = 1_000_000
BYTES = 96_533_821  # of the lines, and of "begin" and "end"
POLL_S = 0.01
MEMORY_MB = 150
PROCESSOR_S = 1.5
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


def floor() -> tuple[float, float]:
    """Return the seconds from "begin" to the end of the output, read from the attach socket and discarded.

    The second number is Docker's processor seconds for it.
    """
    client = docker.APIClient()
    host = client.create_host_config(network_mode=NETWORK, log_config={"Type": "json-file"})
    container = client.create_container(IMAGE, ["sh", "-c", COMMAND], host_config=host)["Id"]
    try:
        attached = client.attach_socket(container, {"stdout": 1, "stderr": 1, "stream": 1})
        client.start(container)
        connection = attached._sock
        while b"begin" not in connection.recv(65536):
            pass
        before, started = spent_by_process(os.getpid()), time.perf_counter()
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass
        seconds = time.perf_counter() - started
        spent = spent_by_process(os.getpid()) - before
        attached.close()
    finally:
        client.remove_container(container, force=True)
        client.close()
    return seconds - 1, spent["docker"]


def runner_memory(root: int) -> int:
    """Return the largest resident size that any runner process has had."""
    runners = (one for one in psutil.Process(root).children(recursive=True) if one.name() == "pushmill runner")
    statuses = [Path(f"/proc/{one.pid}/status").read_text() for one in runners]
    return max(int(line.split()[1]) << 10 for text in statuses for line in text.splitlines() if "VmHWM:" in line)


class Ours:
    """Pushes to a server, and watches its database rather than its API, so that watching costs the server nothing."""

    def __init__(self, instance: Instance, checkout: Checkout) -> None:
        assert instance.process is not None
        self.root, self.instance, self.checkout = instance.process.pid, instance, checkout
        self.database = sqlite3.connect(f"file:{instance.data}/pushmill.db?mode=ro", uri=True)
        self.spent: list[Counter[str]] = []  # of each round, by process
        checkout.commit({"valohai.yaml": YAML, "print.sh": COMMAND})

    def seconds(self, number: int) -> float:
        """Return the seconds from "begin" until the last line is stored, with its metadata."""
        self.checkout.commit({"round": str(number)})
        self.checkout.push(self.instance.git_url("bench"))
        uuid = wait_for(lambda: self.instance.executions("bench")[number:], 30)[0]["id"]
        wait_for(lambda: self._stdout(uuid) >= len("begin\n"), 60, POLL_S)
        before, started = spent_by_process(self.root), time.perf_counter()
        wait_for(lambda: self._stdout(uuid) >= BYTES, 60, POLL_S)
        seconds = time.perf_counter() - started
        wait_for(lambda: self._column(uuid, "state") == "complete", 60, POLL_S)
        self.spent.append(spent_by_process(self.root) - before)
        self._check(uuid)
        return seconds - 1

    def _column(self, uuid: str, column: str) -> str:
        (found,) = self.database.execute(f"SELECT {column} FROM execution WHERE uuid = ?", (uuid,)).fetchone()
        return str(found)

    def _stdout(self, uuid: str) -> int:
        return int(json.loads(self._column(uuid, "acknowledged")).get("stdout", 0))

    def _check(self, uuid: str) -> None:
        found = self.instance.get(f"/executions/{uuid}/events/", limit=20)
        stdout = [event["message"] for event in found["events"] if event["stream"] == "stdout"]
        assert (stdout[-1], found["total"] > LINES) == ("end", True), found
        final = self.instance.execution(uuid)
        assert final["cumulative_metadata"]["step"] == LINES - 10, final["cumulative_metadata"]


def main() -> None:
    with scratch() as (instance, checkout):
        ours = Ours(instance, checkout)
        results, floors = [], []
        for number in range(ROUNDS):
            floors.append(floor())
            results.append(ours.seconds(number))
        memory = runner_memory(ours.root)
    waits, dockers = zip(*floors, strict=True)
    report("1,000,000 lines to the server's disk", results, waits, unit="s", promise=times(0.5))
    own = [found["web"] + found["runner"] for found in ours.spent]
    spent = {name: statistics.median(found[name] for found in ours.spent) for name in ("web", "runner", "docker")}
    what = "processor seconds of server and runner for them; floor: of Docker for attach"
    report(what, own, dockers, unit="s", promise=at_most(PROCESSOR_S, "s"), spent=spent)
    print(
        f"  load average {os.getloadavg()[0]:.1f}; runner memory at most {memory / 1e6:.0f} MB (promise: under {MEMORY_MB})"
    )


if __name__ == "__main__":
    main()

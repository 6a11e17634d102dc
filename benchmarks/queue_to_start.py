"""From `created` to a started container with 1 and with 20 waiting, and 50 executions of `true` on two slots.

Floor: `docker run` of the same image and network, two at a time. Promise: at most 0.75 times the floor for the 50, and
1.5 times for a start.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime

from bench import IMAGE, NETWORK, report, scratch, times, wait_for

SLOTS = 2
MANY, TOTAL = 20, 50
ROUNDS = 3
RUN = ["docker", "run", "--rm", "--network", NETWORK]


def yaml(steps: int) -> str:
    return "".join(f"- step: {{name: s{n}, image: {IMAGE}, command: 'true'}}\n" for n in range(steps))


class Starts:
    """Start times of containers by the value of a label, from the Docker daemon's events, in Unix seconds."""

    def __init__(self) -> None:
        command = ["docker", "events", "--filter", "event=start", "--format", "{{json .}}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.at: dict[str, float] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            labels = event["Actor"]["Attributes"]
            self.at[labels.get("pushmill.execution") or labels.get("bench", "")] = event["timeNano"] / 1e9

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def watching() -> Iterator[Starts]:
    starts = Starts()
    try:
        time.sleep(0.5)  # `docker events` does not report when it is ready
        yield starts
    finally:
        starts.close()


def floor_starts(starts: Starts, count: int, name: str) -> tuple[list[float], float]:
    """Return the seconds from the beginning to each start, and in total."""
    began = time.time()
    with ThreadPoolExecutor(SLOTS) as pool:
        labels = [f"{name}-{number}" for number in range(count)]
        list(pool.map(lambda label: subprocess.run([*RUN, "--label", f"bench={label}", IMAGE, "true"]), labels))
    total = time.time() - began
    wait_for(lambda: all(label in starts.at for label in labels))
    return [starts.at[label] - began for label in labels], total


def main() -> None:
    ours: dict[int, list[float]] = {1: [], MANY: [], TOTAL: []}
    floors: dict[int, list[float]] = {1: [], MANY: [], TOTAL: []}
    with scratch(f"[runner]\nslots = {SLOTS}\n") as (instance, checkout), watching() as starts:

        def run(steps: int, number: str) -> tuple[list[float], float]:
            checkout.commit({"valohai.yaml": yaml(steps), "round": number})
            before = len(instance.executions("bench")) if number != "first" else 0
            checkout.push(instance.git_url("bench"))
            wait_for(lambda: len(instance.executions("bench")) == before + steps)
            made = instance.executions("bench")[before:]
            wait_for(
                lambda: not instance.get("/executions/", project="bench", status="incomplete", limit=1)["count"], 120
            )
            ended = instance.executions("bench")[before:]
            assert all(item["status"] == "complete" for item in ended)
            created = {item["id"]: datetime.fromisoformat(item["ctime"]).timestamp() for item in ended}
            end = max(datetime.fromisoformat(item["end_time"]).timestamp() for item in ended)
            return [starts.at[item["id"]] - created[item["id"]] for item in made], end - min(created.values())

        run(1, "first")
        for number in range(ROUNDS):
            for steps in (1, MANY):
                floors[steps] += floor_starts(starts, steps, f"{number}-{steps}")[0]
                ours[steps] += run(steps, f"{number}-{steps}")[0]
            floors[TOTAL].append(floor_starts(starts, TOTAL, f"{number}-total")[1])
            ours[TOTAL].append(run(TOTAL, f"{number}-total")[1])
    report("created to container start, 1 waiting", ours[1], floors[1], unit="s", promise=times(1.5))
    report(f"the same, {MANY} waiting", ours[MANY], floors[MANY], unit="s", promise=times(1.5))
    report(f"{TOTAL} executions of `true` on {SLOTS} slots", ours[TOTAL], floors[TOTAL], unit="s", promise=times(0.75))


if __name__ == "__main__":
    main()

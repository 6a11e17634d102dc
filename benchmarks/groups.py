"""A task of 50 executions of `true` on two slots, and a pipeline of 10 nodes in sequence.

Floor: `docker run` of the same image and network, two at a time and one at a time. Promise: at most 0.75 times the
floor for the task, and 0.9 times for the pipeline, whose nodes are checked, resolved and placed one after the other.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from bench import IMAGE, NETWORK, report, scratch, spent_by_process, times, wait_for

SLOTS = 2
TRIALS, NODES = 50, 10
ROUNDS = 3
LOOK_S = 0.5  # between two looks whether it has ended: fifty a second cost as much as the executions
RUN = ["docker", "run", "--rm", "--network", NETWORK, IMAGE, "true"]


def yaml() -> str:
    number = {"name": "number", "type": "integer", "default": 0}
    rules = {"start": 1, "end": TRIALS, "step": 1}
    step = {"name": "work", "image": IMAGE, "command": "true", "parameters": [number]}
    task = {"name": "many", "step": "work", "parameters": [{"name": "number", "style": "linear", "rules": rules}]}
    nodes = [{"name": f"n{place}", "type": "execution", "step": "work"} for place in range(NODES)]
    edges = [[f"n{place}.parameter.number", f"n{place + 1}.parameter.number"] for place in range(NODES - 1)]
    pipeline = {"name": "chain", "nodes": nodes, "edges": edges}
    return "".join(f"- {json.dumps(item)}\n" for item in ({"step": step}, {"task": task}, {"pipeline": pipeline}))


def floor(count: int, at_once: int) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: subprocess.run(RUN, check=True), range(count)))
    return time.monotonic() - began


def main() -> None:
    ours: dict[str, list[float]] = {"task": [], "pipeline": []}
    floors: dict[str, list[float]] = {"task": [], "pipeline": []}
    spent = {"task": Counter[str](), "pipeline": Counter[str]()}
    with scratch(f"[runner]\nslots = {SLOTS}\n") as (instance, checkout):

        def run(kind: str, name: str, number: int) -> float:
            """Return the seconds from its creation until its last execution has ended."""
            checkout.commit({"valohai.yaml": yaml(), "round": f"{kind} {number}"})
            before = spent_by_process(instance.process.pid)
            checkout.push(instance.git_url("bench"), f"pushmill.{kind}={name}")

            project = instance.project("bench")["id"]

            def ended() -> Any:
                found = instance.get(f"/{kind}s/", project=project, ordering="-counter")
                newest = found["results"][0] if len(found["results"]) == number + 1 else None
                return newest if newest and newest["status"] == "complete" else None

            group = wait_for(ended, 300, every=LOOK_S)
            made = [item for item in instance.executions("bench") if (item[kind] or {}).get("id") == group["id"]]
            assert len(made) == {"task": TRIALS, "pipeline": NODES}[kind]
            spent[kind] += spent_by_process(instance.process.pid) - before
            end = max(datetime.fromisoformat(item["end_time"]) for item in made)
            return (end - datetime.fromisoformat(group["ctime"])).total_seconds()

        for number in range(ROUNDS):
            floors["task"].append(floor(TRIALS, SLOTS))
            ours["task"].append(run("task", "many", number))
            floors["pipeline"].append(floor(NODES, 1))
            ours["pipeline"].append(run("pipeline", "chain", number))
    shown = {"task": f"a task of {TRIALS} on {SLOTS} slots", "pipeline": f"a pipeline of {NODES}, one by one"}
    for kind, count, promise in (("task", TRIALS, 0.75), ("pipeline", NODES, 0.9)):
        each = {name: seconds / count / ROUNDS for name, seconds in spent[kind].items()}  # processor seconds
        report(shown[kind], ours[kind], floors[kind], unit="s", promise=times(promise), spent=each)


if __name__ == "__main__":
    main()

"""From the end of `git push` to the first log line readable over HTTP, against `docker run` of the same image and network.

Promise: at most 1.3 times the floor. Small repository, image present. Both are measured in turn.
"""

from __future__ import annotations

import subprocess
import time

from bench import IMAGE, NETWORK, report, scratch, wait_for

ROUNDS = 15
YAML = f"- step:\n    name: hello\n    image: {IMAGE}\n    command: echo hello from pushmill\n"


def floor() -> float:
    command = ["docker", "run", "--rm", "--network", NETWORK, IMAGE, "echo", "hello"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - started
    process.wait()
    return seconds


def main() -> None:
    with scratch() as (instance, checkout):
        url = instance.git_url("bench")

        def push(number: int) -> float:
            checkout.commit({"valohai.yaml": YAML, "round": str(number)})
            seen = len(instance.executions("bench")) if number else 0
            checkout.push(url)
            started = time.perf_counter()
            execution = wait_for(lambda: instance.executions("bench")[seen:], 30, 0.001)[0]
            wait_for(lambda: "hello from pushmill" in instance.events(execution["id"], "stdout"), 30, 0.001)
            seconds = time.perf_counter() - started
            instance.wait_final(execution["id"])
            return seconds

        push(0)
        ours, floors = [], []
        for number in range(1, ROUNDS + 1):
            floors.append(floor())
            ours.append(push(number))
        report("end of git push to first line over HTTP", ours, floors, unit="ms", scale=1000, promise=1.3)


if __name__ == "__main__":
    main()

"""From the end of `git push` to the first log line over HTTP, compared with `docker run` of the same image and network.

Promise: at most 0.65 times the floor. The repository is small, and the image is present. Both are measured alternately.
"""

from __future__ import annotations

import subprocess
import time

from bench import IMAGE, NETWORK, report, scratch, times, wait_for

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

        def first_line(number: int) -> bool:
            answer = instance.client.get(f"/executions/bench:{number}/events/", params={"limit": 20})
            return any(event["stream"] == "stdout" for event in answer.json().get("events", ()))

        def push(number: int) -> float:
            checkout.commit({"valohai.yaml": YAML, "round": str(number)})
            checkout.push(url)
            started = time.perf_counter()
            # polling more often would take processor time from what it measures
            wait_for(lambda: first_line(number), 30, 0.01)
            seconds = time.perf_counter() - started
            instance.wait_final(f"bench:{number}")
            return seconds

        push(1)
        ours, floors = [], []
        for number in range(2, ROUNDS + 2):
            floors.append(floor())
            ours.append(push(number))
        report("end of git push to first line over HTTP", ours, floors, unit="s", promise=times(0.65))


if __name__ == "__main__":
    main()

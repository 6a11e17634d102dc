"""From the stop request to `stopped`, for a program that ends on SIGTERM at once.

Floor: `docker kill` of a container of the same image until it has ended. Promise: at most 1.5 s more, of which up to
one second is the wait for the heartbeat that carries the order. Both are measured alternately.
"""

from __future__ import annotations

import subprocess
import time

from bench import IMAGE, NETWORK, at_most_more, report, scratch, wait_for

ROUNDS = 10
MORE_S = 1.5
YAML = f"- step:\n    name: wait\n    image: {IMAGE}\n    command: echo up; while true; do sleep 0.02; done\n"


def floor() -> float:
    command = ["docker", "run", "-d", "--network", NETWORK, IMAGE, "sleep", "1000"]
    container = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    time.sleep(0.5)
    started = time.perf_counter()
    subprocess.run(["docker", "kill", container], capture_output=True, check=True)
    subprocess.run(["docker", "wait", container], capture_output=True, check=True)
    seconds = time.perf_counter() - started
    subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=True)
    return seconds


def main() -> None:
    with scratch() as (instance, checkout):
        url = instance.git_url("bench")

        def stop(number: int) -> float:
            checkout.commit({"valohai.yaml": YAML, "round": str(number)})
            checkout.push(url)
            execution = wait_for(lambda: instance.executions("bench")[number:], 30)[0]["id"]
            wait_for(lambda: instance.events(execution, "stdout") == ["up"], 30)
            time.sleep(0.1 * number % 1)  # at different times between two heartbeats
            started = time.perf_counter()
            instance.client.post(f"/executions/{execution}/stop/").raise_for_status()
            wait_for(lambda: instance.execution(execution)["status"] == "stopped", 30, 0.01)
            return time.perf_counter() - started

        ours, floors = [], []
        for number in range(ROUNDS):
            floors.append(floor())
            ours.append(stop(number))
    report("stop request to stopped, the longest", [max(ours)], floors, unit="s", promise=at_most_more(MORE_S, "s"))


if __name__ == "__main__":
    main()

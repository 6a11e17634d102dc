"""The second execution of a commit with 3,000 files and 50 MB, compared with one of an empty repository.

Promise: at most 20 ms more from claim to first line. Both are measured alternately.
"""

from __future__ import annotations

import os
from datetime import datetime

from bench import IMAGE, at_most_more, report, scratch, wait_for

ROUNDS = 12
FILES, BYTES = 3000, 50_000_000
PROMISE_S = 0.02
YAML = f"- step:\n    name: look\n    image: {IMAGE}\n    command: echo ready\n"


def main() -> None:
    with scratch() as (instance, checkout):
        files: dict[str, str | bytes] = {"valohai.yaml": YAML}
        shas = {"empty": checkout.commit(files)}
        checkout.push(instance.git_url("empty"))
        files |= {f"data/{i % 30}/{i}.bin": os.urandom(BYTES // FILES) for i in range(FILES)}
        shas["large"] = checkout.commit(files)
        checkout.push(instance.git_url("large"))
        for project in ("empty", "large"):
            instance.wait_final(wait_for(lambda name=project: instance.executions(name))[0]["id"])

        def seconds(project: str, number: int) -> float:
            """Re-run the commit; return the time from the claim to the program's first line, by the server's clock."""
            checkout.git("push", "-q", instance.git_url(project), f"{shas[project]}:refs/heads/again-{number}")
            found = wait_for(lambda: instance.executions(project)[number:], 30)[0]
            instance.wait_final(found["id"])
            events = instance.get(f"/executions/{found['id']}/events/", limit=0)["events"]
            started = next(e for e in events if e["message"].startswith("Started on runner"))
            first = next(e for e in events if e["stream"] == "stdout")
            return (datetime.fromisoformat(first["time"]) - datetime.fromisoformat(started["time"])).total_seconds()

        large, empty = [], []
        for number in range(1, ROUNDS + 1):
            empty.append(seconds("empty", number))
            large.append(seconds("large", number))
        what = "second execution of a commit with 3,000 files, claim to first line; floor: an empty repository"
        report(what, large, empty, unit="s", promise=at_most_more(PROMISE_S, "s"))


if __name__ == "__main__":
    main()

"""Time of `POST /api/v0/executions/` until the execution is `created`, one by one over a kept connection.

Floor: `GET /api/v0/users/me/` on the same connection, which has the same HTTP and the same token. Promise: 15 ms. The
step has fifty parameters; no runner serves its environment, so nothing runs meanwhile.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

from bench import at_most, report, scratch, wait_for

from web.services.executions import environments
from web.store.db import connect

ROUNDS = 200
PROMISE_MS = 15.0
PARAMETERS = "".join(f"      - {{name: p{number}, type: integer, default: {number}}}\n" for number in range(50))
YAML = f"""
- step:
    name: train
    image: pushmill-quickstart
    command: python train.py {{parameters}}
    parameters:
{PARAMETERS}
"""


def main() -> None:
    with scratch() as (instance, checkout):
        db = connect(instance.data / "pushmill.db")
        environments.change(db, "idle", {})
        db.close()
        sha = checkout.commit({"valohai.yaml": YAML}, message="step [skip ci]")
        checkout.push(instance.git_url("bench"))
        wait_for(lambda: instance.get("commits/", project="bench")["results"])
        connection = http.client.HTTPConnection(*_address(instance.url))
        headers = {"Authorization": f"Token {instance.token}", "Content-Type": "application/json"}
        body = {"project": "bench", "commit": sha, "step": "train", "environment": "idle"}

        def timed(method: str, path: str, given: Any = None) -> float:
            began = time.perf_counter()
            connection.request(method, path, json.dumps(given) if given else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
            return 1000 * (time.perf_counter() - began)

        ours, floor = [], []
        for number in range(ROUNDS):
            ours.append(timed("POST", "/api/v0/executions/", body | {"parameters": {"p1": number}}))
            floor.append(timed("GET", "/api/v0/users/me/"))
    report("POST of an execution to created", ours, floor, unit="ms", promise=at_most(PROMISE_MS, "ms"))


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


if __name__ == "__main__":
    main()

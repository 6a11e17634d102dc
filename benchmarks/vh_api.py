"""Time in the server of what `vh` asks most: `vh exec list` of 9,000 executions, and the last 100 of 1,000,000 lines.

`python benchmarks/vh_api.py`. The floor of the list is one SELECT of the executions' rows and encoding an answer of the
same size; that of the lines is reading the end of a text file with the same lines.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import orjson
from bench import at_most, report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))

from api_server import ApiServer

from web.store.db import execute, fetch_row, fetch_rows, transaction

EXECUTIONS, LINES, TIMES = 9000, 1_000_000, 15
LIST_S, EVENTS_S = 0.300, 0.005
BATCH = 5000  # lines in one request of a runner
LINE = b"step %07d loss 0.123456 of a usual length, as training prints it\n"


def filled(api: ApiServer) -> None:
    """Copy one finished execution until there are EXECUTIONS, with three metadata keys and one output each."""
    execution, attempt = api.started()
    api.log(execution, b'{"epoch": 3, "loss": 0.25, "accuracy": 0.75}\n', 0)
    api.upload(execution, "model.bin", b"x")
    api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"})
    first = fetch_row(api.db, "SELECT * FROM execution WHERE uuid = ?", (execution,))
    assert first is not None
    with transaction(api.db):
        for counter in range(2, EXECUTIONS + 1):
            values = {key: value for key, value in first.items() if key != "id"}
            values |= {"uuid": str(uuid.uuid4()), "counter": counter, "parameters": f'{{"steps": {counter}}}'}
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            execute(api.db, f"INSERT INTO execution ({names}) VALUES ({marks})", tuple(values.values()))
        for table in ("latest", "datum"):
            copy(api, table, first["id"])
        execute(api.db, "UPDATE project SET execution_counter = ?", (EXECUTIONS,))


def copy(api: ApiServer, table: str, execution_id: int) -> None:
    """Copy the rows that a table has of one execution to all others."""
    found = fetch_rows(api.db, f"SELECT * FROM {table} WHERE execution_id = ?", (execution_id,))
    others = fetch_rows(api.db, "SELECT id FROM execution WHERE id != ?", (execution_id,))
    for item in found:
        values = {key: value for key, value in item.items() if key not in ("id", "uuid", "number")}
        for other in others:
            own = {"execution_id": other["id"]} | ({"uuid": str(uuid.uuid4())} if "uuid" in item else {})
            names, marks = ", ".join(values | own), ", ".join("?" * len(values | own))
            execute(api.db, f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple((values | own).values()))


def printed(api: ApiServer, copy_to: Path) -> str:
    """An execution that printed LINES lines; its uuid. The lines are written to a file too."""
    execution, _ = api.started()
    start = 0
    with copy_to.open("wb") as file:
        for first in range(0, LINES, BATCH):
            text = b"".join(LINE % number for number in range(first, first + BATCH))
            assert api.log(execution, text, start).status_code == 200
            start += len(text)
            file.write(text)
    return execution


def tail(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(-200 * len(LINE), os.SEEK_END)
        return [line.decode() for line in file.read().splitlines()[-100:]]


def seconds(work: Callable[[], object]) -> list[float]:
    work()
    taken = []
    for _ in range(TIMES):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return taken


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pushmill-bench-") as folder:
        api = ApiServer(Path(folder) / "data", limits={"log": 0})
        filled(api)
        asked = {"project": api.demo.uuid, "limit": 9001, "ordering": "-counter", "deleted": "false"}
        answer = api.json("executions/", **asked)
        assert len(answer["results"]) == EXECUTIONS
        gc.collect()
        gc.freeze()  # as `pushmill web` does, which does not have the objects of this benchmark either
        ours = seconds(lambda: api.get("executions/", **asked))
        floor = seconds(
            lambda: (fetch_rows(api.db, "SELECT * FROM execution ORDER BY counter DESC"), orjson.dumps(answer))
        )
        report(f"exec list of {EXECUTIONS:,}", ours, floor, unit="s", promise=at_most(LIST_S, "s"))

        path = Path(folder) / "lines"
        execution = printed(api, path)
        events = f"executions/{execution}/events/"
        assert [event["message"] for event in api.json(events, limit=100)["events"]] == tail(path)
        ours = seconds(lambda: api.get(events, limit=100))
        floor = seconds(lambda: tail(path))
        report(f"last 100 of {LINES:,} lines", ours, floor, unit="s", promise=at_most(EVENTS_S, "s"))
        api.close()


if __name__ == "__main__":
    main()

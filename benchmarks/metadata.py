"""Storing a million metadata values of one key, their bytes in the database, and the processor time of their chart.

Floors: a table with a row for each value; time and value in 16 bytes; sqlite3 reading 1,000 ready points. Promises: no
more processor time than rows, at most 18 bytes for a value, and 10 ms and 100 kB for a chart, the first as well as the
next ones, with the smallest and the largest value in it.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import orjson
from bench import at_most, report, times

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))

from api_server import ApiServer
from site_client import Person

from web.store import metadata
from web.store.db import execute, transaction

VALUES, KEY, DRAWN = 1_000_000, "loss", 1000
BATCH = 250  # lines of metadata in a batch of a log that is a tenth metadata
TIMES = 9
CHART_MS, CHART_KB = 10, 100
SPIKES = {123_456: -1e9, 777_777: 1e9}
ROWS = "CREATE TABLE point (execution_id, key_id, seq, time_us, value, PRIMARY KEY (execution_id, key_id, seq)) WITHOUT ROWID"
READY = "SELECT x, y FROM ready WHERE execution_id = 1 ORDER BY x"

Line = tuple[int, dict[str, float]]


def spent(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def made() -> list[Line]:
    chance = random.Random(1)
    return [(1_700_000_000_000_000 + 1000 * i, {KEY: SPIKES.get(i, chance.random())}) for i in range(VALUES)]


def as_rows(lines: Sequence[Line], path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(ROWS)
        for at in range(0, VALUES, BATCH):
            db.execute("BEGIN IMMEDIATE")
            points = [(1, 1, at + i, time_us, line[KEY]) for i, (time_us, line) in enumerate(lines[at : at + BATCH])]
            db.executemany("INSERT INTO point VALUES (?, ?, ?, ?, ?)", points)
            db.execute("COMMIT")


def as_chunks(lines: Sequence[Line], api: ApiServer, execution_id: int) -> None:
    for at in range(0, VALUES, BATCH):
        with transaction(api.db):
            metadata.add(api.db, execution_id, lines[at : at + BATCH])


def ready(path: Path) -> Callable[[], bytes]:
    """Return a function that reads a chart with as few steps as possible."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE ready (execution_id INTEGER, x INTEGER, y REAL)")
    db.execute("CREATE INDEX ready_in_order ON ready (execution_id, x, y)")
    db.executemany("INSERT INTO ready VALUES (1, ?, ?)", [(i, i / 7) for i in range(DRAWN)])
    db.commit()
    return lambda: orjson.dumps(dict(zip("xy", zip(*db.execute(READY).fetchall(), strict=True), strict=True)))


def main() -> None:
    lines = made()
    with tempfile.TemporaryDirectory(prefix="pushmill-bench-") as folder:
        floor = spent(lambda: as_rows(lines, Path(folder, "rows.db")))
        api = ApiServer(Path(folder, "data"))
        execution, person = api.execution(api.started()[0]), Person(api)
        person.log_in()
        url = f"/p/demo/executions/{execution.counter}/series?key={KEY}"
        person.get(f"{url}-no")
        execute(api.db, "PRAGMA wal_checkpoint(TRUNCATE)")
        before = api.config.database.stat().st_size
        ours = spent(lambda: as_chunks(lines, api, execution.id))
        report(f"storing {VALUES:,} metadata values", [ours], [floor], unit="s", promise=times(1))
        execute(api.db, "PRAGMA wal_checkpoint(TRUNCATE)")
        size = (api.config.database.stat().st_size - before) / VALUES
        report("a metadata value in the database", [size], [16], unit="B", promise=at_most(18, "B"))

        first = 1000 * spent(lambda: person.get(url))
        again = [1000 * spent(lambda: person.get(url)) for _ in range(TIMES)]
        read = ready(Path(folder, "ready.db"))
        floors = [1000 * spent(read) for _ in range(TIMES)]
        report(f"first chart of {VALUES:,} values", [first], floors, unit="ms", promise=at_most(CHART_MS, "ms"))
        report(f"next chart of {VALUES:,} values", again, floors, unit="ms", promise=at_most(CHART_MS, "ms"))
        answer = person.get(url).data
        sizes = [len(answer) / 1000], [len(read()) / 1000]
        report(f"answer with {VALUES:,} values", *sizes, unit="kB", promise=at_most(CHART_KB, "kB"))
        chart = orjson.loads(answer)
        assert SPIKES.items() <= dict(zip(chart["x"], chart["y"], strict=True)).items(), "a spike is lost"
        api.close()


if __name__ == "__main__":
    main()

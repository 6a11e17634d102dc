"""Processor time in the server and bytes of pages, on 100,000 executions with 20 metadata keys and 8 parameters each.

The floor of each page is its bare SQL: a SELECT of the rows that it shows.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from bench import at_most, report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))

from api_server import ApiServer
from site_client import Person

from web.store import metadata
from web.store.db import Database, execute, row, transaction

EXECUTIONS, COMMITS, TIMES = 100_000, 8000, 15
STEPS = ("train", "train", "train", "evaluate", "preprocess")
BRANCHES = ("main", "main", "exp/lr", "exp/width", "fix/labels")
KEYS = ("accuracy", "loss", "epoch", *(f"metric_{number}" for number in range(17)))
FILTER = "accuracy > 0.9 and step = train and branch ~ exp/*"
SERIES = 40  # values of the metric of executions that the pages show
SHOWN = """SELECT execution_id, number FROM latest JOIN metadata_key ON metadata_key.id = key_id AND name = 'accuracy'
    WHERE (number > 0.98 OR execution_id > ? OR execution_id % 1000 = 7)"""
COMPARED = 20
TABLE_MS, TABLE_KB, FILTER_MS, COMPARE_MS = 15, 120, 30, 60


def fill(api: ApiServer) -> None:
    """Copy one commit and one execution, with other steps, states, parameters and metadata; seconds for each."""
    chance = random.Random(5)
    first = row(api.db, "SELECT * FROM execution WHERE uuid = ?", (api.started()[0],))
    commit = row(api.db, "SELECT * FROM git_commit WHERE id = ?", (api.commit.id,))
    assert first is not None
    assert commit is not None
    with transaction(api.db):
        insert_many(api.db, "git_commit", (commit | commit_of(number, chance) for number in range(2, COMMITS + 1)))
        insert_many(api.db, "execution", (first | execution_of(n, chance) for n in range(2, EXECUTIONS + 1)))
        insert_many(api.db, "metadata_key", ({"id": n, "name": key} for n, key in enumerate(KEYS, 1)))
        insert_many(api.db, "latest", latest(chance))
        for execution, number in api.db.conn.execute(SHOWN, (EXECUTIONS - 300,)).fetchall():
            metadata.add(api.db, execution, [(n, {"accuracy": number * n / SERIES}) for n in range(1, SERIES + 1)])
        execute(api.db, "UPDATE project SET execution_counter = ? WHERE id = ?", (EXECUTIONS, api.demo.id))


def commit_of(number: int, chance: random.Random) -> dict[str, Any]:
    branch = chance.choice(BRANCHES)
    identifier, message = f"{chance.getrandbits(160):040x}", f"Change {number} of {branch}"
    return {"id": number, "identifier": identifier, "ref": branch, "ref_names": f'["{branch}"]', "message": message}


def execution_of(number: int, chance: random.Random) -> dict[str, Any]:
    parameters = {"lr": chance.choice((0.1, 0.01, 0.001)), "layers": chance.randrange(2, 9), "seed": number}
    parameters |= {f"option_{i}": "a value" for i in range(5)}
    at = f"2026-{1 + number * 11 // EXECUTIONS:02}-01T10:00:00.000000Z"
    return {
        "id": number, "uuid": str(uuid.uuid4()), "counter": number, "commit_id": 1 + (number * COMMITS - 1) // EXECUTIONS,
        "step": chance.choice(STEPS), "parameters": orjson.dumps(parameters).decode(), "created_at": at, "started_at": at,
        "ended_at": at, "state": "error" if number % 9 == 0 else "complete", "metadata_seq": 1,
    }  # fmt: skip


def latest(chance: random.Random) -> Iterator[dict[str, Any]]:
    for execution in range(1, EXECUTIONS + 1):
        for key in range(1, len(KEYS) + 1):
            number = chance.random()
            yield {"execution_id": execution, "key_id": key, "seq": 0, "time_us": 0, "value": number, "number": number,
                   "points": 1, "kept": 1}  # fmt: skip


def insert_many(db: Database, table: str, found: Iterator[dict[str, Any]]) -> None:
    while block := list(islice(found, 1000)):
        names = ", ".join(block[0])
        marks = ", ".join("?" * len(block[0]))
        db.conn.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", [tuple(one.values()) for one in block])


def milliseconds(work: Callable[[], object]) -> list[float]:
    work()
    taken = []
    for _ in range(TIMES):
        started = time.thread_time()
        work()
        taken.append(1000 * (time.thread_time() - started))
    return taken


def measure(person: Person, what: str, path: str, sql: Callable[[], object], most_ms: float) -> bytes:
    answer = person.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    ours, floor = milliseconds(lambda: person.get(path)), milliseconds(sql)
    report(f"{what}: time", ours, floor, unit="ms", promise=at_most(most_ms, "ms"))
    return answer.data


def tables(api: ApiServer, person: Person) -> None:
    by_key = (
        "SELECT execution.* FROM latest CROSS JOIN execution ON execution.id = execution_id"
        " WHERE key_id = 1 ORDER BY number DESC LIMIT 50"
    )
    sql = lambda: api.db.conn.execute(by_key).fetchall()  # noqa: E731
    page = measure(person, "project page sorted by a metric", "/p/demo/?sort=-m.accuracy", sql, TABLE_MS)
    size = [len(page) / 1000]
    report("project page sorted by a metric: bytes", size, size, unit="kB", promise=at_most(TABLE_KB, "kB"))
    filtered = (
        "SELECT execution.* FROM execution WHERE project_id = 1 AND step = 'train' AND commit_id IN (SELECT id FROM"
        " git_commit WHERE ref GLOB 'exp/*') AND EXISTS (SELECT 1 FROM latest WHERE execution_id = execution.id"
        " AND key_id = 1 AND number > 0.9) ORDER BY counter DESC LIMIT 50"
    )
    sql = lambda: api.db.conn.execute(filtered).fetchall()  # noqa: E731
    measure(person, "filter of three terms", f"/p/demo/?q={quote(FILTER)}", sql, FILTER_MS)


def comparison(api: ApiServer, person: Person) -> None:
    counters = [7 + 1000 * number for number in range(COMPARED)]
    listed = ", ".join(map(str, counters))
    sql = lambda: api.db.conn.execute(  # noqa: E731
        f"SELECT * FROM execution JOIN latest ON execution_id = id WHERE project_id = 1 AND counter IN ({listed})"
    ).fetchall()
    path = f"/p/demo/compare/?{'&'.join(f'e={counter}' for counter in counters)}"
    measure(person, f"comparison of {COMPARED}", path, sql, COMPARE_MS)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pushmill-bench-") as folder:
        api = ApiServer(Path(folder, "data"))
        fill(api)
        person = Person(api)
        person.log_in()
        gc.collect()
        gc.freeze()  # as `pushmill web` does
        tables(api, person)
        comparison(api, person)
        api.close()


if __name__ == "__main__":
    main()

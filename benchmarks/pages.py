"""Time and bytes of pages, on 100,000 executions with 20 metadata keys and 8 parameters each.

The time is that of a processor in the server, or that until Chromium, without its cache, paints something.

One execution has a series of 1,000,000 values and a log of 1,000,000 lines. The floor of each page is its bare SQL, a
SELECT of the rows that it shows; that of a log is reading or searching a text file with the same lines; that of a
paint is the answer of `/healthz`, a page of one word without style and scripts.
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
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import orjson
from bench import at_most, report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "browser"))

from api_server import ApiServer
from demo_site import Browser
from serving import Serving
from site_client import Person

from web.store import metadata
from web.store.db import Database, execute, fetch_row, transaction

EXECUTIONS, COMMITS, TIMES = 100_000, 8000, 15
STEPS = ("train", "train", "train", "evaluate", "preprocess")
BRANCHES = ("main", "main", "exp/lr", "exp/width", "fix/labels")
KEYS = ("accuracy", "loss", "epoch", *(f"metric_{number}" for number in range(17)))
FILTER = "accuracy > 0.9 and step = train and branch ~ exp/*"
LINES, BATCH = 1_000_000, 5000
WORD, WORD_AT, JUMP = b"needle", 900_000, 700_000
LINE = b"step %07d loss 0.123456 of a usual length, as training prints it\n"
PAGE_MS, SERIES_MS, SERIES_KB, JUMP_MS, FILTERED_MS, SEARCH_MS = 25, 10, 100, 15, 150, 150
SERIES = 40  # values of the metric of executions that the pages show
SHOWN = """SELECT execution_id, number FROM latest JOIN metadata_key ON metadata_key.id = key_id AND name = 'accuracy'
    WHERE (number > 0.98 OR execution_id > ? OR execution_id % 1000 = 7)"""
COMPARED = 20
TABLE_MS, TABLE_KB, FILTER_MS, COMPARE_MS = 15, 120, 30, 60
LOADS, PAINT_MS, WEIGHT_KB = 9, 300, 250
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
WEIGHT = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
    .filter(({ initiatorType }) => initiatorType !== 'fetch')
    .reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0) / 1000"""


def fill(api: ApiServer) -> None:
    """Copy one commit and one execution, with other steps, states, parameters and metadata; seconds for each."""
    chance = random.Random(5)
    first = fetch_row(api.db, "SELECT * FROM execution WHERE uuid = ?", (api.started()[0],))
    commit = fetch_row(api.db, "SELECT * FROM git_commit WHERE id = ?", (api.commit.id,))
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
                   "points": 2, "kept": 2, "low": number * chance.random(), "high": number}  # fmt: skip


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
    by_low = by_key.replace("number DESC", "low")
    sql_low = lambda: api.db.conn.execute(by_low).fetchall()  # noqa: E731
    measure(person, "project page sorted by the lowest value", "/p/demo/?sort=min.accuracy", sql_low, TABLE_MS)
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


def long_execution(api: ApiServer, copy_to: Path) -> int:
    """Start an execution with a long series and a long log, also written to a file; return its number."""
    execution, chance, start = api.started()[0], random.Random(3), 0
    found = api.execution(execution)
    with copy_to.open("wb") as file:
        for first in range(0, LINES, BATCH):
            text = b"".join(WORD + b"\n" if n == WORD_AT else LINE % n for n in range(first, first + BATCH))
            assert api.log(execution, text, start).status_code == 200
            start += len(text)
            file.write(text)
            with transaction(api.db):
                values = [(1000 * n, {"loss": chance.random()}) for n in range(first, first + BATCH)]
                metadata.add(api.db, found.id, values)
    return found.counter


def long_pages(api: ApiServer, person: Person, folder: Path) -> str:
    """Return the path of the page of the long execution."""
    file = folder / "lines"
    counter = long_execution(api, file)
    url = f"/p/demo/executions/{counter}/"
    sql = lambda: api.db.conn.execute(  # noqa: E731
        "SELECT * FROM execution WHERE project_id = 1 AND counter = ?", (counter,)
    ).fetchall()
    measure(person, "page of an execution", url, sql, PAGE_MS)
    answer = measure(person, f"series of {LINES:,} values", f"{url}series?key=loss", sql, SERIES_MS)
    for many in (30_000, 500_000):
        part = f"{url}series?key=loss&first={JUMP - many}&end={JUMP}"
        measure(person, f"{many:,} of its values, zoomed", part, sql, PAGE_MS)
    size = [len(answer) / 1000]
    report(f"series of {LINES:,} values: bytes", size, size, unit="kB", promise=at_most(SERIES_KB, "kB"))
    window = lambda: file.read_bytes()[JUMP * len(LINE % 0) :][: 2000 * len(LINE % 0)].splitlines()  # noqa: E731
    page = measure(person, f"jump to line {JUMP:,}", f"{url}log.html?first={JUMP}", window, JUMP_MS)
    assert LINE.strip() % JUMP in page
    measure(person, f"errors near line {JUMP:,}", f"{url}log.html?first={JUMP}&show=errors", window, FILTERED_MS)
    floor = milliseconds(lambda: file.read_bytes().index(WORD))
    assert len(first_hits(person, url)) == 1
    ours = milliseconds(lambda: first_hits(person, url))
    report(f"a word in {LINES:,} lines: time", ours, floor, unit="ms", promise=at_most(SEARCH_MS, "ms"))
    return url


def first_hits(person: Person, url: str) -> list[int]:
    """Search as the page does: one answer covers what can be read in a short time, and says where to go on."""
    hits: dict[str, Any] = {"lines": [], "next": 1}
    while not hits["lines"] and hits["next"] is not None:
        hits = orjson.loads(person.get(f"{url}log/search?q={WORD.decode()}&first={hits['next']}").data)
    return list(hits["lines"])


def in_a_browser(api: ApiServer, execution: str, profile: Path) -> None:
    server = Serving(api.app)
    site: Any = SimpleNamespace(url=f"http://127.0.0.1:{server.port}", demo=api)
    browser = Browser(profile, site)
    try:
        browser.log_in()
        browser.driver.execute_cdp_cmd("Network.enable", {})
        browser.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        floor = paints(browser, "/healthz")
        for what, path in (("page of an execution", execution), ("project page", "/p/demo/"), ("home", "/")):
            ours = paints(browser, path)
            report(f"{what}: first contentful paint", ours, floor, unit="ms", promise=at_most(PAINT_MS, "ms"))
        browser.open(execution)
        browser.wait("document.readyState === 'complete'", 60)
        size = [browser.run(f"return {WEIGHT}")]
        what = "page of an execution with styles and scripts: bytes, not compressed"
        report(what, size, size, unit="kB", promise=at_most(WEIGHT_KB, "kB"))
    finally:
        browser.close()
        server.stop()


def paints(browser: Browser, path: str) -> list[float]:
    found = []
    for _ in range(LOADS):
        browser.open(path)
        found.append(float(browser.wait(PAINTED, 60)))
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pushmill-bench-") as folder:
        api = ApiServer(Path(folder, "data"), limits={"log": 0})
        fill(api)
        person = Person(api)
        person.log_in()
        gc.collect()
        gc.freeze()  # as `pushmill web` does
        tables(api, person)
        comparison(api, person)
        execution = long_pages(api, person, Path(folder))
        in_a_browser(api, execution, Path(folder) / "profile")
        api.close()


if __name__ == "__main__":
    main()

"""Search of a log: every line that contains the text, once, whatever the file's segments, parts and damages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer

from core.model import Execution
from web.store import log_search, logs
from web.store.log_search import Query


def printed(api: ApiServer, batches: list[tuple[str, bytes]]) -> Execution:
    execution, _ = api.started()
    sent = {"stdout": 0, "stderr": 0}
    for stream, text in batches:
        assert api.log(execution, text, sent[stream], stream=stream).status_code == 200
        sent[stream] += len(text)
    return api.execution(execution)


def search(api: ApiServer, execution: Execution, text: str, stream: str = "", most: int = 10**6) -> list[int]:
    """All hits, asked for as a page does: again and again from where the last answer ended."""
    at, first, found, answers = logs.length(api.db, execution), 0, list[int](), 0
    query = Query(text=text.encode(), stream=stream)
    while True:
        hits = log_search.search(api.config.logs_dir, execution, at, query, first=first, most=most, seconds=0)
        assert all(first <= line for line in hits.lines)
        found += hits.lines
        answers += 1
        if hits.next is None:
            return found
        assert hits.next > first
        first = hits.next


def expected(api: ApiServer, execution: Execution, text: str, stream: str | None = None) -> list[int]:
    at = logs.length(api.db, execution)
    lines = logs.read(api.config.logs_dir, execution, at, 0, at.lines, stream)
    fold = text != text.lower()
    return [line.number for line in lines if text in (line.text if fold else line.text.lower())]


@pytest.fixture(params=[100, 4 * 2**20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(log_search, "BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.fixture(params=[0, 4000], ids=["whole", "parts"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "data", limits={"log": request.param} if request.param else {})
    yield server
    server.close()


@pytest.mark.parametrize("most", [3, 10**6])
def test_the_same_lines_are_found_as_by_reading_the_log(limited: ApiServer, block: int, most: int) -> None:
    words = random.Random(block)
    batches = []
    for _ in range(60):
        lines = [
            words.choice(["needle", "Needle in hay", "hay", "", "x" * 300, "\u00e4rger"])
            for _ in range(words.randrange(1, 9))
        ]
        batches.append((words.choice(["stdout", "stderr"]), "".join(f"{line}\n" for line in lines).encode()))
    execution = printed(limited, batches)
    for text in ("needle", "Needle", "hay", "\u00e4rger", "nowhere", "created"):
        assert search(limited, execution, text, most=most) == expected(limited, execution, text), text
        for stream in ("stdout", "stderr", "status"):
            assert search(limited, execution, text, stream, most) == expected(limited, execution, text, stream)


def test_a_log_whose_files_are_lost_or_damaged_has_an_end(api: ApiServer) -> None:
    execution = printed(api, [("stdout", b"needle\n" * 5)] * 20)
    log, index = sorted(logs.files(api.config.logs_dir, execution), key=lambda path: path.suffix, reverse=True)
    whole = index.read_bytes()
    for damaged in (whole[: len(whole) // 2 + 3], whole[::-1], b"", b"\xff" * len(whole)):
        index.write_bytes(damaged)
        assert len(search(api, execution, "needle")) <= 100
    log.write_bytes(b"")
    assert search(api, execution, "needle") == []
    log.unlink()
    assert search(api, execution, "needle") == []


def test_status_lines_are_found_among_many_others(api: ApiServer) -> None:
    execution = printed(api, [("stdout", b"x\n")] * 50)
    at = logs.length(api.db, execution)
    found = [line.text for line in log_search.status_lines(api.config.logs_dir, execution, at)]
    assert found == [
        line.text for line in logs.read(api.config.logs_dir, execution, at, 0, at.lines) if line.stream == "status"
    ]
    assert len(found) == 2

"""Search in a log finds every matching line once, in all segments and parts, also if files are damaged."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer

from core.model import Execution
from web.services.presentation import log_view
from web.services.presentation.log_view import LogView
from web.store import log_search, logs
from web.store.log_files import LogLine
from web.store.log_search import Query, Span


def printed(api: ApiServer, batches: list[tuple[str, bytes]]) -> Execution:
    execution, _ = api.started()
    sent = {"stdout": 0, "stderr": 0}
    for stream, text in batches:
        assert api.log(execution, text, sent[stream], stream=stream).status_code == 200
        sent[stream] += len(text)
    return api.execution(execution)


def search(api: ApiServer, execution: Execution, query: Query, most: int = 10**6) -> list[LogLine]:
    """All hits, asked for as a page does: again and again from where the last answer ended."""
    at, first, found = logs.get_length(api.db, execution), 0, list[LogLine]()
    while first < at.lines:
        span = Span(first=first, end=at.lines, most=most, seconds=0)
        part = log_search.search(api.config.logs_dir, execution, at, query, span)
        assert all(first <= line.number < part.reached for line in part.lines)
        found += part.lines
        assert part.reached > first
        first = part.reached
    return found


def expected(api: ApiServer, execution: Execution, query: Query) -> list[LogLine]:
    at = logs.get_length(api.db, execution)
    lines = logs.read(api.config.logs_dir, execution, at, 0, at.lines, query.stream or None)
    text = query.text.decode()
    fold = text != text.lower()
    return [
        line
        for line in lines
        if line.count == 1
        and "left out" not in line.text
        and text in (line.text if fold else line.text.lower())
        and (query.metrics or not (line.stream == "stdout" and line.text.startswith('{"')))
        and (not query.errors or log_search.ERRORS.search(line.message.lower()))
    ]


@pytest.fixture(params=[100, 4 * 2**20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(log_search, "BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.fixture(params=[0, 4000], ids=["whole", "parts"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "data", limits={"log": request.param} if request.param else {})
    yield server
    server.close()


WORDS = ["needle", "Needle in hay", "hay", "", "x" * 300, "\u00e4rger", '{"loss": 1}', "an Error in hay"]
QUERIES = [
    Query(text=text.encode(), stream=stream, errors=errors, metrics=metrics)
    for text in ("", "needle", "Needle", "hay", "\u00e4rger", "nowhere", "created")
    for stream in ("", "stdout", "stderr", "status")
    for errors in (False, True)
    for metrics in (True, False)
]


def mixed(api: ApiServer, seed: int) -> Execution:
    words = random.Random(seed)
    batches = []
    for _ in range(60):
        lines = [words.choice(WORDS) for _ in range(words.randrange(1, 9))]
        batches.append((words.choice(["stdout", "stderr"]), "".join(f"{line}\n" for line in lines).encode()))
    return printed(api, batches)


@pytest.mark.parametrize("most", [3, 10**6])
def test_the_same_lines_are_found_as_by_reading_the_log(limited: ApiServer, block: int, most: int) -> None:
    execution = mixed(limited, block)
    for query in QUERIES:
        assert search(limited, execution, query, most) == expected(limited, execution, query), query


@pytest.mark.parametrize("count", [1, 7, 10**4])
def test_windows_of_a_filtered_log_join_without_gaps_in_both_directions(
    limited: ApiServer, block: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "WINDOW_LINES", 10)
    execution = mixed(limited, block)
    at = logs.get_length(limited.db, execution)
    for query in QUERIES[1:20]:
        view = LogView(logs_dir=limited.config.logs_dir, execution=execution, at=at, filter=query)
        numbers = [line.number for line in expected(limited, execution, query)]
        forwards, backwards, position = list[int](), list[int](), 0
        while position < at.lines:
            window = view.after(position, count)
            assert window.first <= position < window.next
            forwards += shown(window.html)
            position = window.next
        while position > 0:
            window = view.before(position, count)
            assert (window.first < position, window.next) == (True, position)
            backwards = shown(window.html) + backwards
            position = window.first
        assert (forwards, backwards) == (numbers, numbers), query


def shown(html: str) -> list[int]:
    return [int(number) - 1 for number in re.findall(r'id="L(\d+)"', html)]


def test_a_line_is_followed_with_a_filter_if_a_reload_shows_it(api: ApiServer) -> None:
    execution = mixed(api, 1)
    at = logs.get_length(api.db, execution)
    lines = list(logs.read(api.config.logs_dir, execution, at, 0, at.lines))
    for query in QUERIES:
        assert list(log_view.filter_lines(lines, query)) == expected(api, execution, query), query


def test_a_log_whose_files_are_lost_or_damaged_has_an_end(api: ApiServer) -> None:
    execution = printed(api, [("stdout", b"needle\n" * 5)] * 20)
    needle = Query(text=b"needle")
    log, index = sorted(logs.list_files(api.config.logs_dir, execution), key=lambda path: path.suffix, reverse=True)
    whole = index.read_bytes()
    for damaged in (whole[: len(whole) // 2 + 3], whole[::-1], b"", b"\xff" * len(whole)):
        index.write_bytes(damaged)
        assert len(search(api, execution, needle)) <= 100
    log.write_bytes(b"")
    assert search(api, execution, needle) == []
    log.unlink()
    assert search(api, execution, needle) == []


def test_status_lines_are_found_among_many_others(api: ApiServer) -> None:
    execution = printed(api, [("stdout", b"x\n")] * 50)
    at = logs.get_length(api.db, execution)
    found = [line.text for line in log_search.iterate_status_lines(api.config.logs_dir, execution, at)]
    assert found == [
        line.text for line in logs.read(api.config.logs_dir, execution, at, 0, at.lines) if line.stream == "status"
    ]
    assert len(found) == 2

"""The log and the metadata of an execution as clients of the API read them."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from typing import Any

import pytest
from api_server import ApiServer, said

from web.store.db import execute

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


def events(api: ApiServer, execution: str, **query: Any) -> Any:
    return api.json(f"executions/{execution}/events/", **query)


@pytest.fixture
def counted(api: ApiServer) -> str:
    """An execution with 2 status lines and 2500 of stdout."""
    execution, _ = api.started()
    text = b"".join(b"line %d\n" % i for i in range(2500))
    now = time.time_ns() // 1000
    assert api.log(execution, text, 0, first_us=now, last_us=now).status_code == 200
    return execution


def test_events_are_the_last_2000_unless_asked_otherwise(api: ApiServer, counted: str) -> None:
    answer = events(api, counted)
    assert (answer["total"], answer["limit"], answer["truncated"]) == (2502, 2000, True)
    assert [event["message"] for event in answer["events"]] == [f"line {i}" for i in range(500, 2500)]


def test_limit_zero_is_everything(api: ApiServer, counted: str) -> None:
    answer = events(api, counted, limit=0)
    assert (answer["total"], answer["limit"], answer["truncated"]) == (2502, 0, False)
    assert said(api, counted, "stdout", limit=0) == [f"line {i}" for i in range(2500)]
    assert answer["events"][2:] == events(api, counted, limit=2500)["events"]


def test_a_limit_is_the_newest_lines(api: ApiServer, counted: str) -> None:
    assert said(api, counted, limit=3) == ["line 2497", "line 2498", "line 2499"]
    assert events(api, counted, limit=9999)["truncated"] is False
    assert api.get(f"executions/{counted}/events/", limit="-1").status_code == 400


def test_vh_that_follows_an_execution_gets_more_than_the_100_events_it_asks_for(api: ApiServer, counted: str) -> None:
    agent = {"User-Agent": "valohai-cli/0.37.0 on CPython 3.11.7 (Linux;vm;;;x86_64;)"}

    def shown(limit: int = 100) -> list[str]:
        path = f"/api/v0/executions/{counted}/events/?limit={limit}"
        answer = api.client.get(path, headers={**api.as_admin, **agent})
        return [event["message"] for event in answer.get_json()["events"]]

    assert shown() == [f"line {i}" for i in range(500, 2500)]
    assert len(shown(0)) == 2502
    execute(api.db, "UPDATE execution SET state = 'complete', ended_at = '2026-11-22T23:50:00.000000Z'")
    assert shown() == [f"line {i}" for i in range(2400, 2500)]


def test_event_times_have_the_one_form_that_clients_can_cut_and_never_repeat(api: ApiServer, counted: str) -> None:
    times = [event["time"] for event in events(api, counted, limit=0)["events"]]
    assert all(TIME.fullmatch(moment) for moment in times)
    assert all(earlier < later for earlier, later in pairwise(times))


def test_an_execution_that_printed_nothing_has_an_empty_stream(api: ApiServer) -> None:
    execution = api.add_execution()
    assert said(api, execution.uuid, "stdout", limit=0) == []
    assert said(api, execution.uuid) == ["Execution created"]


def test_a_line_of_a_megabyte_comes_in_pieces_between_characters_with_times_of_their_own(api: ApiServer) -> None:
    execution, _ = api.started()
    long = "häß€𝄞" * 70_000
    text = f"before\n{long}\nafter\n".encode()
    assert api.log(execution, text, 0).status_code == 200
    answer = events(api, execution, limit=0)
    pieces = [event for event in answer["events"] if event["stream"] == "stdout"]
    assert "".join(event["message"] for event in pieces[1:-1]) == long
    assert all(len(event["message"].encode()) <= 16 * 1024 for event in pieces)
    assert len(pieces) > 50
    assert all(earlier["time"] < later["time"] for earlier, later in pairwise(answer["events"]))
    assert events(api, execution, limit=10)["events"] == answer["events"][-10:]
    assert events(api, execution, limit=10)["total"] == answer["total"] == len(answer["events"])


def test_bytes_that_are_no_text_are_shown_as_such(api: ApiServer) -> None:
    execution, _ = api.started()
    api.log(execution, b"\xff\xfe\x00 \x1b[31mred\r\n", 0)
    assert said(api, execution, "stdout") == ["\ufffd\ufffd\x00 \x1b[31mred\r"]


def test_a_runner_whose_clock_is_wrong_cannot_print_in_the_future(api: ApiServer) -> None:
    execution, _ = api.started()
    assert api.log(execution, b"early\n", 0, first_us=2**52, last_us=2**52).status_code == 200
    last = events(api, execution)["events"][-1]["time"]
    assert last[:4] < "2100"


def test_status_events_are_the_lines_of_that_stream_alone(api: ApiServer, counted: str) -> None:
    answer = api.json(f"executions/{counted}/status-events/", limit=100)
    assert answer["total"] == 2
    shown = api.execution(counted)
    started = f"Started on runner one: commit {shown.commit_identifier[:12]} on image {shown.image}"
    assert [event["message"] for event in answer["status_events"]] == ["Execution created", started]


def test_metadata_are_points_with_their_time_and_the_latest_value_is_kept_beside(api: ApiServer) -> None:
    execution, _ = api.started()
    text = b'{"epoch": 1, "loss": 0.5}\nplain\n{"epoch": 2, "loss": NaN}\n{"epoch": 3, "_time": "mine"}\n'
    api.log(execution, text, 0)
    api.log(execution, b'{"stderr": 1}\n', 0, stream="stderr")
    points = api.json(f"executions/{execution}/metadata/")
    assert [{key: value for key, value in point.items() if key != "_time"} for point in points] == [
        {"epoch": 1, "loss": 0.5},
        {"epoch": 2, "loss": "NaN"},
        {"epoch": 3},
    ]
    shown = {event["message"]: event["time"] for event in events(api, execution)["events"]}
    assert points[0]["_time"] == shown['{"epoch": 1, "loss": 0.5}']
    assert api.json(f"executions/{execution}/")["cumulative_metadata"] == {"epoch": 3, "loss": "NaN"}


def test_long_metadata_come_whole(api: ApiServer) -> None:
    execution, _ = api.started()
    text = b"".join(b'{"step": %d, "loss": %d.5}\n' % (i, i) for i in range(1234))
    api.log(execution, text, 0)
    points = api.json(f"executions/{execution}/metadata/")
    assert [point["step"] for point in points] == list(range(1234))
    assert api.json(f"executions/{api.add_execution().uuid}/metadata/") == []


def test_a_key_that_no_table_can_hold_is_plain_log(api: ApiServer) -> None:
    execution, _ = api.started()
    assert api.log(execution, b'{"\\ud800": 1}\n{"ok": "\\ud800"}\n', 0).status_code == 200
    assert api.json(f"executions/{execution}/metadata/") == []

"""Live pages over real HTTP: no event is lost or repeated, and no stream outlives its reader."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, listening
from instance import wait_for

from core.model import Execution
from web.http import live, streams

FIRST_LINES = 2  # the server's own: created, started


@dataclass
class Event:
    id: str
    kind: str
    data: Any


@dataclass
class Followed:
    """An execution that prints, and its events as a browser gets them."""

    api: ApiServer
    url: str
    execution: Execution
    offset: int = 0

    @property
    def path(self) -> str:
        return f"{self.url}/p/demo/executions/{self.execution.counter}"

    def print(self, *lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines).encode()
        assert self.api.log(self.execution.uuid, text, self.offset).status_code == 200
        self.offset += len(text)

    def finish(self) -> None:
        report = {"attempt": 1, "state": "complete", "exit_code": 0}
        assert self.api.call(f"executions/{self.execution.uuid}/final", report).status_code == 200

    def events(self, after: str = "", header: str = "") -> Iterator[Event]:
        """Until the server ends the stream or the caller closes the iterator. Asks again while there are too many."""
        headers = {"Last-Event-ID": header} if header else {}
        params = {"after": after} if after else {}
        client = httpx.Client(headers=self.api.as_admin | headers, timeout=20, trust_env=False)
        with client:
            answer = wait_for(lambda: self._stream(client, params))
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            try:
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if line:
                        fields[name] = value
                    elif "event" in fields:
                        yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                        fields = {}
            finally:
                answer.close()

    def _stream(self, client: httpx.Client, params: dict[str, str]) -> httpx.Response | None:
        answer = client.send(client.build_request("GET", f"{self.path}/events", params=params), stream=True)
        if answer.status_code == 503:  # the server may not have noticed yet that the one before was cut
            answer.close()
            return None
        assert answer.status_code == 200, answer.read()
        return answer

    def news(self, after: str) -> Any:
        return httpx.get(
            f"{self.path}/news", params={"after": after}, headers=self.api.as_admin, trust_env=False
        ).json()


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    api = ApiServer(tmp_path / "data", server={"followers": 3})
    execution_uuid, _ = api.started()
    with listening(api.app) as url:
        yield Followed(api, url, api.execution(execution_uuid))
    api.close()


def numbers(events: list[Event]) -> list[int]:
    """The log lines in events, as their page numbers."""
    return [int(n) for e in events if e.kind == "log" for n in re.findall(r'id="L(\d+)"', e.data["html"])]


def seqs(events: list[Event], key: str) -> list[int]:
    return [point[0] for e in events if e.kind == "metadata" for point in e.data["points"].get(key, [])]


def test_a_finished_execution_is_told_to_its_last_line_and_ends(followed: Followed) -> None:
    followed.print(*(f"line {i}" for i in range(2500)))
    followed.finish()
    events = list(followed.events())
    assert numbers(events) == list(range(1, 2501 + FIRST_LINES))
    assert [e.kind for e in events][-2:] in (["state", "end"], ["log", "end"])
    assert [e.data["status"] for e in events if e.kind == "state"][-1] == "complete"
    assert events[-1].id == f"{2500 + FIRST_LINES}-0"


def test_lines_arrive_while_they_are_printed(followed: Followed) -> None:
    stream = followed.events()
    assert next(stream).kind in ("log", "state")
    followed.print("fresh")
    found = next(e for e in stream if e.kind == "log" and "fresh" in e.data["html"])
    assert found.data["to"] == 1 + FIRST_LINES
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["header", "after"])
def test_broken_connections_lose_and_double_nothing(followed: Followed, how: str) -> None:
    """Every connection is cut after one to three events, while another thread prints lines with metadata."""

    def prints() -> None:
        for i in range(40):
            followed.print(*(json.dumps({"loss": i * 10 + j}) for j in range(10)))
        followed.finish()

    printing = threading.Thread(target=prints)
    printing.start()
    events: list[Event] = []
    position, cuts = "", random.Random(1)
    while not events or events[-1].kind != "end":
        stream = followed.events(**{how: position}) if position else followed.events()
        events += itertools.islice(stream, cuts.randint(1, 3))
        position = events[-1].id
        stream.close()  # type: ignore[attr-defined]
    printing.join()
    assert numbers(events) == list(range(1, 401 + FIRST_LINES))
    assert seqs(events, "loss") == list(range(400))


def test_polling_tells_the_same_as_the_stream(followed: Followed) -> None:
    followed.print(*(json.dumps({"loss": i}) for i in range(1500)))
    followed.finish()
    events: list[Event] = []
    position, end = "0", False
    while not end:
        news = followed.news(position)
        events += [Event("", kind, news[kind]) for kind in ("log", "metadata") if news[kind]]
        position, end = news["position"], news["end"]
    assert numbers(events) == list(range(1, 1501 + FIRST_LINES))
    assert seqs(events, "loss") == list(range(1500))
    assert news["state"]["final"]


def test_a_stop_request_is_told_at_once(followed: Followed) -> None:
    stream = followed.events()
    assert next(e for e in stream if e.kind == "state").data["status"] == "started"
    followed.api.post(f"executions/{followed.execution.uuid}/stop/")
    told = next(e for e in stream if e.kind == "state")
    assert (told.data["status"], told.data["sign"]) == ("stopping", "◐")
    assert ">Kill</button>" in told.data["head"]
    stream.close()  # type: ignore[attr-defined]


def test_streams_have_a_bound_and_closed_ones_give_theirs_back(followed: Followed) -> None:
    streams = [followed.events() for _ in range(3)]
    for stream in streams:
        next(stream)
    refused = httpx.get(f"{followed.path}/events", headers=followed.api.as_admin, trust_env=False)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert followed.news("0")["state"]["status"] == "started"
    streams[0].close()  # type: ignore[attr-defined]

    def accepted() -> bool:
        again = httpx.Client(headers=followed.api.as_admin, trust_env=False)
        with again, again.stream("GET", f"{followed.path}/events") as answer:
            return answer.status_code == 200

    wait_for(accepted)
    for stream in streams[1:]:
        stream.close()  # type: ignore[attr-defined]


def test_a_silent_stream_beats(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(live, "POLL_S", 0.1)
    with (
        httpx.Client(headers=followed.api.as_admin, trust_env=False) as client,
        client.stream("GET", f"{followed.path}/events") as answer,
    ):
        assert next(line for line in answer.iter_lines() if line.startswith(":")) == ":"


def test_a_quiet_execution_is_not_looked_at_because_another_is_busy(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0)  # each look says something
    monkeypatch.setattr(live, "POLL_S", 1000)  # and only changes cause one
    api = followed.api
    uuid, _ = api.started()
    waiting, attempt = api.placed()
    busy = Followed(api, followed.url, api.execution(uuid))
    with (
        httpx.Client(headers=api.as_admin, timeout=20, trust_env=False) as client,
        client.stream("GET", f"{followed.path}/events") as answer,
    ):
        said = answer.iter_lines()
        assert any(line == "event: state" for line in said)
        stream = busy.events()
        next(e for e in stream if e.kind == "state")
        for number in range(5):
            busy.print(f"line {number}")
            next(e for e in stream if e.kind == "log" and f"line {number}" in e.data["html"])
        assert api.call(f"executions/{waiting}/claim", {"attempt": attempt}).status_code == 200
        busy.finish()
        assert [e.kind for e in stream][-1] == "end"
        followed.print("at last")
        assert ":" not in itertools.takewhile(lambda line: line != "event: log", said)


@pytest.mark.parametrize("after", ["x", "-1", "1-", "1-2-3", "9999999999999999", "٣"])
def test_a_position_that_is_none_is_refused(followed: Followed, after: str) -> None:
    answer = httpx.get(f"{followed.path}/news", params={"after": after}, headers=followed.api.as_admin, trust_env=False)
    assert answer.status_code == 400


def test_a_position_beyond_the_end_waits_there(followed: Followed) -> None:
    assert followed.news("999-999")["position"] == f"{FIRST_LINES}-0"


def test_an_unfinished_line_is_shown_replaced_and_then_stored_whole(followed: Followed) -> None:
    def preview(text: str, start: int | None = None) -> None:
        at = followed.offset if start is None else start
        body = {"attempt": 1, "stream": "stdout", "start": at, "text": text}
        assert followed.api.call(f"executions/{followed.execution.uuid}/preview", body).status_code == 200

    def told(events: Iterator[Event]) -> str:
        return str(next(event.data["html"] for event in events if event.kind == "partial"))

    events = followed.events()
    followed.print("first")
    preview('{"loss": <')
    assert "{&#34;loss&#34;: &lt;</span>" in told(events)
    preview('{"loss": 1')
    assert "{&#34;loss&#34;: 1</span>" in told(events)
    page = httpx.get(followed.path, headers=followed.api.as_admin, follow_redirects=True, trust_env=False).text
    assert "{&#34;loss&#34;: 1</span>" in page
    said = followed.api.json(f"executions/{followed.execution.uuid}/events/")["events"]
    assert said[-1]["message"] == "first"  # clients of the API get whole lines
    followed.print('{"loss": 12}')
    assert told(events) == ""
    again = followed.events(after=f"{1 + FIRST_LINES}-0")  # a page that has shown the unfinished line
    assert told(again) == ""
    again.close()  # type: ignore[attr-defined]
    preview("of a runner that is late", 0)
    followed.finish()
    kinds = [event.kind for event in events]
    assert kinds[-1] == "end"
    assert "partial" not in kinds
    said = followed.api.json(f"executions/{followed.execution.uuid}/events/")["events"]
    assert [event["message"] for event in said if event["stream"] == "stdout"] == ["first", '{"loss": 12}']
    assert followed.api.json(f"executions/{followed.execution.uuid}/")["cumulative_metadata"] == {"loss": 12}

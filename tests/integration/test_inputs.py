from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_server import DataServer, Fetching, Handler, served, spec

from core.errors import ExecutionFailed

DATA = b"a,b\n1,2\n" * 100


@pytest.fixture
def server() -> Iterator[DataServer]:
    with served() as running:
        yield running


@pytest.fixture
def fetch(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


def test_a_file_arrives_with_its_sums_writable_by_any_user(server: DataServer, fetch: Fetching) -> None:
    server.routes["/some/a.csv"] = lambda h: h.answer(200, DATA)
    before = os.umask(0o077)
    try:
        [data, empty] = fetch(spec(f"{server.url}/some/a.csv?signature=secret"), spec(name="empty"))
    finally:
        os.umask(before)
    [file] = data.files
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert (fetch.inputs / "data/a.csv").read_bytes() == DATA
    assert (file.name, file.path, file.size) == ("a.csv", "/valohai/inputs/data/a.csv", 800)
    sums = [hashlib.md5(DATA).hexdigest(), hashlib.sha1(DATA).hexdigest(), sha256]
    assert [file.md5, file.sha1, file.sha256] == sums
    assert fetch.lines == [f"data: a.csv downloaded, 800 B, sha256 {sha256}"]
    assert (empty.files, empty.input_id) == ([], None)
    modes = [stat.S_IMODE((fetch.inputs / name).stat().st_mode) for name in ("data", "empty", "data/a.csv")]
    assert modes == [0o777, 0o777, 0o666]


def test_names_come_from_the_path_and_never_lead_elsewhere(server: DataServer, fetch: Fetching) -> None:
    names = {
        "/d/": "download",
        "/d/%2E%2E": "download",
        "/d/..%2F..%2Fetc%2Fpasswd": ".._.._etc_passwd",
        "/d/a%00b%0Ac": "a_b_c",
        "/d/%5C..%5Cx": "_.._x",
        "/d/gr%C3%BC%C3%9Fe.txt": "grüße.txt",
        "/d/" + "x" * 300 + ".csv": "x" * 251 + ".csv",
    }
    for path in names:
        server.routes[path] = lambda h: h.answer(200, b"x")
    [data] = fetch(spec(*(server.url + path for path in list(names)[1:])))
    assert [file.name for file in data.files] == list(names.values())[1:]
    assert sorted(os.listdir(fetch.inputs / "data")) == sorted(list(names.values())[1:])
    [data] = fetch(spec(server.url + "/d/", filename="renamed.csv"))
    assert os.listdir(fetch.inputs / "data") == ["renamed.csv"]
    for name in ("../x", "/etc", "..", "", "a\0b", "x" * 256):
        with pytest.raises(ExecutionFailed, match="is not a valid name for a"):
            fetch(spec(name=name))
        with pytest.raises(ExecutionFailed, match="is not a valid name for a"):
            fetch(spec(server.url + "/d/", filename=name))


def test_of_two_files_with_one_name_the_last_wins_and_a_line_says_so(server: DataServer, fetch: Fetching) -> None:
    for path in ("/1/a", "/2/a", "/b"):
        server.routes[path] = lambda h: h.answer(200, h.path.encode())
    [data] = fetch(spec(*(server.url + path for path in ("/1/a", "/b", "/2/a"))))
    assert [file.name for file in data.files] == ["b", "a"]
    assert (fetch.inputs / "data/a").read_bytes() == b"/2/a"
    assert fetch.lines[0] == f"data: a is given twice; {server.url}/2/a is used"
    assert server.paths() == ["/b", "/2/a"]


def test_what_is_on_demand_is_named_and_not_fetched(server: DataServer, fetch: Fetching) -> None:
    [data, none] = fetch(spec(f"{server.url}/a.csv", on_demand=True), spec(name="none", on_demand=True))
    assert uuid.UUID(data.input_id)
    assert data.files[0].path == "/valohai/inputs/data/a.csv"
    assert (none.files, none.input_id) == ([], None)
    assert (fetch.inputs / "data").is_dir()
    assert server.requests == []


def test_the_cache_asks_the_server_each_time(server: DataServer, fetch: Fetching) -> None:
    body = [DATA]

    def versioned(handler: Handler) -> None:
        tag = f'"{hashlib.md5(body[0]).hexdigest()}"'
        unchanged = handler.headers.get("If-None-Match") == tag
        handler.answer(304) if unchanged else handler.answer(200, body[0], ETag=tag)

    server.routes["/a.csv"] = versioned
    [first] = fetch(spec(f"{server.url}/a.csv"))
    [second] = fetch(spec(f"{server.url}/a.csv"))
    assert first == second
    assert fetch.lines[0].startswith("data: a.csv from cache, 800 B, sha256 ")
    assert (fetch.inputs / "data/a.csv").read_bytes() == DATA
    body[0] = b"changed"
    fetch(spec(f"{server.url}/a.csv"))
    assert fetch.lines[0].startswith("data: a.csv downloaded, 7 B")
    fetch.ignore_cache = True
    fetch(spec(f"{server.url}/a.csv"))
    assert fetch.lines[0].startswith("data: a.csv downloaded")
    assert "If-None-Match" not in server.requests[-1][1]
    fetch.ignore_cache = False
    fetch(spec(f"{server.url}/a.csv"))
    assert fetch.lines[0].startswith("data: a.csv from cache")


def test_last_modified_is_enough_for_the_cache_and_nothing_is_not(server: DataServer, fetch: Fetching) -> None:
    moment = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.routes["/dated"] = lambda h: (
        h.answer(304) if h.headers.get("If-Modified-Since") == moment else h.answer(200, DATA, Last_Modified=moment)
    )
    server.routes["/bare"] = lambda h: h.answer(200, DATA)
    for _ in range(2):
        fetch(spec(f"{server.url}/dated", f"{server.url}/bare"))
    assert [" from cache" in line for line in fetch.lines] == [True, False]


def test_what_a_program_does_to_its_input_does_not_reach_the_next(server: DataServer, fetch: Fetching) -> None:
    server.routes["/a"] = lambda h: h.answer(304) if h.headers.get("If-None-Match") else h.answer(200, DATA, ETag='"1"')
    fetch(spec(f"{server.url}/a"))
    assert (fetch.inputs / "data/a").stat().st_nlink == 1
    (fetch.inputs / "data/a").write_bytes(b"poison")
    fetch(spec(f"{server.url}/a"))
    assert (fetch.inputs / "data/a").read_bytes() == DATA


def test_a_damaged_cache_is_as_good_as_none(server: DataServer, fetch: Fetching) -> None:
    server.routes["/a"] = lambda h: h.answer(304) if h.headers.get("If-None-Match") else h.answer(200, DATA, ETag='"1"')
    for damage in ("{", '{"size": 1}', "[]", None):
        fetch(spec(f"{server.url}/a"))
        for file in (fetch.directory / "cache/inputs").iterdir():
            if damage is None and file.suffix == ".data":
                file.write_bytes(b"cut")
            elif damage is not None and file.suffix == ".json":
                file.write_text(damage)
        fetch(spec(f"{server.url}/a"))
        assert fetch.lines[0].startswith("data: a downloaded")
        assert (fetch.inputs / "data/a").read_bytes() == DATA


def test_credentials_open_the_door_are_shown_nowhere_and_share_no_cache(server: DataServer, fetch: Fetching) -> None:
    def guarded(handler: Handler) -> None:
        if handler.headers.get("Authorization") != "Basic YWRhOnBAc3M=":  # ada:p@ss
            handler.answer(401)
        elif handler.headers.get("If-None-Match"):
            handler.answer(304)
        else:
            handler.answer(200, DATA, ETag='"1"')

    server.routes["/a"] = guarded
    place = server.url.removeprefix("http://")
    fetch(spec(f"http://ada:p%40ss@{place}/a"))
    assert "ss" not in fetch.lines[0].replace("downloaded", "")
    assert fetch.failure(f"http://ada:wrong@{place}/a") == f'input "x": http://{place}/a answered 401 Unauthorized'
    assert fetch.failure(f"{server.url}/a").endswith("answered 401 Unauthorized")
    assert "wrong" not in fetch.failure(f"ftp://ada:wrong@{place}/a")


@pytest.mark.parametrize(
    ("status", "tries", "said"),
    [
        (500, 3, "answered 500 Internal Server Error (tried 3 times)"),
        (404, 1, "answered 404 Not Found"),
        (304, 1, "answered 304 Not Modified"),
    ],
)
def test_a_bad_answer_is_quoted_and_5xx_tried_thrice(
    server: DataServer, fetch: Fetching, status: int, tries: int, said: str
) -> None:
    server.routes["/a"] = lambda h: h.answer(status)
    assert fetch.failure(f"{server.url}/a?token=secret") == f'input "x": {server.url}/a {said}'
    assert len(server.requests) == tries


def test_a_passing_trouble_passes(server: DataServer, fetch: Fetching) -> None:
    def flaky(handler: Handler) -> None:
        if len(server.requests) == 1:
            handler.answer(503)
        elif len(server.requests) == 2:
            handler.send_response(200)
            handler.send_header("Content-Length", "800")
            handler.end_headers()
            handler.wfile.write(DATA[:300])
        else:
            handler.answer(200, DATA)

    server.routes["/a"] = flaky
    fetch(spec(f"{server.url}/a"))
    assert (fetch.inputs / "data/a").read_bytes() == DATA


def test_a_body_shorter_than_announced_is_no_file(
    server: DataServer, fetch: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "2000")
        handler.end_headers()
        handler.wfile.write(DATA)
        handler.close_connection = True

    def cut_chunk(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"ff0\r\n" + DATA)
        handler.close_connection = True

    monkeypatch.setattr(Handler, "protocol_version", "HTTP/1.1")
    server.routes |= {"/short": short, "/chunk": cut_chunk}
    assert "/short broke off after 800 B of 1.95 KiB: " in fetch.failure(f"{server.url}/short")
    assert "/chunk broke off after 800 B: " in fetch.failure(f"{server.url}/chunk")
    assert not list(fetch.inputs.rglob("data/*"))


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.server.leaving.is_set():
            handler.wfile.write(bytes(100_000))


def test_a_server_that_never_ends_is_bounded(server: DataServer, fetch: Fetching) -> None:
    server.routes |= {"/endless": endless, "/big": lambda h: h.answer(200, bytes(6_000_000))}
    fetch.limit = 5_000_000
    assert "/endless is larger than the 4.77 MiB that are left" in fetch.failure(f"{server.url}/endless")
    assert "/big is larger than the 4.77 MiB that are left" in fetch.failure(f"{server.url}/big")


def test_the_limit_is_for_all_inputs_together(server: DataServer, fetch: Fetching) -> None:
    for path in ("/a", "/b"):
        server.routes[path] = lambda h: h.answer(200, DATA)
    fetch.limit = 1500
    assert "/b is larger than the 700 B that are left" in fetch.failure(f"{server.url}/a", f"{server.url}/b")


@pytest.mark.parametrize("kind", ["sends for ever", "sends nothing more"])
def test_a_stop_ends_a_download_at_once(server: DataServer, fetch: Fetching, kind: str) -> None:
    begun: list[float] = []
    ended: list[bool] = []

    def silent(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.wfile.flush()
        begun.append(time.monotonic())
        ended.append(handler.server.leaving.wait(60))

    def sending(handler: Handler) -> None:
        begun.append(time.monotonic())
        endless(handler)

    server.routes["/a"] = silent if kind == "sends nothing more" else sending
    fetch.cancelled = lambda: bool(begun) and time.monotonic() - begun[0] > 1  # by then the runner waits for more
    fetch.limit = 10**15
    assert "stopped while inputs were fetched" in fetch.failure(f"{server.url}/a")
    assert ended == []


def test_a_compressed_body_is_kept_as_sent(server: DataServer, fetch: Fetching) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    server.routes["/a.gz"] = lambda h: h.answer(200, bomb, Content_Encoding="gzip")
    fetch.limit = 100_000
    fetch(spec(f"{server.url}/a.gz"))
    assert (fetch.inputs / "data/a.gz").read_bytes() == bomb
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_nobody_there_and_no_url_are_told_apart(fetch: Fetching) -> None:
    assert "cannot be reached" in fetch.failure("http://127.0.0.1:9/a")
    assert "only http:// and https:// can" in fetch.failure("s3://bucket/key")
    assert "only http:// and https:// can" in fetch.failure("file:///etc/passwd")
    for url in ("http://", "http:///a", "http://[::1/a", "http://host:port/a"):
        assert fetch.failure(url)

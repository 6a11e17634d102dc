"""Outputs as inputs: the real server, the runner's real client, and connections that break."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from api_server import RUNNER_TOKENS, ApiServer, listening
from data_server import DataServer, Fetching, served, spec

from core.errors import Conflict, ExecutionFailed
from core.wire import ExecutionSpec
from runner.execution import relay
from runner.inputs.datums import Datums
from runner.server_client import Reporter
from web.store import data

BIG = os.urandom(3_000_000)


class Link:
    """What stands between runner and server: `cuts` has, for each download, after how many bytes it breaks off.

    A negative number answers 503 instead. `ranges` are those that were asked for.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.cuts: list[int] = []
        self.ranges: list[str] = []
        self.knows_ranges = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "/data/" not in environ["PATH_INFO"]:
            return self._app(environ, start_response)
        self.ranges.append(environ.get("HTTP_RANGE", ""))
        if not self.knows_ranges:
            environ.pop("HTTP_RANGE", None)
        cut = self.cuts.pop(0) if self.cuts else None
        if cut is not None and cut < 0:
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        # read as a whole: Werkzeug's server does not close the file of an answer that its client breaks off
        answer = self._app(environ, start_response)
        content = b"".join(answer)
        answer.close()  # type: ignore[attr-defined]
        return [content[:cut]]


class Runner:
    """Runner one, and where the inputs go of executions that it holds."""

    def __init__(self, api: ApiServer, url: str, link: Link, directory: Path) -> None:
        self.api, self.link = api, link
        self.fetch = Fetching(directory)
        self.given_up = False
        self.reporter = Reporter(url, RUNNER_TOKENS["one"], lambda: self.given_up)

    def reads(self, *data: str) -> ExecutionSpec:
        """A new execution that it holds and that reads these outputs."""
        execution, attempt = self.api.placed(images=[f"datum://{datum}" for datum in data])
        claimed = self.reporter.claim(execution, attempt)
        self.fetch.datums = Datums(self.reporter, claimed)
        return claimed

    def failure(self, *data: str) -> str:
        return self.fetch.failure(*(f"datum://{datum}" for datum in data))

    def content(self, name: str) -> bytes:
        return (self.fetch.inputs / "data" / name).read_bytes()

    def names(self) -> list[str]:
        folder = self.fetch.inputs / "data"
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def runner(api: ApiServer, tmp_path: Path) -> Iterator[Runner]:
    link = Link(api.app.wsgi_app)
    api.app.wsgi_app = link  # type: ignore[method-assign]
    with listening(api.app) as url:
        made = Runner(api, url, link, tmp_path / "runner")
        yield made
        made.reporter.close()


@pytest.fixture
def server() -> Iterator[DataServer]:
    with served() as running:
        yield running


def test_an_output_arrives_with_its_sums_and_the_next_time_from_cache(runner: Runner) -> None:
    datum = runner.api.stored("sub/model.bin", BIG)
    for how in ("downloaded", "from cache"):
        [images, _] = runner.reads(datum).input_specs()
        [fetched] = runner.fetch(images)
        [file] = fetched.files
        sums = [hashlib.new(name, BIG).hexdigest() for name in ("md5", "sha1", "sha256")]
        assert [file.md5, file.sha1, file.sha256] == sums
        assert (file.name, file.path) == ("model.bin", "/valohai/inputs/images/model.bin")
        assert (file.size, file.uri, file.datum_id) == (len(BIG), f"datum://{datum}", datum)
        target = runner.fetch.inputs / "images/model.bin"
        assert target.read_bytes() == BIG
        assert (target.stat().st_nlink, stat.S_IMODE(target.stat().st_mode)) == (1, 0o666)
        assert runner.fetch.lines == [f"images: model.bin {how}, 2.86 MiB, sha256 {sums[2]}"]
        target.write_bytes(b"poison")  # which reaches nobody else
    assert runner.link.ranges == [""]


def test_the_cache_is_one_by_content_and_can_be_ignored(runner: Runner, server: DataServer) -> None:
    server.routes["/a"] = lambda h: h.answer(304) if h.headers.get("If-None-Match") else h.answer(200, BIG, ETag='"1"')
    same, twin = runner.api.stored("one", BIG), runner.api.stored("two", BIG)
    runner.fetch(spec(f"{server.url}/a"))
    runner.reads(same, twin)
    runner.fetch(spec(f"datum://{same}", f"datum://{twin}"))
    assert ["from cache" in line for line in runner.fetch.lines] == [True, True]
    assert runner.link.ranges == []
    runner.fetch.ignore_cache = True
    runner.fetch(spec(f"datum://{same}"))
    assert runner.link.ranges == [""]
    runner.fetch.ignore_cache = False
    for content in (runner.fetch.directory / "cache/inputs").glob("*.data"):
        content.write_bytes(b"cut")
    runner.fetch(spec(f"datum://{same}"))
    assert runner.content("one") == BIG


def test_a_file_has_its_last_name_or_its_directories_or_the_name_given(runner: Runner) -> None:
    names = ["a.txt", "sub/dir/b.txt", "sub/c.txt"]
    data = [runner.api.stored(name, name.encode()) for name in names]
    runner.reads(*data)
    urls = [f"datum://{datum}" for datum in data]
    runner.fetch(spec(*urls))
    assert runner.names() == ["a.txt", "b.txt", "c.txt"]
    before = os.umask(0o077)
    try:
        for keep in ("full", "suffix"):
            [fetched] = runner.fetch(spec(*urls, keep_directories=keep))
            assert [file.name for file in fetched.files] == names
            assert fetched.files[1].path == "/valohai/inputs/data/sub/dir/b.txt"
            assert {name: runner.content(name) for name in runner.names()} == {name: name.encode() for name in names}
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((runner.fetch.inputs / "data" / name).stat().st_mode) for name in ("sub", "sub/dir")]
    assert modes == [0o777, 0o777]
    runner.fetch(spec(urls[1], filename="x.txt", keep_directories="full"))
    assert runner.names() == ["x.txt"]


def test_names_that_programs_gave_their_outputs_never_lead_elsewhere(runner: Runner) -> None:
    hostile = {
        "a//./b": ("b", "a/b"),
        "x/new\nline": ("new_line", "x/new_line"),
        "y/..\\..\\etc": (".._.._etc", "y/.._.._etc"),
        "z/": ("z", "z"),
        ".": ("download", "download"),
        "d/" + "n" * 300 + ".csv": ("n" * 251 + ".csv", "d/" + "n" * 251 + ".csv"),
        "\u202egpj.exe": ("_gpj.exe", "_gpj.exe"),
    }
    data = [runner.api.stored(name, b"x") for name in hostile]
    runner.reads(*data)
    urls = [f"datum://{datum}" for datum in data]
    for place, keep in enumerate(("none", "full")):
        runner.fetch(spec(*urls, keep_directories=keep))
        assert runner.names() == sorted(names[place] for names in hostile.values())
    assert all("\n" not in line for line in runner.fetch.lines)


def test_of_two_outputs_with_one_name_the_last_wins_and_file_and_directory_cannot_both_be(runner: Runner) -> None:
    first, second, below = (runner.api.stored(name, name.encode()) for name in ("1/a", "2/a", "a/b"))
    runner.reads(first, second, below)
    runner.fetch(spec(f"datum://{first}", f"datum://{second}"))
    assert runner.fetch.lines[0] == f"data: a is given twice; datum://{second} is used"
    assert (runner.names(), runner.content("a")) == (["a"], b"2/a")
    plain = runner.api.stored("a", b"a")
    runner.reads(plain, below)
    with pytest.raises(ExecutionFailed, match="'a' is the name of a file and of a directory of others"):
        runner.fetch(spec(f"datum://{below}", f"datum://{plain}", keep_directories="full"))


def test_an_output_on_demand_is_there_since_the_program_could_not_fetch_it(runner: Runner, server: DataServer) -> None:
    datum = runner.api.stored("a", b"a")
    runner.reads(datum)
    [mixed, alone] = runner.fetch(
        spec(f"datum://{datum}", f"{server.url}/b", on_demand=True),
        spec(f"datum://{datum}", on_demand=True, name="alone"),
    )
    assert runner.names() == ["a"]
    assert [(file.name, file.size) for file in mixed.files] == [("a", 1), ("b", None)]
    assert (alone.on_demand, alone.input_id) == (True, None)
    [asked] = relay.map_input_requests([mixed, alone]).values()
    assert [file["url"] for file in asked["files"]] == [f"{server.url}/b"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_was(runner: Runner, knows_ranges: bool) -> None:
    datum = runner.api.stored("big", BIG)
    runner.reads(datum)
    runner.link.cuts, runner.link.knows_ranges = [1_000_000, -1, 0, 1_200_000], knows_ranges
    runner.fetch(spec(f"datum://{datum}"))
    assert runner.content("big") == BIG
    went_on = "bytes=2200000-" if knows_ranges else "bytes=1200000-"
    assert runner.link.ranges == ["", "bytes=1000000-", "bytes=1000000-", "bytes=1000000-", went_on]


def test_an_empty_output_is_a_file_too(runner: Runner) -> None:
    datum = runner.api.stored("empty", b"")
    runner.reads(datum)
    runner.fetch(spec(f"datum://{datum}"))
    assert runner.content("empty") == b""


def test_content_that_is_damaged_or_gone_fails_the_execution_and_is_not_kept(runner: Runner) -> None:
    datum = runner.api.stored("sub/big", BIG)
    runner.reads(datum)
    stored = data.get_path(runner.api.config.outputs_dir, datum)
    stored.write_bytes(BIG[:-1] + bytes([BIG[-1] ^ 1]))
    assert f'input "x": datum://{datum} is damaged: its sha256 was ' in runner.failure(datum)
    stored.write_bytes(BIG[:1000])
    assert "is damaged" in runner.failure(datum)
    stored.unlink()
    assert runner.failure(datum) == f"input \"x\": datum://{datum} ('sub/big') is no longer on the server"
    assert list((runner.fetch.directory / "cache/inputs").iterdir()) == []


def test_the_limit_counts_outputs_before_they_are_fetched(runner: Runner) -> None:
    one, two = runner.api.stored("one", BIG), runner.api.stored("two", BIG)
    runner.reads(one, two)
    runner.fetch.limit = 5_000_000
    assert runner.failure(one, two) == f'input "x": datum://{two} is larger than the 1.91 MiB that are left for inputs'
    assert runner.link.ranges == [""]


def test_what_the_execution_may_not_read_is_not_asked_for(runner: Runner) -> None:
    stranger = str(uuid.uuid4())
    runner.reads(runner.api.stored())
    assert runner.failure(stranger) == f'input "x": datum://{stranger} is not an output that this execution may read'
    assert runner.link.ranges == []


def test_a_stop_ends_the_wait_for_a_server_that_is_away(runner: Runner) -> None:
    datum = runner.api.stored("big", BIG)
    runner.reads(datum)
    runner.given_up = True
    runner.link.cuts = [-1]
    assert runner.failure(datum) == 'input "x": the execution was stopped while inputs were fetched'
    assert runner.failure(datum) == 'input "x": the execution was stopped while inputs were fetched'
    assert runner.link.ranges == ["", ""]


def test_a_stop_ends_a_download_in_the_middle(runner: Runner) -> None:
    datum = runner.api.stored("big", BIG)
    found = runner.reads(datum).datum_specs()[datum]
    file = BytesIO()

    def stop(size: int, total: int | None) -> None:
        assert (0 < size < len(BIG), total) == (True, len(BIG))
        runner.given_up = True

    with pytest.raises(ExecutionFailed, match="the execution was stopped while inputs were fetched"):
        runner.fetch.datums.receive(found, file, stop)
    assert 0 < len(file.getvalue()) < len(BIG)


def test_a_lease_that_is_lost_in_the_middle_ends_the_download(runner: Runner) -> None:
    datum = runner.api.stored("big", BIG)
    claimed = runner.reads(datum)
    report = {"attempt": claimed.attempt, "state": "stopped"}
    assert runner.api.call(f"executions/{claimed.uuid}/final", report).status_code == 200
    with pytest.raises(Conflict):
        runner.fetch(spec(f"datum://{datum}"))

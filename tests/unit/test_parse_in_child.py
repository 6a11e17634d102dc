"""parse_limited(): the child answers within its limits and leaves no trace in this process."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import InvalidYaml
from web.config.steps import parse_in_child
from web.config.steps.parse import Configuration, parse
from web.config.steps.parse_in_child import parse_limited

STEP = b"- step: {name: a, image: i, command: c}\n"


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    """Zombies too. Other tests may have children of their own in this process."""
    return {child.pid for child in psutil.Process().children()}


@pytest.fixture
def no_children() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def use_parser(monkeypatch: pytest.MonkeyPatch, parser: Callable[[bytes], object]) -> None:
    """Let the child run something that the real parser's caps do not let happen."""
    parse_in_child.warm_up()
    monkeypatch.setattr(parse_in_child, "parse", lambda data, _items=0: parser(data))


@pytest.mark.usefixtures("no_children")
def test_the_child_answers_as_parse_does() -> None:
    data = STEP + b"- endpoint: {name: B}\n"
    assert parse_limited(data) == parse(data)
    with pytest.raises(InvalidYaml) as here:
        parse(b"- step: {name: a}")
    with pytest.raises(InvalidYaml) as there:
        parse_limited(b"- step: {name: a}")
    assert there.value.problems == here.value.problems


@pytest.mark.usefixtures("no_children")
def test_no_descriptor_and_no_child_is_left_behind() -> None:
    parse_limited(STEP)
    before = open_descriptors()
    for _ in range(5):
        parse_limited(STEP)
        with pytest.raises(InvalidYaml):
            parse_limited(b"[")
    assert open_descriptors() == before


@pytest.mark.usefixtures("no_children")
def test_a_child_over_its_wall_clock_is_killed_with_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    use_parser(monkeypatch, lambda _data: signal.pause())
    with pytest.raises(InvalidYaml, match=r"takes longer than 0.3 s"):
        parse_limited(STEP, seconds=0.3)


@pytest.mark.usefixtures("no_children")
def test_a_child_over_its_processor_time_ends_by_the_kernels_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = parse_in_child._limit

    def spin(_data: bytes) -> Configuration:
        while True:
            pass

    use_parser(monkeypatch, spin)
    monkeypatch.setattr(parse_in_child, "_limit", lambda _seconds, memory: limit(1, memory))
    with pytest.raises(InvalidYaml, match="takes longer"):
        parse_limited(STEP, seconds=20)


@pytest.mark.usefixtures("no_children")
def test_a_child_over_its_memory_gives_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(data: bytes) -> Configuration:
        return parse(data if bytearray(300 * 1024**2) else b"")

    use_parser(monkeypatch, greedy)
    assert parse_limited(STEP, memory=600 * 1024**2).steps == ("a",)
    with pytest.raises(InvalidYaml, match="needs more memory than allowed"):
        parse_limited(STEP, memory=200 * 1024**2)


@pytest.mark.usefixtures("no_children")
def test_a_child_that_is_killed_gives_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    use_parser(monkeypatch, lambda _data: os.kill(os.getpid(), signal.SIGSEGV))
    with pytest.raises(InvalidYaml, match="signal SIGSEGV"):
        parse_limited(STEP)


@pytest.mark.usefixtures("no_children")
def test_signals_for_this_process_do_not_disturb_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def disturbed(data: bytes) -> Configuration:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return parse(data)

    use_parser(monkeypatch, disturbed)
    assert parse_limited(STEP).steps == ("a",)


@pytest.mark.usefixtures("no_children")
def test_nothing_of_this_process_runs_in_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    atexit.register(trace.touch)

    def leave(_data: bytes) -> Configuration:
        raise SystemExit(0)

    use_parser(monkeypatch, leave)
    pid = os.getpid()
    try:
        with pytest.raises(InvalidYaml, match="exit code 1"):
            parse_limited(STEP)
        assert os.getpid() == pid
        assert not trace.exists()
    finally:
        atexit.unregister(trace.touch)


@pytest.mark.usefixtures("no_children")
def test_the_child_holds_no_descriptor_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(_data: bytes) -> Configuration:
        return Configuration(sorted(os.listdir("/proc/self/fd")), (), ())

    use_parser(monkeypatch, listing)
    reader, writer = os.pipe()
    try:
        held = parse_limited(STEP).config
    finally:
        os.close(reader)
        os.close(writer)
    assert len(held) <= 5  # the three standard ones, the answer's and that of the listing


@pytest.mark.usefixtures("no_children")
def test_many_threads_at_once_each_get_their_own_answer() -> None:
    found: dict[int, tuple[str, ...]] = {}

    def read(number: int) -> None:
        found[number] = parse_limited(f"- step: {{name: s{number}, image: i, command: c}}".encode()).steps

    threads = [threading.Thread(target=read, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (f"s{number}",) for number in range(12)}


@pytest.mark.usefixtures("no_children")
def test_a_fork_beside_other_threads_warns_nobody() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert parse_limited(STEP).steps == ("a",)
    finally:
        done.set()
        thread.join()


def test_a_child_reaped_by_somebody_else_still_gives_its_answer() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert parse_limited(STEP).steps == ("a",)
    finally:
        signal.signal(signal.SIGCHLD, before)

"""A thread that waits for output is woken at each write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.logs.watch import Watch

LONG_S = 60.0  # a wait that takes so long fails its test


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "out").touch()
    return tmp_path / "out"


@pytest.fixture
def watch(file: Path) -> Iterator[Watch]:
    watch = Watch([file])
    yield watch
    watch.close()


def ended(watch: Watch, call: str) -> bool:
    """Whether a wait or pause ends long before its time."""
    waiting = threading.Thread(target=getattr(watch, call), args=(LONG_S,), daemon=True)
    waiting.start()
    waiting.join(LONG_S / 2)
    return not waiting.is_alive()


def write(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("line\n")


def test_a_write_ends_a_wait(watch: Watch, file: Path) -> None:
    assert watch.sees_writes
    timer = threading.Timer(0.2, write, [file])
    timer.start()
    assert watch.wait(LONG_S)
    timer.join()
    assert not watch.wait(0)


def test_a_write_before_the_wait_ends_it_too_but_does_not_count(watch: Watch, file: Path) -> None:
    write(file)
    assert ended(watch, "wait")
    write(file)
    assert not watch.wait(0)


def test_a_pause_ends_when_it_is_woken_and_not_by_a_write(watch: Watch, file: Path) -> None:
    write(file)
    woken = threading.Event()

    def wake() -> None:
        woken.set()
        watch.wake()

    threading.Timer(0.2, wake).start()
    assert ended(watch, "pause")
    assert woken.is_set()
    assert ended(watch, "wait")


def test_a_file_that_cannot_be_watched_is_looked_at_instead(tmp_path: Path) -> None:
    watch = Watch([tmp_path / "missing"])
    try:
        assert not watch.sees_writes
        watch.wake()
        assert ended(watch, "wait")
    finally:
        watch.close()

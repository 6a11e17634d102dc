from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import wait_for
from redis import Redis

from core import clock
from web.http.serving.pool import Pool
from web.services.deliveries.rejected import WRONG, Recorder, Refusal
from web.services.repositories.keyed_threads import Threads
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling.queues import Queues
from web.store.runners import Seen


@contextlib.contextmanager
def no_new_threads() -> Iterator[None]:
    """Let starting a thread fail as at the limit of tasks: no stack of this size fits into the address space."""
    usual = threading.stack_size(1 << 47)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            yield
    finally:
        threading.stack_size(usual)


def test_a_thread_that_could_not_be_started_leaves_its_place_in_the_pool() -> None:
    pool, ran = Pool("calls", 1, waiting=1), threading.Event()
    with no_new_threads():
        pool.submit(ran.set)
    assert not ran.is_set()
    pool.submit(ran.set)
    assert ran.wait(60)
    pool.close()


def test_nudges_are_sent_after_their_thread_could_not_be_started(caplog: pytest.LogCaptureFixture) -> None:
    queues = Queues(Redis.from_url("unix:///nonexistent"))
    with no_new_threads():
        queues.nudge_soon()
    queues.nudge_soon()
    wait_for(lambda: "nudge not delivered" in caplog.text)


def test_refusals_are_written_after_their_thread_could_not_be_started(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "none.db")
    refusal = Refusal(project_name="a", forge_name="plain", headers={}, status=WRONG, said="")
    with no_new_threads():
        recorder.add(refusal)
    recorder.add(refusal)
    wait_for(lambda: recorder._waiting.unfinished_tasks == 0)


def test_reports_are_written_after_their_thread_could_not_be_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeats, seen = Heartbeats(tmp_path / "none.db"), Seen(1, "", clock.now(), {})
    with no_new_threads():
        heartbeats._write_soon(seen)
    heartbeats._write_soon(seen)
    wait_for(lambda: "reports of runners are not recorded" in caplog.text)  # the database has no tables


def test_those_that_found_no_place_come_before_those_that_had_a_turn() -> None:
    threads, over, begun = Threads(1), threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        over.wait()

    for _ in range(6):
        over.clear()
        threads.take_turns([1, 2, 3], work)
        over.set()
        threads.join()
    assert begun == [1, 2, 3, 1, 2, 3]


def test_a_repository_that_is_at_work_takes_no_second_turn() -> None:
    threads, over, begun = Threads(3), threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        over.wait()

    threads.take_turns([1], work)
    threads.take_turns([1, 2], work)
    over.set()
    threads.join()
    assert begun == [1, 2]

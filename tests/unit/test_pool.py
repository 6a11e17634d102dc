"""The threads that run the calls of a server: which one gets a call, how many may wait, and how they end."""

from __future__ import annotations

import asyncio
import threading

import pytest
from instance import wait_for

from web.http.serving.pool import Pool

THREADS = 3


def occupy(pool: Pool, release: threading.Event, calls: int) -> None:
    for _ in range(calls):
        pool.submit(lambda: bool(release.wait(60)))


def run(pool: Pool) -> str:
    """Run a call, and return the name of its thread, which may not be idle yet."""
    return asyncio.run(pool.run(lambda: threading.current_thread().name))


def all_idle(pool: Pool) -> bool:
    return len(pool._idle) == THREADS


@pytest.fixture
def pool() -> Pool:
    return Pool("calls", THREADS, waiting=2)


def test_calls_one_after_the_other_run_on_the_thread_that_was_idle_last(pool: Pool) -> None:
    release = threading.Event()
    occupy(pool, release, THREADS)
    release.set()
    wait_for(lambda: all_idle(pool))
    used = set()
    for _ in range(10):
        used.add(run(pool))
        wait_for(lambda: all_idle(pool))
    assert len(used) == 1


def test_calls_beyond_the_threads_wait_up_to_a_bound_and_then_run(pool: Pool) -> None:
    release, ran = threading.Event(), threading.Semaphore(0)
    occupy(pool, release, THREADS)
    for _ in range(2):
        pool.submit(ran.release)
    with pytest.raises(asyncio.QueueFull):
        pool.submit(ran.release)
    assert not ran.acquire(blocking=False)
    release.set()
    assert [ran.acquire(timeout=60) for _ in range(2)] == [True, True]


def test_while_calls_wait_no_thread_outruns_the_event_loop(pool: Pool) -> None:
    release, ran = threading.Event(), list[str]()

    def call() -> None:
        release.wait(60)
        ran.append(threading.current_thread().name)

    async def occupy_the_loop() -> None:
        calls = [asyncio.create_task(pool.run(call)) for _ in range(THREADS + 2)]
        await asyncio.sleep(0)  # they are submitted
        release.set()
        wait_for(lambda: len(ran) == THREADS)
        with pytest.raises(TimeoutError):
            wait_for(lambda: len(ran) > THREADS, timeout=0.2)
        await asyncio.gather(*calls)

    asyncio.run(occupy_the_loop())
    assert len(ran) == THREADS + 2


def test_closing_ends_idle_threads_and_busy_ones_after_what_waits() -> None:
    pool = Pool("ending", 2, waiting=1)
    assert run(pool).startswith("ending-")
    wait_for(lambda: len(pool._idle) == 1)
    release, ran = threading.Event(), threading.Event()
    occupy(pool, release, 2)
    pool.submit(ran.set)
    pool.close()
    release.set()
    assert ran.wait(60)
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("ending-")])

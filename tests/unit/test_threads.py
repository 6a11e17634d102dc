from __future__ import annotations

import threading

from web.services.repositories.keyed_threads import Threads


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

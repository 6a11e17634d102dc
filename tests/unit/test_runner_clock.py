"""The server's clock as a runner sees it."""

from __future__ import annotations

from runner.clock import ServerClock


def test_a_clock_that_is_off_is_put_right_by_the_middle_of_the_request() -> None:
    clock = ServerClock()
    clock.note(100.0, 102.0, 3_701_000_000)
    assert clock.us(50.5) == 3_650_500_000


def test_clocks_less_than_a_second_apart_count_as_one() -> None:
    clock = ServerClock()
    clock.note(100.0, 100.0, 100_900_000)
    assert clock.us(100.25) == 100_250_000


def test_a_server_that_does_not_tell_its_time_changes_nothing() -> None:
    clock = ServerClock()
    clock.note(100.0, 100.0, 0)
    assert clock.us(100.25) == 100_250_000


def test_a_clock_that_was_set_right_is_believed_again() -> None:
    clock = ServerClock()
    clock.note(100.0, 100.0, 3_700_000_000)
    clock.note(3_700.0, 3_700.0, 3_700_000_000)
    assert clock.us(3_700.0) == 3_700_000_000

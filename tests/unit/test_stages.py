"""The stages of an execution: their order, their lengths, and the unfinished one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core import clock
from core.model import Execution
from core.states import State
from web.services.presentation.stages import Stage, list_stages

CREATED = clock.parse("2026-11-30T10:00:00.000000Z")


def at(seconds: float) -> str:
    return clock.format_moment(CREATED + timedelta(seconds=seconds))


def execution(state: State, **columns: Any) -> Execution:
    made = object.__new__(Execution)
    defaults = {"state": state, "created_at": at(0), "started_at": None, "ended_at": None, "stages": {}}
    made.__dict__.update(defaults | columns)
    return made


def shown(found: list[Stage]) -> list[tuple[str, float, float, bool]]:
    return [(one.name, round(one.start_s, 3), round(one.length_s, 3), one.since is not None) for one in found]


NOW = CREATED + timedelta(seconds=100)
PREPARED = {"pull": 5, "checkout": 0.5, "inputs": 2, "run_at": at(16)}


@pytest.mark.parametrize(("run", "expected"), [
    (execution(State.QUEUED), [("waiting", 0, 100, True)]),
    (execution(State.STOPPED, ended_at=at(30)), [("waiting", 0, 30, False)]),
    (execution(State.STARTED, started_at=at(10)), [("waiting", 0, 10, False), ("prepare", 10, 90, True)]),
    (execution(State.STARTED, started_at=at(10), stages=PREPARED),
     [("waiting", 0, 10, False), ("pull", 10, 5, False), ("checkout", 10, 0.5, False), ("inputs", 10, 2, False),
      ("run", 16, 84, True)]),
    (execution(State.COMPLETE, started_at=at(10), ended_at=at(60), stages={**PREPARED, "upload": 4}),
     [("waiting", 0, 10, False), ("pull", 10, 5, False), ("checkout", 10, 0.5, False), ("inputs", 10, 2, False),
      ("run", 16, 40, False), ("upload", 56, 4, False)]),
    (execution(State.COMPLETE, started_at=at(10), ended_at=at(60)), [("waiting", 0, 10, False), ("run", 10, 50, False)]),
])  # fmt: skip
def test_the_stages_follow_each_other(run: Execution, expected: list[tuple[str, float, float, bool]]) -> None:
    assert shown(list_stages(run, NOW)) == expected


def test_a_preparation_is_never_longer_than_the_time_until_the_container() -> None:
    run = execution(State.STARTED, started_at=at(10), stages={**PREPARED, "pull": 600})
    assert ("pull", 10, 6, False) in shown(list_stages(run, NOW))

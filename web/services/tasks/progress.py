"""How far a task has come, as its page, the commit's page and forges show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from core.groups import Task
from core.model import Execution
from core.states import FINAL, State
from web.services.presentation import goal
from web.store import executions, trials


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`expected` is how many executions it has in all once it is done, None while that is open.

    `counts` are those that there are by state, the newest of each place alone. `metric` is what they are compared by, ""
    for nothing; `best` the one that came nearest, with its value, None without. `first_started` is whether anything of
    it has run.
    """

    expected: int | None
    counts: Mapping[State, int]
    metric: str
    best: tuple[Execution, float] | None
    first_started: bool

    @property
    def made(self) -> int:
        return sum(self.counts.values())


def progress(db: Database, task: Task) -> Progress:
    """Of one task, from the database as it is."""
    counts = {State(state): many for state, many in trials.counts(db, [task.id])[task.id].items()}
    wanted = goal.of(db, task)
    best = goal.best(db, task, wanted) if wanted else None
    return Progress(
        expected=sum(counts.values()) if task.state in FINAL else task.planned,
        counts=counts,
        metric=wanted.key if wanted else "",
        best=(executions.get(db, best.execution_id), best.number) if best and best.number is not None else None,
        first_started=any(state not in (State.CREATED, State.QUEUED) for state in counts),
    )

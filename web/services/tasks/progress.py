"""How far a task has come, as its page, the commit's page and forges show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from core.groups import Task
from core.model import Execution
from core.states import State


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`expected` is how many executions it has in all once it is done, None while that is open.

    `counts` are those that there are by state, the newest of each place alone. `metric` is the one that it optimises,
    "" for none; `best` the complete execution that came nearest, with its value, None without. `first_started` is
    whether anything of it has run.
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
    raise NotImplementedError

"""The main metrics of a commit's executions next to those of its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.model import Execution
from core.states import State
from web.config.metadata import to_number
from web.services.presentation import formats, headline
from web.services.presentation.objective import Objective, make_objective
from web.store import commits, execution_table, metadata
from web.store.db import Database

LOOKED_AT = 100  # newest executions of the parent that are read


@dataclass(frozen=True, kw_only=True)
class MainMetric:
    """The main metric of an execution or a task, for a task its best value.

    `change` is the difference to the execution with the number `of` of the parent, "" without one.

    `better` is None if the metric is as good as there.
    """

    key: str
    value: float
    change: str = ""
    better: bool | None = None
    of: int | None = None


def compare_main_metrics(
    db: Database, project_id: int, parent: str, found: Sequence[Execution], latest: Mapping[int, Mapping[str, Any]]
) -> dict[int, MainMetric]:
    """Return main metrics by execution id; `parent` is the name of the commit's parent, "" for none."""
    before, values = _successful(db, project_id, parent), {}
    if before:
        values = metadata.map_latest_by_execution(db, [execution.id for execution in before.values()])
    result = {}
    for execution in found:
        printed = latest.get(execution.id, {})
        key = headline.choose(printed)
        value = to_number(printed[key]) if key is not None else None
        if key is None or value is None:
            continue
        other = before.get(execution.step)
        reference = to_number(values.get(other.id, {}).get(key)) if other else None
        result[execution.id] = compare_with(make_objective(key), value, reference, other.counter if other else None)
    return result


def _successful(db: Database, project_id: int, parent: str) -> dict[str, Execution]:
    """Return the newest successful execution of each step of a commit."""
    commit = commits.find_by_identifier(db, project_id, parent) if parent else None
    if commit is None:
        return {}
    found = execution_table.list_newest_by_commit(db, [commit.id], LOOKED_AT)[commit.id]
    return {execution.step: execution for execution in found if execution.state is State.COMPLETE}


def compare_with(goal: Objective, value: float, reference: float | None, of: int | None) -> MainMetric:
    if reference is None:
        return MainMetric(key=goal.key, value=value)
    difference = value - reference
    better = None if difference == 0 else goal.cost(value) < goal.cost(reference)
    return MainMetric(key=goal.key, value=value, change=formats.format_difference(difference), better=better, of=of)

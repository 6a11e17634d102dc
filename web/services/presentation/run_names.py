"""Names of the parameters and metrics of a project's executions, for filters and columns.

They are those of its newest executions, so that they are the same on each page of a table, and cost the same however
many executions there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from web.config.filters.terms import Names
from web.services.presentation.charts import X_KEYS
from web.store import execution_search
from web.store.db import Database

MOST = 200  # most parameters that are listed


@dataclass(frozen=True, kw_only=True)
class RunNames(Names):
    """`metrics` are ordered by frequency, counters such as epochs last; `varying` parameters have several values."""

    parameters: tuple[str, ...]
    metrics: tuple[str, ...]
    varying: tuple[str, ...]


def load_run_names(db: Database, project_id: int) -> RunNames:
    found = [orjson.loads(text) for text in execution_search.list_parameters(db, project_id)]
    names = list(dict.fromkeys(chain.from_iterable(found)))[:MOST]
    metrics = execution_search.list_metrics(db, project_id)
    metrics.sort(key=lambda name: name.lower() in X_KEYS)
    varying = set(list_differing_parameters(found))
    return RunNames(
        parameters=tuple(names), metrics=tuple(metrics), varying=tuple(name for name in names if name in varying)
    )


def list_differing_parameters(all_parameters: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the parameters with more than one value among the executions that have them, in order of declaration."""
    first: dict[str, Any] = {}
    differing: set[str] = set()
    for parameters in all_parameters:
        for name, value in parameters.items():
            if first.setdefault(name, value) != value:
                differing.add(name)
    return [name for name in first if name in differing]

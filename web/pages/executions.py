"""The executions of a project as a table: the URL is the view."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, render_template, request
from sqlite_utils import Database

from core.model import Commit, Execution, Project
from core.states import UNFINISHED
from web import access
from web.pages.addresses import base_url
from web.pages.paging import Page, query
from web.services import approvals
from web.services.presentation import standing
from web.services.presentation.charts import X_KEYS
from web.store import commits, execution_table, executions, metadata, projects
from web.store.execution_table import Filter, Order

blueprint = Blueprint("executions", __name__)

PER_PAGE = 50
PARAMETERS, KEYS = 4, 5  # columns
KEY_PREFIX = "m."  # of metadata keys in `sort`


@dataclass(frozen=True, kw_only=True)
class Row:
    execution: Execution
    commit: Commit
    latest: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One that sorts: what `sort` calls it, and the link that sorts by it or turns the order around."""

    name: str
    label: str
    link: str
    direction: str


@blueprint.get("/p/<name>/")
@access.user
def listing(name: str) -> str:
    db = access.db()
    project = projects.by_name(db, name)
    order, wanted, page = _order(), _filter(project), Page.asked(PER_PAGE)
    found, total = execution_table.page(db, wanted, order, page.size, page.offset)
    rows = _rows(db, found)
    counts = executions.counts(db, project.id)
    known_keys = _by_frequency(row.latest for row in rows)
    keys = _shown_keys(known_keys, order)
    return render_template(
        "project.html",
        project=project,
        rows=rows,
        page=page.of(total),
        counts=counts,
        wanted=wanted,
        steps=execution_table.steps(db, project.id),
        columns={name: _column(name, name.capitalize(), order) for name in execution_table.COLUMNS},
        keys=[(key, _column(KEY_PREFIX + key, key, order)) for key in keys],
        all_keys=[(KEY_PREFIX + key, key) for key in known_keys],
        parameters=differing([row.execution.parameters for row in rows])[:PARAMETERS],
        sort=_sort_name(order),
        query=query,
        waiting=approvals.overview(db, project),
        live=any(state in counts for state in UNFINISHED),
        base_url=base_url(),
    )


def differing(all_parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters with more than one value among those that have them, in the order they were declared."""
    values: dict[str, set[str]] = {}
    for parameters in all_parameters:
        for name, value in parameters.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    return [name for name, distinct in values.items() if len(distinct) > 1]


def _rows(db: Database, found: Sequence[Execution]) -> list[Row]:
    of = commits.of_ids(db, {execution.commit_id for execution in found})
    latest = metadata.latest_of(db, [execution.id for execution in found])
    return [Row(execution=e, commit=of[e.commit_id], latest=latest.get(e.id, {})) for e in found]


def _by_frequency(all_latest: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys; those that only count steps or epochs come last."""
    counted = Counter(key for latest in all_latest for key in latest)
    return sorted(counted, key=lambda key: (key.lower() in X_KEYS, -counted[key]))


def _shown_keys(known: Sequence[str], order: Order) -> list[str]:
    shown = list(known[:KEYS])
    return [*shown, order.by] if order.is_key and order.by not in shown else shown


def _filter(project: Project) -> Filter:
    status = request.args.get("state", "")
    return Filter(
        project_id=project.id,
        step=request.args.get("step") or None,
        status=status if status in standing.STATUSES else None,
    )


def _order() -> Order:
    given = request.args.get("sort", "-number")
    descending, name = given.startswith("-"), given.removeprefix("-")
    if name.startswith(KEY_PREFIX):
        return Order(by=name.removeprefix(KEY_PREFIX), is_key=True, descending=descending)
    return Order(by=name, descending=descending) if name in execution_table.COLUMNS else Order(by="number")


def _sort_name(order: Order) -> str:
    return (KEY_PREFIX if order.is_key else "") + order.by


def _column(name: str, label: str, order: Order) -> Column:
    """A click on the column that sorts already turns it around; one on another begins with the largest or newest."""
    active = name == _sort_name(order)
    descending = not order.descending if active else name not in ("step", "state")
    direction = ("descending" if order.descending else "ascending") if active else ""
    return Column(name=name, label=label, link=query(sort=("-" if descending else "") + name), direction=direction)

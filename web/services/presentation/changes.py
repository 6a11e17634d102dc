"""Differences between an execution and an earlier one: parameters, metrics, and what both were made from."""

from __future__ import annotations

from dataclasses import dataclass

from core.model import Execution
from web.services.presentation import comparison
from web.services.presentation.comparison import Line
from web.services.repositories import hosting
from web.store import commits, metadata, projects
from web.store.db import Database

LINES = 30
OMITTED = frozenset({"step", "who"})


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The lines that differ from `base`, of which `more` are left out; `page` is the forge's page of the commits, or ""."""

    base: Execution
    lines: list[Line]
    more: int
    page: str


def changes(db: Database, base: Execution, execution: Execution) -> Changes:
    of = commits.get_many(db, {base.commit_id, execution.commit_id})
    latest = metadata.latest_of(db, [base.id, execution.id])
    lines = [
        line
        for line in comparison.lines([base, execution], of, latest)
        if line.differs and not (line.kind == comparison.ORIGIN and line.name in OMITTED)
    ]
    before, after = of[base.commit_id], of[execution.commit_id]
    page = ""
    if before.id != after.id and before.repository_id == after.repository_id and not (before.adhoc or after.adhoc):
        repository = next(r for r in projects.repositories(db, execution.project_id) if r.id == after.repository_id)
        page = hosting.changes_page(repository, before.identifier, after.identifier)
    return Changes(base=base, lines=lines[:LINES], more=len(lines[LINES:]), page=page)

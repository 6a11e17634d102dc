"""Pages of a project's executions that match a filter, in any order.

A page starts after, or ends before, an execution, so that a page far down costs as much as the first; nothing counts
all matches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from core.model import Execution
from web.config.filters.terms import Filter
from web.store import executions
from web.store.db import fetch_row, fetch_rows
from web.store.execution_filter import Condition
from web.store.execution_table import COLUMNS, OF_KEY, By, SortOrder

PARAMETER = "(SELECT atom FROM json_each(execution.parameters) WHERE key = :by)"
KEY = "(SELECT id FROM metadata_key WHERE name = :by)"
NUMBER = f"(SELECT {{}} FROM latest WHERE execution_id = execution.id AND key_id = {KEY})"
STEPS_AT_ONCE = 500  # rows of an export that are read at once
FEW = 100  # matches that are sorted by themselves
SAMPLE = 500  # newest executions, whose parameters represent those of all
METADATA_SAMPLE = 50  # newest executions with metadata whose keys are listed
KNOWN_KEYS = 200


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The execution with this counter is the last one before the page, or the first one after it if `backwards`."""

    counter: int
    backwards: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundExecutions:
    """A page, and whether there are executions before and after it."""

    executions: list[Execution]
    before: bool
    after: bool


def get_page(
    db: Database, project_id: int, wanted: Filter, order: SortOrder, limit: int, cursor: Cursor | None = None
) -> FoundExecutions:
    """Return one page. A cursor of an unknown execution is ignored."""
    statements = _Statements(db, project_id, wanted, order)
    place = statements.place(cursor) if cursor else None
    backwards = place is not None and cursor is not None and cursor.backwards
    ids = statements.ids(place, limit + 1, backwards)
    more, shown = len(ids) > limit, ids[:limit]
    return FoundExecutions(
        executions=executions.get_many(db, shown[::-1] if backwards else shown),
        before=more if backwards else place is not None,
        after=True if backwards else more,
    )


def iterate(db: Database, project_id: int, wanted: Filter, order: SortOrder, most: int) -> Iterator[Execution]:
    """Yield the first matches in order, reading them in batches so that no statement stays open."""
    cursor: Cursor | None = None
    while most > 0:
        found = get_page(db, project_id, wanted, order, min(STEPS_AT_ONCE, most), cursor)
        yield from found.executions
        most -= len(found.executions)
        if not found.after:
            return
        cursor = Cursor(counter=found.executions[-1].counter)


class _Statements:
    """Executions with a value come first, in order; the others follow, newest first."""

    def __init__(self, db: Database, project_id: int, wanted: Filter, order: SortOrder) -> None:
        self._db = db
        condition = Condition(db, project_id, wanted)
        self._values = condition.values | {"by": order.by}
        self._where = f"execution.project_id = :project AND {executions.KEPT} AND {condition.sql}"
        self._descending = order.descending
        self._of_key, self._number = order.kind in OF_KEY, order.number
        by = "number" if order.by == "created" else order.by
        column = COLUMNS.get(by, "") if order.kind is By.COLUMN else ""
        self._by = {By.COLUMN: column, By.PARAMETER: PARAMETER}.get(order.kind, NUMBER.format(order.number))
        if wanted.clauses and column != "execution.counter":
            self._list_few()

    def _list_few(self) -> None:
        """Sort few matches by themselves: in the order of an index, all executions of the project would be read."""
        ids = self._ids(f"SELECT id FROM execution WHERE {self._where}", None, FEW + 1)
        if len(ids) <= FEW:
            self._where, self._of_key = f"execution.id IN ({', '.join(map(str, ids))})", False

    def place(self, cursor: Cursor) -> Mapping[str, Any] | None:
        sql = (
            f"SELECT id, counter, {self._by} AS value FROM execution WHERE project_id = :project AND counter = :counter"
        )
        return fetch_row(self._db, sql, self._values | {"counter": cursor.counter})

    def ids(self, place: Mapping[str, Any] | None, limit: int, backwards: bool) -> list[int]:
        """Return at most `limit` ids after a place, or before it and in reverse."""
        parts = [self._with_value, self._without_value]
        if backwards:
            parts.reverse()
        if place and (place["value"] is None) != backwards:
            del parts[0]
        found: list[int] = []
        for number, part in enumerate(parts):
            if len(found) < limit:
                found += part(place if number == 0 else None, limit - len(found), backwards)
        return found

    def _with_value(self, place: Mapping[str, Any] | None, limit: int, backwards: bool) -> list[int]:
        descending = self._descending is not backwards
        value, identifier, source = self._by, "execution.id", "FROM execution WHERE"
        if self._of_key:  # in the order of an index
            value, identifier = f"latest.{self._number}", "latest.execution_id"
            source = f"FROM latest CROSS JOIN execution ON execution.id = latest.execution_id WHERE latest.key_id = {KEY} AND"
        beyond = f" AND ({value}, {identifier}) {'<' if descending else '>'} (:value, :id)" if place else ""
        direction = "DESC" if descending else "ASC"
        order = f"{value} {direction}, {identifier} {direction}"
        sql = f"SELECT {identifier} AS id {source} {self._where} AND {value} IS NOT NULL{beyond} ORDER BY {order}"
        return self._ids(sql, place, limit)

    def _without_value(self, place: Mapping[str, Any] | None, limit: int, backwards: bool) -> list[int]:
        if self._by == "execution.counter":
            return []
        beyond = f" AND execution.counter {'>' if backwards else '<'} :counter" if place else ""
        order = f"execution.counter {'ASC' if backwards else 'DESC'}"
        sql = f"SELECT id FROM execution WHERE {self._where} AND {self._by} IS NULL{beyond} ORDER BY {order}"
        return self._ids(sql, place, limit)

    def _ids(self, sql: str, place: Mapping[str, Any] | None, limit: int) -> list[int]:
        return [
            found["id"]
            for found in fetch_rows(
                self._db, f"{sql} LIMIT :limit", self._values | dict(place or {}) | {"limit": limit}
            )
        ]


def has_executions(db: Database, project_id: int) -> bool:
    """Return whether a project has executions."""
    sql = f"SELECT 1 FROM execution WHERE project_id = ? AND {executions.KEPT} LIMIT 1"
    return fetch_row(db, sql, (project_id,)) is not None


def list_parameters(db: Database, project_id: int) -> list[str]:
    """Return the parameters of the newest executions as JSON, each different one once, the newest first."""
    sql = (
        "SELECT DISTINCT parameters FROM (SELECT parameters FROM execution"
        f" WHERE project_id = ? AND {executions.KEPT} ORDER BY counter DESC LIMIT ?)"
    )
    return [found["parameters"] for found in fetch_rows(db, sql, (project_id, SAMPLE))]


def list_metrics(db: Database, project_id: int) -> list[str]:
    """List the metadata keys of the newest executions, most frequent first."""
    sql = (
        "SELECT name FROM metadata_key JOIN (SELECT key_id, COUNT(*) AS n FROM latest WHERE execution_id IN ("
        f" SELECT id FROM execution WHERE project_id = ? AND metadata_seq > 0 AND {executions.KEPT} ORDER BY counter DESC LIMIT ?"
        ") GROUP BY key_id) AS known ON known.key_id = metadata_key.id ORDER BY known.n DESC, metadata_key.id LIMIT ?"
    )
    return [found["name"] for found in fetch_rows(db, sql, (project_id, METADATA_SAMPLE, KNOWN_KEYS))]

"""Queries that tasks and pipelines have in common."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.groups import Group
from core.model import Change, Origin
from core.states import FINAL, UNFINISHED_GROUP, State
from web.store.db import Row, fetch_rows, insert, make_sql_list
from web.store.projects import take_counter
from web.store.selection import Selection, select

JSON_COLUMNS = ("config", "parameters", "inputs", "environment_variables", "tags", "changed")
G = TypeVar("G", bound=Group)


class GroupTable(Generic[G]):
    """The table of tasks or pipelines. `sign` is the prefix of their numbers."""

    def __init__(self, kind: type[G], table: Literal["task", "pipeline"], sign: str) -> None:
        self._kind: type[G] = kind
        self._table: Literal["task", "pipeline"] = table
        self._sign = sign
        self._select = (
            f"SELECT {table}.*, git_commit.identifier AS commit_identifier, user.username AS creator FROM {table}"
            f" JOIN git_commit ON git_commit.id = {table}.commit_id JOIN user ON user.id = {table}.creator_id"
        )

    def insert(self, db: Database, values: Mapping[str, Any]) -> int:
        """Insert a row in `created` with the next counter of its project; return its id.

        `values` are columns; JSON columns are given as Python values.
        """
        encoded = {key: json.dumps(value) if key in JSON_COLUMNS else value for key, value in values.items()}
        counter = take_counter(db, values["project_id"], self._table)
        own = {"uuid": str(uuid.uuid4()), "counter": counter, "state": State.CREATED, "created_at": clock.now()}
        return insert(db, self._table, encoded | own)

    def get(self, db: Database, group_id: int) -> G:
        return self._one(db, "WHERE {}.id = ?", (group_id,), group_id)

    def get_by_uuid(self, db: Database, group_uuid: str) -> G:
        return self._one(db, "WHERE {}.uuid = ?", (group_uuid,), group_uuid)

    def get_by_counter(self, db: Database, project_id: int, counter: int) -> G:
        where = "WHERE {0}.project_id = ? AND {0}.counter = ?"
        return self._one(db, where, (project_id, counter), f"{self._sign}{counter}")

    def get_newest(self, db: Database, project_id: int) -> G:
        where = "WHERE {0}.project_id = ? ORDER BY {0}.counter DESC LIMIT 1"
        return self._one(db, where, (project_id,), "latest")

    def get_many(self, db: Database, group_ids: Sequence[int]) -> list[G]:
        """Return tasks or pipelines in the order of the given ids."""
        marks = ", ".join("?" * len(group_ids))
        found = {item.id: item for item in self._all(db, f"WHERE {{}}.id IN ({marks})", list(group_ids))}
        return [found[group_id] for group_id in group_ids if group_id in found]

    def list_for_commits(self, db: Database, commit_ids: Sequence[int]) -> list[G]:
        """List those of commits by counter, including tasks in pipelines."""
        marks = ", ".join("?" * len(commit_ids))
        return self._all(db, f"WHERE {{0}}.commit_id IN ({marks}) ORDER BY {{0}}.id", commit_ids)

    def list_unfinished(self, db: Database) -> list[G]:
        """List those that are unfinished, oldest first."""
        return self._all(db, f"WHERE {{0}}.state IN {make_sql_list(UNFINISHED_GROUP)} ORDER BY {{0}}.id")

    def search(self, db: Database, wanted: Selection) -> tuple[list[G], int]:
        """Return one page of tasks or pipelines, and the number of all matches."""
        found, count = select(db, self._table, self._select, wanted, self._status_condition)
        return list(map(self._record, found)), count

    def _status_condition(self, status: str) -> str:
        """Return SQL for a status as in `Selection`; unknown ones match nothing."""
        unfinished = f"{self._table}.ended_at IS NULL"
        if status == "incomplete":
            return unfinished
        if status == "stopping":
            return f"({unfinished} AND {self._table}.stop_requested_at IS NOT NULL)"
        if status not in set(State):
            return "0"
        asked = "" if State(status) in FINAL else f" AND {self._table}.stop_requested_at IS NULL"
        return f"({self._table}.state = '{State(status)}'{asked})"

    def _all(self, db: Database, where: str, values: Sequence[Any] = ()) -> list[G]:
        sql = f"{self._select} {where.format(self._table)}"
        return [self._record(found) for found in fetch_rows(db, sql, values)]

    def _one(self, db: Database, where: str, values: Sequence[Any], asked: object) -> G:
        for found in self._all(db, where, values):
            return found
        raise NotFound(f"there is no {self._table} {asked}")

    def _record(self, found: Row) -> G:
        values = {name: found[name] for name in self._kind.__dataclass_fields__}
        values |= {name: json.loads(found[name]) for name in values.keys() & set(JSON_COLUMNS)}
        values |= {name: State(found[name]) for name in values.keys() & {"state", "ending"} if found[name]}
        values |= {"origin": Origin(found["origin"]), "tags": tuple(values["tags"])}
        values["changed"] = tuple(Change(**item) for item in values["changed"])
        return self._kind(**values)

"""Executions: their rows, and the only function that changes their state."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

from sqlite_utils import Database

from core import clock
from core.errors import Conflict, NotFound
from core.model import Change, Execution, ListedExecution, Origin
from core.states import FINAL, OCCUPYING, UNFINISHED, WAITING, FailureReason, State
from core.transitions import check_transition
from web.store import audit
from web.store.audit import Act, Kind
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, joined, make_sql_list, needs_transaction
from web.store.projects import take_counter
from web.store.selection import Selection, make_project_condition, select

E = TypeVar("E", bound=ListedExecution)
JSON_COLUMNS = (
    "commands",
    "parameters",
    "inputs",
    "environment_variables",
    "tags",
    "devices",
    "mounts",
    "changed",
    "stages",
)
USUAL, USUAL_OF = 10, 100  # at most USUAL durations, from the newest USUAL_OF executions
SHARED_CHARACTERS = 1000  # shorter JSON is decoded once for all executions that have it, since nobody changes it
LISTS = ("commands", "tags", "devices", "mounts")
KEPT = "execution.deleted_at IS NULL"
# SQLite uses the index of unfinished executions only where a statement repeats the index's condition; it would read all
IS_UNFINISHED = f"execution.state IN {make_sql_list(UNFINISHED)}"
ALONE = "(execution.task_id IS NULL AND execution.pipeline_node_id IS NULL)"  # standalone
OF_OTHERS = {"commit_identifier": "git_commit.identifier", "creator": "user.username"}


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """A transition of an execution: its history, and the outbox for everything that reacts to it."""

    id: int
    execution_id: int
    from_state: State | None
    to_state: State
    at: str
    reason: str


def _select(kind: type[ListedExecution]) -> str:
    columns = ", ".join(f"{OF_OTHERS.get(name, f'execution.{name}')} AS {name}" for name in kind.__dataclass_fields__)
    return (
        f"SELECT {columns} FROM execution"
        " JOIN git_commit ON git_commit.id = execution.commit_id JOIN user ON user.id = execution.creator_id"
    )


SELECT = _select(Execution)
SELECT_LISTED = _select(ListedExecution)
OF_NEW = {  # as OF_OTHERS: RETURNING knows no joins
    "commit_identifier": "(SELECT identifier FROM git_commit WHERE id = execution.commit_id) AS commit_identifier",
    "creator": "(SELECT username FROM user WHERE id = execution.creator_id) AS creator",
}
RETURNING = f"RETURNING {', '.join(OF_NEW.get(name, name) for name in Execution.__dataclass_fields__)}"

# `Execution.restarts` in SQL; the reasons in the order of the index execution_lost, which is not used otherwise
RESTARTS = (
    f"(failure_reason IS NOT NULL AND autorestart AND failure_reason IN ('{FailureReason.RUNNER_LOST}',"
    f" '{FailureReason.INTERRUPTED}') AND stop_requested_at IS NULL)"
)


@needs_transaction
def add(db: Database, values: Mapping[str, Any]) -> Execution:
    """Create an execution in `created` with the next counter of its project.

    `values` are columns; JSON columns are given as Python values.
    """
    encoded = {key: json.dumps(value) if key in JSON_COLUMNS else value for key, value in values.items()}
    at = clock.now()
    counter = take_counter(db, values["project_id"])
    new = encoded | {"uuid": str(uuid.uuid4()), "counter": counter, "state": State.CREATED, "created_at": at}
    sql = f"INSERT INTO execution ({', '.join(new)}) VALUES ({', '.join('?' * len(new))}) {RETURNING}"
    made = _execution(fetch_row(db, sql, list(new.values())))
    insert(db, "state_change", {"execution_id": made.id, "to_state": State.CREATED, "at": at, "reason": ""})
    return made


@needs_transaction
def transition(
    db: Database,
    execution: Execution,
    to: State,
    *,
    reason: str = "",
    failure_reason: FailureReason | None = None,
    columns: Mapping[str, Any] | None = None,
) -> StateChange:
    """Make a state transition and record it. Nothing else writes `state`.

    Raises IllegalTransition if the transition is not allowed, and Conflict if the state or the attempt is no longer
    that of `execution`. `columns` are further columns of the same update.
    """
    check_transition(
        execution.state, to, failure_reason=failure_reason, container_started=execution.container_id is not None
    )
    at = clock.now()
    time_column = {State.QUEUED: "queued_at", State.STARTED: "started_at"}.get(to)
    values: Row = {"state": to, "failure_reason": failure_reason, **(columns or {})}
    if time_column:
        values[time_column] = at
    if to in FINAL:
        values |= {"ended_at": at, "lease_expires_at": None}
    assignments = ", ".join(f"{name} = ?" for name in values)
    sql = f"UPDATE execution SET {assignments} WHERE id = ? AND state = ? AND attempt = ?"
    if execute(db, sql, [*values.values(), execution.id, execution.state, execution.attempt]) != 1:
        raise Conflict(f"execution {execution.uuid} is no longer {execution.state} on attempt {execution.attempt}")
    change = {"execution_id": execution.id, "from_state": execution.state, "to_state": to, "at": at, "reason": reason}
    change_id = insert(db, "state_change", change)
    return StateChange(
        id=change_id, execution_id=execution.id, from_state=execution.state, to_state=to, at=at, reason=reason
    )


def update(db: Database, execution: Execution, **columns: Any) -> bool:
    """Set columns other than the state; return False if the state or attempt has changed, or it has ended."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    sql = f"UPDATE execution SET {assignments} WHERE id = ? AND state = ? AND attempt = ? AND ended_at IS NULL"
    return execute(db, sql, [*columns.values(), execution.id, execution.state, execution.attempt]) == 1


@needs_transaction
def delete(db: Database, execution: Execution) -> None:
    """Hide a finished execution from lists and from its number. Its rows and files stay, and groups still count it."""
    execute(db, "UPDATE execution SET deleted_at = ? WHERE id = ?", (clock.now(), execution.id))


def set_tags(db: Database, execution: Execution, tags: Sequence[str]) -> None:
    with joined(db):
        execute(db, "UPDATE execution SET tags = ? WHERE id = ?", (json.dumps(list(tags)), execution.id))
        detail = f"tags: {', '.join(tags)}"
        audit.record(db, Act.CHANGE, Kind.EXECUTION, f"#{execution.counter}", execution.project_id, detail)


def get(db: Database, execution_id: int) -> Execution:
    return _execution(fetch_row(db, f"{SELECT} WHERE execution.id = ?", (execution_id,)), execution_id)


def get_by_uuid(db: Database, execution_uuid: str) -> Execution:
    return _execution(fetch_row(db, f"{SELECT} WHERE execution.uuid = ?", (execution_uuid,)), execution_uuid)


def get_by_counter(db: Database, project_id: int, counter: int) -> Execution:
    sql = f"{SELECT} WHERE execution.project_id = ? AND execution.counter = ? AND {KEPT}"
    return _execution(fetch_row(db, sql, (project_id, counter)), f"#{counter}")


def get_newest(db: Database, project_id: int) -> Execution:
    sql = f"{SELECT} WHERE execution.project_id = ? AND {KEPT} ORDER BY execution.counter DESC LIMIT 1"
    return _execution(fetch_row(db, sql, (project_id,)), "latest")


def get_many(db: Database, execution_ids: Sequence[int]) -> list[Execution]:
    """Return executions in the order of the given ids."""
    marks = ", ".join("?" * len(execution_ids))
    found = {
        item["id"]: item for item in fetch_rows(db, f"{SELECT} WHERE execution.id IN ({marks})", list(execution_ids))
    }
    return [_execution(found[execution_id]) for execution_id in execution_ids if execution_id in found]


def list_for_commit(db: Database, commit_id: int) -> list[Execution]:
    """List the standalone executions of a commit by counter."""
    sql = f"{SELECT} WHERE commit_id = ? AND {ALONE} AND {KEPT} ORDER BY counter"
    return [_execution(found) for found in fetch_rows(db, sql, (commit_id,))]


@dataclass(frozen=True, slots=True)
class WaitingExecution:
    """The fields of an execution that decide when and where it runs."""

    id: int
    project_id: int
    project: str
    environment: str
    gpus: int


def list_waiting(db: Database, state: State) -> list[WaitingExecution]:
    """List executions in `created`, or in `queued` without a runner, in the order in which they are served."""
    sql = (
        "SELECT execution.id, project_id, project.name AS project, execution.environment, gpus FROM execution"
        f" JOIN project ON project.id = project_id WHERE {IS_UNFINISHED} AND state = ? AND runner_id IS NULL"
        " ORDER BY priority DESC, execution.id"
    )
    return [WaitingExecution(**found) for found in fetch_rows(db, sql, (state,))]


def count_occupying(db: Database) -> list[tuple[int, str, State, int]]:
    """Count queued and started executions as (project id, environment, state, count), for quotas."""
    sql = (
        "SELECT project_id, environment, state, COUNT(*) AS n FROM execution"
        f" WHERE {IS_UNFINISHED} AND state IN {make_sql_list(OCCUPYING)} GROUP BY project_id, environment, state"
    )
    return [
        (found["project_id"], found["environment"], State(found["state"]), found["n"]) for found in fetch_rows(db, sql)
    ]


@needs_transaction
def place(db: Database, execution_id: int, runner_id: int) -> Execution:
    """Place a queued execution on a runner, as its next attempt."""
    sql = f"UPDATE execution SET runner_id = ?, placed_at = ?, attempt = attempt + 1 WHERE id = ? AND state = '{State.QUEUED}'"
    execute(db, sql, (runner_id, clock.now(), execution_id))
    return get(db, execution_id)


def list_in_states(db: Database, *states: State) -> list[Execution]:
    """List executions in these states, oldest first. Only for unfinished states, which have an index."""
    marks = ", ".join("?" * len(states))
    sql = f"{SELECT} WHERE {IS_UNFINISHED} AND execution.state IN ({marks}) ORDER BY execution.id"
    found = fetch_rows(db, sql, states)
    return [_execution(item) for item in found]


def list_first_in_state(db: Database, projects: Collection[int] | None, state: State, limit: int) -> list[Execution]:
    """List executions of these projects, or of all, in an unfinished state, in the order in which they are served."""
    condition, values = make_project_condition("execution.project_id", projects)
    order = "execution.priority DESC, execution.id" if state in WAITING else "execution.started_at DESC, execution.id"
    sql = f"{SELECT} WHERE {IS_UNFINISHED} AND execution.state = ? AND {condition} ORDER BY {order} LIMIT ?"
    return [_execution(found) for found in fetch_rows(db, sql, (state, *values, limit))]


def map_newest_times(db: Database, project_ids: Sequence[int]) -> dict[int, str]:
    """Return by project id when its newest execution was created, for those that have one."""
    newest = "SELECT created_at FROM execution WHERE project_id = project.id ORDER BY counter DESC LIMIT 1"
    sql = f"SELECT id, ({newest}) AS at FROM project WHERE id IN ({', '.join('?' * len(project_ids))})"
    return {found["id"]: found["at"] for found in fetch_rows(db, sql, list(project_ids)) if found["at"] is not None}


def list_to_restart(db: Database) -> list[Execution]:
    """List executions that must be restarted and were not yet."""
    sql = (
        f"{SELECT} WHERE {RESTARTS} AND NOT EXISTS"
        " (SELECT 1 FROM execution AS retry WHERE retry.retry_of = execution.id) ORDER BY execution.id"
    )
    return [_execution(found) for found in fetch_rows(db, sql)]


def list_reruns(db: Database, execution_id: int) -> list[Execution]:
    """List the re-runs of an execution."""
    found = fetch_rows(db, f"{SELECT} WHERE execution.retry_of = ? ORDER BY execution.id", (execution_id,))
    return [_execution(item) for item in found]


def find_previous(db: Database, execution: Execution) -> Execution | None:
    """Return the newest earlier execution of the same step."""
    sql = f"{SELECT} WHERE execution.project_id = ? AND execution.step = ? AND execution.id < ? AND {KEPT}"
    found = fetch_row(
        db, f"{sql} ORDER BY execution.id DESC LIMIT 1", (execution.project_id, execution.step, execution.id)
    )
    return _execution(found) if found else None


def map_usual_durations(db: Database, found: Sequence[Execution]) -> dict[int, list[float]]:
    """Return by id the seconds that the newest earlier successful executions of the same step and environment ran."""
    each = (
        "SELECT * FROM (SELECT ? AS of, (julianday(ended_at) - julianday(started_at)) * 86400 AS seconds FROM ("
        " SELECT * FROM execution WHERE project_id = ? AND step = ? AND id < ?"
        f" ORDER BY id DESC LIMIT {USUAL_OF}) WHERE state = '{State.COMPLETE}' AND environment = ? AND started_at IS NOT NULL"
        f" LIMIT {USUAL})"
    )
    values = [value for e in found for value in (e.id, e.project_id, e.step, e.id, e.environment)]
    result: dict[int, list[float]] = {execution.id: [] for execution in found}
    for item in fetch_rows(db, " UNION ALL ".join([each] * len(found)), values) if found else ():
        result[item["of"]].append(item["seconds"])
    return result


def count_retries(db: Database, execution_id: int) -> int:
    """Return how many executions precede this one in its chain of re-runs."""
    sql = (
        "WITH RECURSIVE chain(id, n) AS (SELECT ?, 0 UNION ALL SELECT execution.retry_of, n + 1 FROM chain"
        " JOIN execution ON execution.id = chain.id WHERE execution.retry_of IS NOT NULL) SELECT MAX(n) AS n FROM chain"
    )
    found = fetch_row(db, sql, (execution_id,))
    return int(found["n"]) if found else 0


def list_started_on(db: Database, *runner_ids: int) -> list[Execution]:
    marks = ", ".join("?" * len(runner_ids))
    is_started = f"{IS_UNFINISHED} AND execution.state = '{State.STARTED}'"
    found = fetch_rows(db, f"{SELECT} WHERE {is_started} AND runner_id IN ({marks})", runner_ids)
    return [_execution(item) for item in found]


def unplace(db: Database, runner_id: int) -> int:
    """Remove unclaimed executions from a runner; return their number. They wait for any runner again."""
    are_its = f"{IS_UNFINISHED} AND state = '{State.QUEUED}' AND runner_id = ?"
    return execute(db, f"UPDATE execution SET runner_id = NULL, placed_at = NULL WHERE {are_its}", (runner_id,))


def search(db: Database, wanted: Selection) -> tuple[list[Execution], int]:
    """Return one page of executions, and the number of all matches."""
    found, count = select(db, "execution", SELECT, wanted, make_status_condition)
    return [_execution(item) for item in found], count


def search_listed(db: Database, wanted: Selection) -> tuple[list[ListedExecution], int]:
    """Do the same as `search` with the fields that lists show, in half of the time."""
    found, count = select(db, "execution", SELECT_LISTED, wanted, make_status_condition)
    return [_record(ListedExecution, item) for item in found], count


def count_by_state(db: Database, project_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return the number of executions by state, by project id. Deleted ones do not count, here and above."""
    marks = ", ".join("?" * len(project_ids))
    condition = f"project_id IN ({marks}) AND {KEPT}"
    sql = f"SELECT project_id, state, COUNT(*) AS n FROM execution WHERE {condition} GROUP BY project_id, state"
    result: dict[int, dict[str, int]] = {project_id: {} for project_id in project_ids}
    for found in fetch_rows(db, sql, list(project_ids)):
        result[found["project_id"]][found["state"]] = found["n"]
    return result


def count_unfinished_by_environment(db: Database) -> dict[str, int]:
    condition = make_status_condition("incomplete")
    sql = f"SELECT environment, COUNT(*) AS n FROM execution WHERE {condition} GROUP BY environment"
    return {found["environment"]: found["n"] for found in fetch_rows(db, sql)}


def map_names(db: Database, execution_ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return (uuid, counter) by execution id."""
    marks = ", ".join("?" * len(execution_ids))
    found = fetch_rows(db, f"SELECT id, uuid, counter FROM execution WHERE id IN ({marks})", list(execution_ids))
    return {item["id"]: (item["uuid"], item["counter"]) for item in found}


def list_changed_since(db: Database, position: int | None) -> tuple[int, frozenset[str]]:
    """Return the newest state change, and the UUIDs of the executions whose state changed after a position."""
    newest = fetch_row(db, "SELECT COALESCE(MAX(id), 0) AS id FROM state_change")
    sql = "SELECT uuid FROM state_change JOIN execution ON execution.id = execution_id WHERE state_change.id > ?"
    found = [] if position is None else fetch_rows(db, sql, (position,))
    return int(newest["id"]) if newest else 0, frozenset(item["uuid"] for item in found)


def list_state_changes(db: Database, execution_id: int) -> list[StateChange]:
    """List the state changes of an execution, oldest first."""
    found = fetch_rows(db, "SELECT * FROM state_change WHERE execution_id = ? ORDER BY id", (execution_id,))
    states = [(State(c["from_state"]) if c["from_state"] else None, State(c["to_state"])) for c in found]
    return [StateChange(**c | {"from_state": a, "to_state": b}) for c, (a, b) in zip(found, states, strict=True)]


def make_status_condition(status: str) -> str:
    """Return SQL for a status as in `Selection`; unknown ones match nothing."""
    if status == "incomplete":
        return IS_UNFINISHED
    if status == "stopping":
        return f"(execution.state = '{State.STARTED}' AND execution.stop_requested_at IS NOT NULL)"
    if status == State.STARTED:
        return f"(execution.state = '{State.STARTED}' AND execution.stop_requested_at IS NULL)"
    return f"execution.state = '{State(status)}'" if status in set(State) else "0"


def _execution(found: Row | None, asked: object = "") -> Execution:
    if found is None:
        raise NotFound(f"there is no execution {asked}")
    found["autorestart"] = bool(found["autorestart"])
    return _record(Execution, found)


def _record(kind: type[E], found: Row) -> E:
    for name in JSON_COLUMNS:
        if (text := found.get(name)) is not None:
            found[name] = _decoded(name, text) if len(text) < SHARED_CHARACTERS else _decode(name, text)
    found["state"], found["origin"] = _state(found["state"]), _origin(found["origin"])
    if found["failure_reason"]:
        found["failure_reason"] = FailureReason(found["failure_reason"])
    record = object.__new__(kind)  # its __init__ sets each field by a call: half of the time of a long list
    record.__dict__.update(found)
    return record


def _decode(name: str, text: str) -> Any:
    value = json.loads(text)
    if name == "changed":
        return tuple(Change(**item) for item in value)
    return tuple(value) if name in LISTS else value


_state, _origin = cache(State), cache(Origin)  # finding a member of an enumeration takes ten times as long
_decoded = lru_cache(maxsize=1024)(_decode)  # most executions of a project have most values in common

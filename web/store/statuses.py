"""Commit statuses that were posted to forges, and the runs and pushes that determine a commit's status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlite_utils import Database

from core import clock
from core.groups import Pipeline, Task
from core.model import Execution, TargetKind, shorten_ref
from core.states import FailureReason, State
from hooks.apis.base import CommitState
from web.store import executions, pipelines, tasks
from web.store.db import execute, fetch_row, fetch_rows
from web.store.launched import KINDS
from web.store.pushes import PushResult

SEARCHED = 500  # newest statuses among which `list_refused` looks for problems


@dataclass(frozen=True, kw_only=True)
class PostedStatus:
    """A status sent to a forge. With a `problem` the forge rejected it, and shows another status or none."""

    sha: str
    context: str
    state: CommitState
    description: str
    url: str
    problem: str = ""
    posted_at: str = field(default_factory=clock.now)


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """A push or pull request with a commit. `ref` is the short name of the branch or tag, or the head branch.

    `closed` means that the pull request is closed, or the commit is no longer its head.
    """

    ref: str
    outcome: str
    result: PushResult
    problems: tuple[str, ...]
    closed: bool


def map_posted(db: Database, repository_id: int, sha: str) -> dict[str, PostedStatus]:
    """Return the statuses sent for a commit, by context."""
    found = fetch_rows(db, "SELECT * FROM commit_status WHERE repository_id = ? AND sha = ?", (repository_id, sha))
    return {item["context"]: _posted_status(item) for item in found}


def record(db: Database, repository_id: int, status: PostedStatus) -> None:
    values = (repository_id, *vars(status).values())
    execute(db, "INSERT OR REPLACE INTO commit_status VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def list_accepted(db: Database, repository_id: int, limit: int) -> list[PostedStatus]:
    """List the last statuses that the forge accepted, newest first."""
    sql = "SELECT * FROM commit_status WHERE repository_id = ? AND problem = '' ORDER BY posted_at DESC LIMIT ?"
    return [_posted_status(found) for found in fetch_rows(db, sql, (repository_id, limit))]


def list_refused(db: Database, repository_id: int) -> list[PostedStatus]:
    """List the rejected ones among the newest statuses, newest first."""
    newest = "SELECT * FROM commit_status WHERE repository_id = ? ORDER BY posted_at DESC LIMIT ?"
    sql = f"SELECT * FROM ({newest}) WHERE problem <> '' ORDER BY posted_at DESC"
    return [_posted_status(found) for found in fetch_rows(db, sql, (repository_id, SEARCHED))]


def forget(db: Database, repository_id: int, sha: str, context: str) -> None:
    """Delete the record of a posted status."""
    sql = "DELETE FROM commit_status WHERE repository_id = ? AND sha = ? AND context = ?"
    execute(db, sql, (repository_id, sha, context))


def get_newest_runs(db: Database, repository_id: int, commit_id: int) -> StandaloneRuns:
    """Return the runs of a commit launched by events: the newest of each step, task and pipeline, in launch order."""
    found: dict[TargetKind, list[int]] = {}
    for kind, (table, name, alone, _) in KINDS.items():
        sql = (
            f"SELECT MAX({table}.id) AS id FROM {table} JOIN push ON push.id = {table}.push_id"
            f" WHERE {table}.commit_id = ? AND push.repository_id = ? AND {alone}"
            f" GROUP BY {table}.{name} ORDER BY MIN({table}.id)"
        )
        found[kind] = [item["id"] for item in fetch_rows(db, sql, (commit_id, repository_id))]
    return StandaloneRuns(
        executions=executions.get_many(db, found[TargetKind.STEP]),
        tasks=tasks.get_many(db, found[TargetKind.TASK]),
        pipelines=pipelines.get_many(db, found[TargetKind.PIPELINE]),
    )


def list_first_ended(db: Database, task_id: int, many: int) -> set[int]:
    """Return the ids of the first `many` executions of a task to end; only the newest of each trial counts."""
    newest = "SELECT MAX(id) FROM execution WHERE task_id = ? GROUP BY trial"
    sql = f"SELECT id FROM execution WHERE id IN ({newest}) AND ended_at IS NOT NULL ORDER BY ended_at, id LIMIT ?"
    return {found["id"] for found in fetch_rows(db, sql, (task_id, many))}


def list_task_failures(db: Database, task_id: int) -> list[FailureReason]:
    """List the reasons why executions of a task failed; only the newest of each trial counts."""
    newest = "SELECT MAX(id) FROM execution WHERE task_id = ? GROUP BY trial"
    return _failures(db, newest, task_id)


def list_pipeline_failures(db: Database, pipeline_id: int) -> list[FailureReason]:
    """List the reasons why executions of a pipeline and its tasks failed; the newest of each node and trial counts."""
    newest = (
        "SELECT MAX(execution.id) FROM pipeline_node JOIN execution ON execution.pipeline_node_id = pipeline_node.id"
        " WHERE pipeline_node.pipeline_id = ? GROUP BY pipeline_node.id, execution.trial"
    )
    return _failures(db, newest, pipeline_id)


def get_stopped_by(db: Database, execution_id: int) -> str:
    found = fetch_row(db, "SELECT stopped_by FROM execution WHERE id = ?", (execution_id,))
    return str(found["stopped_by"]) if found else ""


def list_occasions(db: Database, repository_id: int, commit_id: int) -> list[Occasion]:
    """List the pushes and pull requests with a commit, oldest first; only the last re-run of each."""
    newest = "SELECT MAX(id) FROM push WHERE commit_id = ? AND repository_id = ? GROUP BY COALESCE(again_of, id)"
    sql = (
        "SELECT push.ref, push.outcome, push.result, push.problems, pull_request.head_branch,"
        " pull_request.closed OR pull_request.sha != push.after AS closed FROM push"
        f" LEFT JOIN pull_request ON pull_request.id = push.pull_request_id WHERE push.id IN ({newest})"
        " ORDER BY COALESCE(push.again_of, push.id)"
    )
    return [
        Occasion(
            ref=found["head_branch"] or shorten_ref(found["ref"]),
            outcome=found["outcome"],
            result=PushResult(found["result"]),
            problems=tuple(json.loads(found["problems"])),
            closed=bool(found["closed"]),
        )
        for found in fetch_rows(db, sql, (commit_id, repository_id))
    ]


@dataclass(frozen=True, kw_only=True)
class StandaloneRuns:
    """Standalone runs: executions outside tasks and pipelines, tasks outside pipelines, and pipelines."""

    executions: Sequence[Execution] = ()
    tasks: Sequence[Task] = ()
    pipelines: Sequence[Pipeline] = ()

    @property
    def states(self) -> list[State]:
        return [
            *(execution.state for execution in self.executions),
            *(task.state for task in self.tasks),
            *(pipeline.state for pipeline in self.pipelines),
        ]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A commit of a repository with changes; `unfinished` is whether any of its runs is unfinished."""

    repository_id: int
    sha: str
    unfinished: bool


def get_newest_change_id(db: Database) -> int:
    """Return the id of the last state change of any execution, 0 if there is none."""
    found = fetch_row(db, "SELECT MAX(id) AS id FROM state_change")
    return int(found["id"] or 0) if found else 0


def list_changed(db: Database, after: int, until: int) -> list[Changed]:
    """List the commits concerned by state changes with ids above `after` and up to `until`."""
    concerned = (
        "SELECT DISTINCT push.repository_id, execution.commit_id FROM state_change"
        " JOIN execution ON execution.id = state_change.execution_id JOIN push ON push.id = execution.push_id"
        " WHERE state_change.id > ? AND state_change.id <= ?"
    )
    return _changed(db, concerned, after, until)


def list_in_each_repository(db: Database, commit_id: int) -> list[Changed]:
    """List a commit once for each repository that has a push of it."""
    return _changed(db, "SELECT DISTINCT repository_id, commit_id FROM push WHERE commit_id = ?", commit_id)


def list_recent(db: Database, since: str, repository_id: int | None = None) -> list[Changed]:
    """List commits of a repository, or of all, with unfinished runs, or with pushes or ended runs after `since`."""
    of_one = "" if repository_id is None else f" AND push.repository_id = {int(repository_id)}"
    ran = [
        f"SELECT push.repository_id, {table}.commit_id FROM {table} JOIN push ON push.id = {table}.push_id"
        f" WHERE {condition}{of_one}"
        for table, _, _, unfinished in KINDS.values()
        for condition in (unfinished, f"{table}.ended_at > ?")
    ]
    pushed = f"SELECT push.repository_id, push.commit_id FROM push WHERE push.created_at > ?{of_one}"
    return _changed(db, " UNION ".join([*ran, pushed]), *[since] * (len(KINDS) + 1))


def _changed(db: Database, commits: str, *values: object) -> list[Changed]:
    """Return the commits found by the SQL `commits`, which selects repository_id and commit_id.

    A task between two of its executions is unfinished too.
    """
    unfinished = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {table}.commit_id = git_commit.id AND {condition})"
        for table, _, _, condition in KINDS.values()
    )
    sql = (
        f"SELECT found.repository_id, git_commit.identifier AS sha, {unfinished} AS unfinished FROM ({commits}) AS found"
        " JOIN git_commit ON git_commit.id = found.commit_id"
    )
    return [
        Changed(repository_id=found["repository_id"], sha=found["sha"], unfinished=bool(found["unfinished"]))
        for found in fetch_rows(db, sql, values)
    ]


def _failures(db: Database, ids: str, group_id: int) -> list[FailureReason]:
    sql = f"SELECT DISTINCT failure_reason FROM execution WHERE id IN ({ids}) AND state = '{State.ERROR}' ORDER BY 1"
    return [FailureReason(found["failure_reason"]) for found in fetch_rows(db, sql, (group_id,))]


def _posted_status(found: dict[str, object]) -> PostedStatus:
    values = {name: found[name] for name in PostedStatus.__dataclass_fields__}
    return PostedStatus(**values | {"state": CommitState(str(found["state"]))})  # type: ignore[arg-type]

"""What badges show: of a branch, or of the tags, the newest push that made executions and the newest value of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from core.model import EventKind, Execution
from web.store import executions
from web.store.db import Row, row, rows

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
SHOWN_BRANCHES, SHOWN_METRICS = 100, 200
LOOKED_AT = 50  # executions whose metadata keys a person may choose from
# A push that was run again counts where the first one stands.
PLACE = "COALESCE(push.again_of, push.id)"
# The pushes whose executions are those of a push: itself, and the pull request that ran its commit before it was told.
SAME_SET = (
    "(SELECT push.id UNION ALL SELECT other.id FROM push AS other JOIN pull_request ON"
    " pull_request.id = other.pull_request_id WHERE other.commit_id = push.commit_id AND NOT pull_request.from_fork"
    " AND other.repository_id = push.repository_id AND push.ref = 'refs/heads/' || pull_request.head_branch)"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pushes count: those to one branch, or with None those of any tag; and the executions of which step.

    With `scheduled` it is the runs of a branch by schedules.
    """

    repository_ids: Sequence[int]
    branch: str | None
    step: str | None
    scheduled: bool = False


def newest(db: Database, choice: Choice) -> list[Execution]:
    """The executions of the newest push that made any, the last try of each."""
    found = _newest(db, choice, "push.id AS push_id", "")
    tried = executions.of_ids(db, _of_set(db, found["push_id"])) if found else []
    retried = {execution.retry_of for execution in tried}
    return [e for e in tried if e.id not in retried and choice.step in (None, e.step)]


def metric(db: Database, choice: Choice, key: str) -> tuple[Any, str] | None:
    """The latest value of a metadata key in the newest completed execution that has it, and when that one ended."""
    joined = (
        " CROSS JOIN latest ON latest.execution_id = execution.id AND execution.state = 'complete'"
        " AND latest.key_id = (SELECT id FROM metadata_key WHERE name = ?)"
    )
    found = _newest(db, choice, "latest.value, execution.ended_at", joined, key)
    if found is None:
        return None
    value = found["value"]
    return (orjson.loads(value) if isinstance(value, str) else value), found["ended_at"]


def branches(db: Database, repository_ids: Sequence[int]) -> list[str]:
    """Those that were pushed, the one pushed last first."""
    marks = ", ".join("?" * len(repository_ids))
    sql = (
        f"SELECT ref FROM push WHERE repository_id IN ({marks}) AND ref >= ? AND ref < ?"
        " GROUP BY ref ORDER BY MAX(id) DESC LIMIT ?"
    )
    found = rows(db, sql, [*repository_ids, *_range(BRANCHES), SHOWN_BRANCHES])
    return [item["ref"].removeprefix(BRANCHES) for item in found]


def metrics(db: Database, project_id: int) -> list[str]:
    """The keys that have numbers in the newest completed executions of a project."""
    sql = (
        "SELECT DISTINCT metadata_key.name FROM latest JOIN metadata_key ON metadata_key.id = latest.key_id"
        " WHERE latest.number IS NOT NULL AND latest.execution_id IN (SELECT id FROM execution"
        " WHERE project_id = ? AND state = 'complete' ORDER BY counter DESC LIMIT ?) ORDER BY metadata_key.name LIMIT ?"
    )
    return [found["name"] for found in rows(db, sql, (project_id, LOOKED_AT, SHOWN_METRICS))]


def _newest(db: Database, choice: Choice, columns: str, joined: str, *values: str) -> Row | None:
    """The newest row of pushes with their executions; each repository by itself, which its index serves in order."""
    if choice.branch is None:
        where, asked = "push.ref >= ? AND push.ref < ?", _range(TAGS)
    else:
        where, asked = "push.ref = ?", [BRANCHES + choice.branch]
    kind = EventKind.SCHEDULE if choice.scheduled else EventKind.PUSH
    where, asked = f"{where} AND push.kind = ?", [*asked, kind]
    if choice.step is not None:
        where, asked = f"{where} AND execution.step = ?", [*asked, choice.step]
    sql = (
        f"SELECT {columns}, {PLACE} AS place, execution.id AS execution_id FROM push"
        f" CROSS JOIN execution ON execution.push_id IN {SAME_SET}{joined}"
        f" WHERE push.repository_id = ? AND NOT push.late AND {where}"
        f" ORDER BY {PLACE} DESC, push.id DESC, execution.id DESC LIMIT 1"
    )
    found = [row(db, sql, [*values, repository_id, *asked]) for repository_id in choice.repository_ids]
    return max(filter(None, found), key=lambda item: (item["place"], item["execution_id"]), default=None)


def _of_set(db: Database, push_id: int) -> list[int]:
    sql = (
        f"SELECT execution.id FROM push JOIN execution ON execution.push_id IN {SAME_SET} WHERE push.id = ? ORDER BY 1"
    )
    return [found["id"] for found in rows(db, sql, (push_id,))]


def _range(prefix: str) -> list[str]:
    """What begins with `prefix` lies from the first of these on and before the second."""
    return [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]

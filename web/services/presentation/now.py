"""The current state of the projects that a person may see: running and waiting executions, and pushes with problems.

Each list is bounded; the page says how many more there are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from core import clock
from core.model import Commit, Execution
from core.states import State
from web.services.context import Context
from web.services.presentation import charts, execution_status, headline, stages, verdict, verdicts
from web.services.presentation.verdict import Verdict
from web.services.scheduling import wait_reason
from web.store import activity, commits, executions, metadata
from web.store.db import Database
from web.store.deliveries import Delivery
from web.store.pushes import Push

RUNNING = 8  # each costs a few queries
WAITING = 8
PROBLEMS = 8
RECENT_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class RunningNow:
    """A running execution. `share` of its usual duration has passed, None if unknown; `key` is its main metric."""

    execution: Execution
    key: str | None
    value: Any
    spark: str
    share: float | None
    left: str


@dataclass(frozen=True, kw_only=True)
class WaitingNow:
    execution: Execution
    reason: str


@dataclass(frozen=True, kw_only=True)
class PushProblem:
    """A push or a delivery that failed or ran nothing."""

    repository_id: int
    at: str
    verdict: Verdict
    push: Push | None
    commit: Commit | None
    delivery: Delivery | None


@dataclass(frozen=True, kw_only=True)
class Now:
    running: Sequence[RunningNow]
    waiting: Sequence[WaitingNow]
    problems: Sequence[PushProblem]


def collect_activity(context: Context, projects: Collection[int] | None) -> Now:
    """Return what happens in these projects, or in all with None."""
    db = context.db
    running = executions.list_first_in_state(db, projects, State.STARTED, RUNNING)
    queue = executions.list_first_in_state(db, projects, State.QUEUED, WAITING)
    if len(queue) < WAITING:
        queue += executions.list_first_in_state(db, projects, State.CREATED, WAITING - len(queue))
    reasons = wait_reason.map_wait_reasons(context, queue) if queue else {}
    return Now(
        running=_running(db, running),
        waiting=[WaitingNow(execution=execution, reason=reasons.get(execution.id, "")) for execution in queue],
        problems=_problems(db, projects),
    )


def _running(db: Database, found: Sequence[Execution]) -> list[RunningNow]:
    latest = metadata.map_latest_by_execution(db, [execution.id for execution in found])
    usual_of = stages.map_usual_durations(db, found)
    result = []
    for execution in found:
        values, usual = latest.get(execution.id, {}), usual_of.get(execution.id)
        key, ran = headline.choose(values), execution_status.compute_run_seconds(execution) or 0.0
        result.append(
            RunningNow(
                execution=execution,
                key=key,
                value=values.get(key) if key is not None else None,
                spark=charts.draw_sparkline(db, execution.id, key) if key is not None else "",
                share=min(1.0, ran / usual) if usual else None,
                left=stages.format_time_left(usual, ran) if usual else "",
            )
        )
    return result


def _problems(db: Database, projects: Collection[int] | None) -> list[PushProblem]:
    found = activity.list_recent_problems(db, projects, clock.add_to_now(-RECENT_S), PROBLEMS)
    pushes = [entry.pushes[0] for entry in found if entry.delivery is None]
    of = commits.get_many(db, {push.commit_id for push in pushes if push.commit_id is not None})
    sentences, result = verdicts.map_by_push(db, pushes, of), []
    for entry in found:
        delivery, push = entry.delivery, None if entry.delivery else entry.pushes[0]
        if push is not None:
            at, of_repository, sentence = push.created_at, push.repository_id, sentences[push.id]
        elif delivery is not None:
            at, of_repository, sentence = (
                delivery.received_at,
                delivery.repository_id,
                verdict.judge_delivery(delivery),
            )
        result.append(
            PushProblem(
                repository_id=of_repository,
                at=at,
                verdict=sentence,
                push=push,
                commit=of.get(push.commit_id or 0) if push else None,
                delivery=delivery,
            )
        )
    return result

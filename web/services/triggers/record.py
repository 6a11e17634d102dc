"""Record an event, launch what its plan chooses and stop what that supersedes: all in one transaction.

A plan is limited here by the results of other events: existing runs of the same commit, and newer pushes of the same
ref (`web.services.triggers.planning`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.model import Commit, EventKind, Origin, PushEvent, Target, TargetKind, shorten_ref
from web.config.overrides import Overrides
from web.config.steps.model import map_step_items
from web.services import launch, pipelines, tasks
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.launch import LaunchRequest
from web.services.presentation.verdict import format_run_counts
from web.services.repositories.commit_head import Head
from web.services.triggers import planning, rules
from web.services.triggers.planning import Arrival, EventSource, Plan
from web.services.triggers.rules import Choice, Chosen
from web.store import approvals, audit, commits, executions, outbox, pushes, users
from web.store import pipelines as pipeline_store
from web.store import tasks as task_store
from web.store.audit import Act, Actor, Kind, Way
from web.store.commits import NewCommit
from web.store.db import Database, transaction
from web.store.launched import Launched
from web.store.outbox import OutboxKind
from web.store.pull_requests import PullRequest
from web.store.pushes import NewPush, PushOutcome, PushResult

MESSAGE_CHARS = 64 * 1024
PROBLEM_CHARS = 500
MAX_PROBLEMS = 20
WAITING = PushOutcome(text=approvals.WAITS, result=PushResult.WAITING)


def trigger(context: Context, source: EventSource, event: PushEvent, head: Head) -> str:
    """Record an event that ends at `head`, launch its runs and return the outcome. Repeating an event does nothing."""
    db, request = context.db, source.pull_request
    event = replace(event, message=head.info.message[:MESSAGE_CHARS], after=head.info.sha)  # for a tag, its commit
    planned = planning.plan(db, source, event, head)
    with transaction(db):
        arrived = planning.compare_with_recorded(db, source, event)
        if arrived.known:
            return planning.KNOWN
        commit = commits.upsert_commit(db, _commit(source, event, head))
        waits, older = needs_approval(db, request, event, planned), list[Launched]()
        if not waits:
            planned, older = _final(db, source, event, commit, arrived, planned)
        outcome = WAITING if waits else make_outcome(event, head, planned)
        push_id = _add_push(db, source, event, arrived, replace(outcome, commit_id=commit.id))
        outbox.enqueue(db, source.repository.id, OutboxKind.STATUS, commit.identifier)
        if request is not None and source.project.comments:
            outbox.enqueue(db, source.repository.id, OutboxKind.COMMENT, str(request.number))
        if not waits:
            common, actor = _common_request(db, source, event, commit, push_id)
            with audit.acting(actor):
                launch_all(context, common, planned.choice.run, older)
    return outcome.text


def record(
    db: Database, source: EventSource, event: PushEvent, outcome: str, result: PushResult = PushResult.NONE
) -> str:
    """Record an event without a commit, and return its outcome."""
    with transaction(db):
        arrived = planning.compare_with_recorded(db, source, event)
        if arrived.known:
            return planning.KNOWN
        _add_push(db, source, event, arrived, PushOutcome(text=outcome, result=result))
    return outcome


def launch_all(context: Context, common: LaunchRequest, run: Sequence[Chosen], older: Sequence[Launched]) -> None:
    """Launch what was chosen for a recorded push, and stop the older runs that it supersedes.

    `common` is what all runs of the push have in common. Of a task or a pipeline only the row is written; the sweep
    creates its executions.
    """
    requests = [
        replace(
            common,
            plan=chosen.plan,
            overrides=Overrides(environment=chosen.environment, priority=chosen.rule.priority),
            why=f"Chosen by rule {chosen.rule.name}"
            if chosen.rule.name and chosen.rule is not rules.DEFAULT[0]
            else "",
        )
        for chosen in run
    ]
    commit, db = common.commit, context.db
    made = zip(run, launch.start(context, requests) if requests else (), strict=True)
    numbers = [f"{chosen.target.kind.sign}{one.counter}" for chosen, one in made]
    if numbers:
        audit.record(db, Act.LAUNCH, Kind.COMMIT, commit.identifier, commit.project_id, ", ".join(numbers))
    for one in older:
        _supersede(context, one, numbers[0] if numbers else f"commit {commit.identifier[:8]}")


def _common_request(
    db: Database, source: EventSource, event: PushEvent, commit: Commit, push_id: int
) -> tuple[LaunchRequest, Actor]:
    """Return what all runs of an event have in common, and who acts: the user with the pusher's name, if any.

    Schedules have no pusher, and pushers of forks are not trusted: there the project's owner is the creator.
    """
    is_schedule, request = event.kind is EventKind.SCHEDULE, source.pull_request
    unknown = is_schedule or (request is not None and request.from_fork)
    pusher = "" if unknown else event.pusher
    creator = users.get_named_or_default(db, pusher, source.project.owner_id)
    way = Way.SCHEDULE if is_schedule else Way.GIT if source.hosted else Way.FORGE
    common = LaunchRequest(
        origin=Origin.SCHEDULE if is_schedule else Origin.PUSH,
        project=source.project,
        commit=commit,
        creator=creator,
        push_id=push_id,
    )
    return common, Actor(way=way, username=pusher if creator.username == pusher else "")


def needs_approval(db: Database, request: PullRequest | None, event: PushEvent, planned: Plan) -> bool:
    """Return whether the commit comes from a fork and is not approved.

    It must wait even if nothing would run, since the fork's author chose that. A commit that asks to be skipped gets no
    status at all, with or without approval.
    """
    if planned.skip or request is None or not request.from_fork:
        return False
    return not approvals.find(db, request.repository_id, event.after)


def _final(
    db: Database, source: EventSource, event: PushEvent, commit: Commit, arrived: Arrival, planned: Plan
) -> tuple[Plan, list[Launched]]:
    """Return the plan without targets that already run or are overtaken, and the older runs that it supersedes."""
    choice, older = planned.choice, list[Launched]()
    reasons: dict[Target, str] = {}
    if not source.again:
        reasons = planning.explain_duplicates(db, commit, event, source.pull_request)
    if cancelling := [chosen.target for chosen in choice.run if chosen.rule.cancel_older]:
        if (arrived.late and not source.again) or planning.is_overtaken(db, source, event):
            reasons |= dict.fromkeys(cancelling, planning.LATE)
        else:
            older = planning.list_superseded(db, source.repository.id, event, choice, arrived.again_of)
    return replace(planned, choice=planning.skip_duplicates(choice, reasons)), older


def _add_push(db: Database, source: EventSource, event: PushEvent, arrived: Arrival, outcome: PushOutcome) -> int:
    new = NewPush(
        repository_id=source.repository.id,
        event=event,
        outcome=outcome,
        identity=arrived.identity,
        delivery_id=source.delivery.id,
        pull_request_id=source.pull_request.id if source.pull_request else None,
        again_of=arrived.again_of,
        late=arrived.late,
    )
    return pushes.add_push(db, new)


def _commit(source: EventSource, event: PushEvent, head: Head) -> NewCommit:
    return NewCommit(
        project_id=source.project.id,
        repository_id=source.repository.id,
        identifier=head.info.sha,
        ref=shorten_ref(event.ref),
        message=event.message,
        author=head.info.author,
        committed_at=head.info.committed_at,
        yaml_path=source.project.yaml_path,
        config_state=head.config_state,
        config=head.config,
        problems=head.problems,
        config_key=head.config_key,
    )


def make_outcome(event: PushEvent, head: Head, planned: Plan) -> PushOutcome:
    """Return the outcome of a planned event, without its commit."""
    if planned.skip:
        result = PushResult.SKIPPED
    elif planned.deleted:
        result = PushResult.DELETED
    else:
        result = PushResult.LAUNCHED if planned.choice.run else PushResult.NOTHING
    # to show in the commit's status: also targets that were requested by name and do not run
    problems = [planned.problem, *(f"{label}: {reason}" for label, reason in planned.choice.problems)]
    return PushOutcome(
        text=format_outcome(event, head, planned),
        result=result,
        skipped=planned.choice.skipped,
        problems=[text[:PROBLEM_CHARS] for text in problems if text][:MAX_PROBLEMS],
    )


def format_outcome(event: PushEvent, head: Head, planned: Plan) -> str:
    """Describe in one sentence the actual or hypothetical outcome of an event."""
    choice = planned.choice
    if planned.skip:
        return f"skipped: {planned.skip}"
    if planned.problem:
        return f"nothing runs: {planned.problem}"[:500]
    if planned.deleted:
        return planned.deleted
    if head.config_state == "missing":
        return head.problems[0]
    if head.config_state == "broken":
        return f"configuration is not valid: {head.problems[0]}"[:500]
    if choice.run:
        return format_run_counts(chosen.target.kind for chosen in choice.run)
    if not (choice.named or any(verdict.matches for verdict in choice.verdicts)):
        return _no_rule(event, choice)
    if choice.skipped:
        return "nothing runs: everything was skipped"
    if map_step_items(head.config):
        return "nothing runs: the rules choose nothing that valohai.yaml declares"
    return "nothing runs: valohai.yaml has no steps"


def _no_rule(event: PushEvent, choice: Choice) -> str:
    """Describe an event that no rule matches; with the default rules that is a tag."""
    if tuple(verdict.rule for verdict in choice.verdicts) == rules.DEFAULT:
        return "tag recorded" if rules.get_event_kind(event) == rules.TAG else "nothing runs: valohai.yaml has no steps"
    why = "; ".join(f'"{verdict.rule.name}" {verdict.why}' for verdict in choice.verdicts)
    return f"no rule matched: {why}"[:500]


def _supersede(context: Context, older: Launched, by: str) -> None:
    """Stop a run because the newer one `by` replaces it."""
    said = f"Superseded by {by}"
    match older.target.kind:
        case TargetKind.STEP:
            lifecycle.stop(context, executions.get(context.db, older.id), by, said)
        case TargetKind.TASK:
            tasks.request_stop(context, task_store.get(context.db, older.id), by, message=said)
        case TargetKind.PIPELINE:
            pipelines.request_stop(context, pipeline_store.get(context.db, older.id), by, message=said)

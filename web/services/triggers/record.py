"""Record an event and launch what the rules choose for it, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.model import Commit, EventKind, Project, PullRequest, PushEvent, PushResult, Repository, User, short_ref
from web.config.steps.model import step_names
from web.services.context import Context
from web.services.forges import enqueue
from web.services.repositories.commit_head import Head, ReadBudget
from web.services.triggers import deduplicate, planning, rules, start
from web.services.triggers.planning import Plan
from web.services.triggers.rules import Choice, describe
from web.store import approvals, commits, projects, users
from web.store.db import Database, transaction
from web.store.deliveries import Delivery
from web.store.launched import Launched

MESSAGE_CHARS = 64 * 1024
PROBLEM_CHARS = 500
MAX_PROBLEMS = 20
KNOWN = "was recorded before"


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """Origin of an event, and the repository at `path` that contains its commit."""

    project: Project
    repository: Repository
    path: Path
    delivery: Delivery
    budget: ReadBudget  # for parsing the configurations of all its commits
    pull_request: PullRequest | None = None  # with this commit as head; its `sha` is the current head
    rule: str = ""  # the name of the rule that is due
    late: bool = False  # reported after a newer push of the same ref

    @property
    def hosted(self) -> bool:
        return self.repository.forge == projects.HOSTED

    @property
    def again(self) -> bool:
        """Whether a person redelivered an earlier delivery, so that an event runs although it is known."""
        return self.delivery.again_of is not None

    def may_be_late(self, event: PushEvent) -> bool:
        """Return whether a newer event of the same ref may have arrived first.

        It cannot for a pull request's current head, and does not matter for a redelivery by a person.
        """
        return not self.again and (self.pull_request is None or self.pull_request.sha != event.after)


def trigger(context: Context, source: EventSource, event: PushEvent, head: Head) -> str:
    """Record an event that ends at `head`, launch its runs and return the outcome. Repeating an event does nothing."""
    event = replace(event, message=head.info.message[:MESSAGE_CHARS], after=head.info.sha)  # for a tag, its commit
    planned = plan(context.db, source, event, head)
    request = source.pull_request
    request_id = request.id if request else None
    with transaction(context.db):
        push_id = commits.add_push(
            context.db,
            source.repository.id,
            event,
            source.delivery.id,
            again=source.again,
            late=source.late,
            pull_request_id=request_id,
        )
        if push_id is None:
            return KNOWN
        commit = _add_commit(context.db, source, event, head)
        enqueue.enqueue_event(context.db, source.project, source.repository, commit, source.pull_request)
        if needs_approval(context.db, request, event, planned):
            commits.finish_push(
                context.db, push_id, commit_id=commit.id, outcome=approvals.WAITS, result=PushResult.WAITING
            )
            return approvals.WAITS
        choice, superseded = _in_order(context.db, source, event, push_id, planned.choice)
        if not source.again:
            choice = deduplicate.without_duplicates(
                choice, deduplicate.duplicate_reasons(context.db, commit, event, request)
            )
        planned = replace(planned, choice=choice)
        outcome = outcome_text(event, head, planned)
        creator = _pusher(context.db, event, request) or users.of_row(context.db, source.project.owner_id)
        run(
            context,
            source.project,
            commit,
            planned,
            creator,
            push_id=push_id,
            outcome=outcome,
            instead_of=superseded,
        )
    return outcome


def plan(db: Database, source: EventSource, event: PushEvent, head: Head) -> Plan:
    """Return the plan for the event, with the rules as they are now."""
    base_branch = source.pull_request.base_branch if source.pull_request else ""
    return planning.plan(
        db, source.project, source.repository, source.path, event, head, base_branch=base_branch, rule=source.rule
    )


def run(
    context: Context,
    project: Project,
    commit: Commit,
    planned: Plan,
    creator: User,
    *,
    push_id: int,
    outcome: str,
    instead_of: Sequence[Launched] = (),
) -> None:
    """Launch the plan of a recorded push, store its outcome, and stop the runs in `instead_of`, which it supersedes."""
    # first: this push alone may make the commit trusted, and launching may check that
    commits.finish_push(
        context.db,
        push_id,
        commit_id=commit.id,
        outcome=outcome,
        result=result_of(planned),
        skipped=planned.choice.skipped,
        problems=problems_of(planned),
    )
    made = [start.start_target(context, project, commit, chosen, creator, push_id) for chosen in planned.choice.run]
    by = made[0] if made else f"commit {commit.identifier[:8]}"
    for older in instead_of:
        start.supersede_target(context, older, by)


def _in_order(
    db: Database, source: EventSource, event: PushEvent, push_id: int, choice: Choice
) -> tuple[Choice, list[Launched]]:
    """Return what of the choice runs, and the older runs to stop for it. A redelivery by a person is never late."""
    cancelling = [chosen.target for chosen in choice.run if chosen.cancels_older]
    if not cancelling:
        return choice, []
    repository_id = source.repository.id
    late = source.late and not source.again
    if late or (source.may_be_late(event) and planning.is_late(db, repository_id, source.path, event, push_id)):
        return deduplicate.without_duplicates(choice, dict.fromkeys(cancelling, planning.LATE)), []
    place = commits.get_push(db, push_id).again_of or push_id
    return choice, planning.superseded(db, repository_id, event, choice, place)


def record(db: Database, source: EventSource, event: PushEvent, outcome: str) -> str:
    """Record an event without a commit, and return its outcome."""
    with transaction(db):
        push_id = commits.add_push(
            db, source.repository.id, event, source.delivery.id, again=source.again, late=source.late
        )
        if push_id is None:
            return KNOWN
        commits.finish_push(db, push_id, commit_id=None, outcome=outcome)
    return outcome


def needs_approval(db: Database, request: PullRequest | None, event: PushEvent, planned: Plan) -> bool:
    """Return whether the commit comes from a fork and is not approved.

    It must wait even if nothing would run, since the fork's author chose that. A commit that asks to be skipped gets no
    status at all, with or without approval.
    """
    if planned.skip or request is None or not request.from_fork:
        return False
    return not approvals.find(db, request.repository_id, event.after)


def _add_commit(db: Database, source: EventSource, event: PushEvent, head: Head) -> Commit:
    return commits.upsert_commit(
        db,
        project_id=source.project.id,
        repository_id=source.repository.id,
        identifier=head.info.sha,
        ref=short_ref(event.ref),
        message=event.message,
        author=head.info.author,
        committed_at=head.info.committed_at,
        yaml_path=source.project.yaml_path,
        config_state=head.config_state,
        config=head.config,
        problems=head.problems,
        config_key=head.config_key,
    )


def outcome_text(event: PushEvent, head: Head, planned: Plan) -> str:
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
        return describe.count_text(chosen.target for chosen in choice.run)
    if not (choice.named or any(verdict.matches for verdict in choice.verdicts)):
        return _no_rule(event, choice)
    if choice.skipped:
        return "nothing runs: everything was skipped"
    if step_names(head.config):
        return "nothing runs: the rules choose nothing that valohai.yaml declares"
    return "nothing runs: valohai.yaml has no steps"


def result_of(planned: Plan) -> PushResult:
    if planned.skip:
        return PushResult.SKIPPED
    if planned.deleted:
        return PushResult.DELETED
    return PushResult.LAUNCHED if planned.choice.run else PushResult.NOTHING


def problems_of(planned: Plan) -> list[str]:
    """Return the problems to show in a commit's status: targets requested by name that do not run."""
    said = [f"{label}: {reason}" for label, reason in planned.choice.problems]
    return [text[:PROBLEM_CHARS] for text in (planned.problem, *said) if text][:MAX_PROBLEMS]


def _no_rule(event: PushEvent, choice: Choice) -> str:
    """Describe an event that no rule matches; with the default rules that is a tag."""
    if tuple(verdict.rule for verdict in choice.verdicts) == rules.DEFAULT:
        return "tag recorded" if rules.kind_of(event) == rules.TAG else "nothing runs: valohai.yaml has no steps"
    why = "; ".join(f'"{verdict.rule.name}" {verdict.why}' for verdict in choice.verdicts)
    return f"no rule matched: {why}"[:500]


def _pusher(db: Database, event: PushEvent, request: PullRequest | None) -> User | None:
    """Return the user whose name equals the pusher's; None for forks, which are not trusted, and for schedules."""
    if event.kind is EventKind.SCHEDULE or (request is not None and request.from_fork):
        return None
    return users.by_name(db, event.pusher)

"""Show what a commit would trigger, using the same functions as for a real event and recording nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core import git
from core.errors import InvalidInput
from core.model import EventKind, Project, PushEvent, Repository
from web.services.context import Context
from web.services.executions import environments
from web.services.repositories import commit_head, hosting
from web.services.triggers import planning, preview, record, rules, schedule
from web.services.triggers.planning import Basis
from web.services.triggers.preview import PlannedRun
from web.services.triggers.rules import Choice, RuleVerdict
from web.store import approvals, commits, pull_requests, pushes
from web.store.db import Database
from web.store.launched import Launched
from web.store.pull_requests import PullRequest

SHORT_SHA = re.compile(r"[0-9a-f]{7,63}")
ZEROS = "0" * 40
SCHEDULE_OF = "schedule:"  # prefix of the name of the rule that would be due


@dataclass(frozen=True, kw_only=True)
class HypotheticalEvent:
    """A commit and an event to evaluate.

    `name` is a commit, branch or tag. `event` is push, tag, pull_request, schedule or schedule:RULE; "" is tag for a
    tag without `branch`, else push. `branch` is the pushed branch or a pull request's base. `options` are push options.
    `rules` replace the project's.
    """

    name: str
    event: str = ""
    branch: str = ""
    options: tuple[str, ...] = ()
    rules: str | None = None


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Result of a dry run. `event` describes the event in words; `stops` lists the runs that would be stopped."""

    event: str
    sha: str
    outcome: str
    verdicts: tuple[RuleVerdict, ...]
    runs: tuple[PlannedRun, ...]
    skipped: tuple[tuple[str, str], ...]
    stops: tuple[Launched, ...]


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A hypothetical event. `place` is the id of the recorded push of this event, None if there was none.

    `request` is the pull request with this commit as its head, if a forge has reported it.
    """

    event: PushEvent
    words: str
    base_branch: str = ""
    request: PullRequest | None = None
    rule: str = ""
    place: int | None = None


def evaluate_event(context: Context, project: Project, question: HypotheticalEvent) -> DryRun:
    """Evaluate a question. Raises InvalidInput for invalid rules and unknown names."""
    if question.rules is not None:
        rules.parse(question.rules)
        project = replace(project, rules=question.rules)
    repository = hosting.get_repository(context.db, project)
    path = hosting.get_repository_path(context.config, repository)
    path, sha = _commit(context.db, project, (path, hosting.get_forks_path(context.config, repository)), question.name)
    asked = _event(context.db, project, repository, path, question, sha)
    budget = commit_head.ReadBudget(context.config.limits)
    head = commit_head.read_head(context.db, project, path, sha, budget, pin=False)
    basis = Basis(project=project, repository=repository, path=path, base_branch=asked.base_branch, rule=asked.rule)
    plan = planning.plan(context.db, basis, asked.event, head)
    cancels = any(chosen.rule.cancel_older for chosen in plan.choice.run)
    stops = (
        planning.list_superseded(context.db, repository.id, asked.event, plan.choice, asked.place) if cancels else []
    )
    choice = _without_duplicates(context.db, project, asked, plan.choice)
    known = environments.map_by_name(context.db)
    waits = record.needs_approval(context.db, asked.request, asked.event, plan)
    return DryRun(
        event=asked.words,
        sha=sha,
        outcome=approvals.WAITS if waits else record.format_outcome(asked.event, head, replace(plan, choice=choice)),
        verdicts=plan.choice.verdicts,
        runs=tuple(preview.preview_plan(known, project, chosen) for chosen in choice.run),
        skipped=choice.skipped,
        stops=tuple(stops),
    )


def list_event_names(text: str) -> list[str]:
    """Return the events that a question may name, including those of the rules' schedules."""
    usual = [rules.PUSH, rules.TAG, rules.PULL_REQUEST]
    return [*map(str, usual), *(f"{SCHEDULE_OF}{rule.name}" for rule in schedule.list_scheduled_rules(text))]


def _commit(db: Database, project: Project, paths: Sequence[Path], name: str) -> tuple[Path, str]:
    """Return the first repository that has the commit, and its sha."""
    if not paths[0].is_dir():
        raise InvalidInput(f"nothing of project {project.name} has been pushed or fetched yet")
    name = name.strip()
    asked = [name] if name else []
    if SHORT_SHA.fullmatch(name) and len(found := commits.list_identifiers_with_prefix(db, project.id, name)) == 1:
        asked += found
    for path in paths:
        for one in asked:
            if path.is_dir() and (sha := git.resolve(path, one)):
                return path, sha
    raise InvalidInput(f"there is no commit, branch or tag {name[:100]!r} here")


def _event(
    db: Database, project: Project, repository: Repository, path: Path, question: HypotheticalEvent, sha: str
) -> _Event:
    name, default = question.name.strip(), repository.default_branch
    is_branch = git.resolve(path, f"refs/heads/{name}") is not None
    is_tag = not is_branch and git.resolve(path, f"refs/tags/{name}") is not None
    kind = question.event or (rules.TAG if is_tag and not question.branch else rules.PUSH)
    if kind == rules.TAG:
        if not is_tag:
            raise InvalidInput(f"{name[:100]!r} is not a tag: name a tag, or ask about a push")
        event = PushEvent(ref=f"refs/tags/{name}", before=ZEROS, after=sha, options=question.options)
        return _Event(event=event, words=f"tag {name}")
    if kind == rules.PULL_REQUEST:
        return _pull_request(db, project, repository, question, sha)
    if kind.startswith(rules.SCHEDULE):
        return _scheduled(project, default, kind, sha)
    if kind != rules.PUSH:
        raise InvalidInput(f"event must be one of {', '.join(list_event_names(project.rules))}, got {kind[:80]!r}")
    branch = question.branch or (name if is_branch else _pushed_to(db, project, sha) or default)
    before, place = _before(db, repository, path, branch, sha)
    event = PushEvent(ref=f"refs/heads/{branch}", before=before, after=sha, options=question.options)
    return _Event(event=event, words=f"push to {branch}", place=place)


def _pull_request(
    db: Database, project: Project, repository: Repository, question: HypotheticalEvent, sha: str
) -> _Event:
    """Return the event of the pull request with this head, or of a hypothetical one."""
    known = commits.find_by_identifier(db, project.id, sha)
    request = next(iter(pull_requests.list_pull_requests(db, known.id)), None) if known else None
    base = question.branch or (request.base_branch if request else repository.default_branch)
    ref, words = f"refs/pull/{request.number if request else 0}/head", f"pull request to {base}"
    recorded = pushes.list_for_ref(db, repository.id, EventKind.PULL_REQUEST, ref, planning.LOOKED_BACK)
    place = next((push.id for push in recorded if push.after == sha), None)
    event = PushEvent(kind=EventKind.PULL_REQUEST, ref=ref, before=ZEROS, after=sha)
    return _Event(event=event, words=words, base_branch=base, request=request, place=place)


def _scheduled(project: Project, default: str, kind: str, sha: str) -> _Event:
    known = {rule.name: rule for rule in schedule.list_scheduled_rules(project.rules)}
    wanted = kind.removeprefix(SCHEDULE_OF) if kind.startswith(SCHEDULE_OF) else next(iter(known), "")
    if wanted not in known or (kind == rules.SCHEDULE and len(known) > 1):
        names = ", ".join(f"{SCHEDULE_OF}{name}" for name in known) or "no rule has one"
        raise InvalidInput(f"name the rule of the schedule: {names}")
    due = schedule.Due(rule=wanted, planned_at="", branch=known[wanted].branch)
    branch = due.branch or default
    return _Event(
        event=schedule.make_event(due, branch, sha), words=f"schedule of rule {wanted} on {branch}", rule=wanted
    )


def _pushed_to(db: Database, project: Project, sha: str) -> str:
    """Return the branch that a commit was last pushed to, "" if to none."""
    known = commits.find_by_identifier(db, project.id, sha)
    pushed = pushes.list_for_commit(db, known.id) if known else []
    prefix = "refs/heads/"
    return next((push.ref.removeprefix(prefix) for push in pushed if push.ref.startswith(prefix)), "")


def _before(db: Database, repository: Repository, path: Path, branch: str, sha: str) -> tuple[str, int | None]:
    """Return the commit before and the id of the push to the branch, as recorded; else where the branch points now.

    If it points to the commit itself, that is the commit's first parent.
    """
    ref = f"refs/heads/{branch}"
    recorded = pushes.list_for_ref(db, repository.id, EventKind.PUSH, ref, planning.LOOKED_BACK)
    for push in recorded:
        if push.after == sha:
            return push.before, push.id
    tip = git.resolve(path, ref)
    if tip == sha:
        return next(iter(git.get_commit(path, sha).parents), ZEROS), None
    return tip or ZEROS, None


def _without_duplicates(db: Database, project: Project, asked: _Event, choice: Choice) -> Choice:
    known = commits.find_by_identifier(db, project.id, asked.event.after)
    return (
        planning.skip_duplicates(choice, planning.explain_duplicates(db, known, asked.event, asked.request))
        if known
        else choice
    )

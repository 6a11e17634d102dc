"""Compute the statuses of a commit, and post those that the forge does not show yet.

The status for the whole commit is decided by values, not texts: `push.result` is the result of each event,
`push.problems` the names that were requested and do not run (`web.services.triggers.rules.choice` distinguishes them
from those that matched a pattern). Only a commit with runs, or with nothing to run, succeeds. A commit
of a fork waits for approval whatever it would run, since the fork's author chose that. `repository.status_context` is
the name of the statuses and does not change while the repository stays the same one.

Each answer is recorded before the next call, so states cannot overtake each other, superseded ones are never sent,
and a crash between call and record costs one repeated call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.model import Commit, Repository, TargetKind
from core.text import join_words
from hooks import statuses as rules
from hooks.apis.base import URL_CHARS, Answer, Api, CommitState, CommitStatus
from hooks.apis.client import Client, Later, Outcome, Refused
from web.services.context import Context
from web.services.forges import summary
from web.services.forges.summary import StatusSummary
from web.services.repositories.credentials import Access
from web.services.triggers.rules import runnable
from web.store import approvals, commits, projects, statuses
from web.store.db import Database, transaction
from web.store.outbox import OutboxLine
from web.store.pushes import PushResult
from web.store.statuses import Occasion, PostedStatus

NOT_APPROVED = "not approved: the pull request was closed or has newer commits"
NAMED = 5  # targets named in the description of the whole commit
BAD: Mapping[str, tuple[CommitState, ...]] = {
    "failed": (CommitState.ERROR, CommitState.FAILURE),
    "stopped": (CommitState.STOPPED,),
}


@dataclass(frozen=True, kw_only=True)
class WantedStatus:
    """One status of a commit, as the forge should show it."""

    context: str
    state: CommitState
    description: str
    url: str


@dataclass(frozen=True, kw_only=True)
class PublishProgress:
    """Result of publishing one line. `pipeline` is the GitLab pipeline that the commit's statuses belong to.

    `later` is set if the line must be retried; `stop` is why the token can no longer be used; `problem` is why the
    forge refused this line.
    """

    pipeline: str = ""
    later: Later | None = None
    stop: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ForgeSession:
    """The repository whose lines are being published, and an open client for its forge."""

    context: Context
    repository: Repository
    access: Access
    client: Client


def publish_statuses(session: ForgeSession, line: OutboxLine) -> PublishProgress:
    """Post the missing statuses of a commit one after the other, recording each answer before the next call."""
    db, repository, access = session.context.db, session.repository, session.access
    commit = commits.find_by_identifier(db, repository.project_id, line.subject)
    if commit is None:
        return PublishProgress()
    ref, pipeline = choose_ref(db, repository, commit), line.pipeline
    posted = statuses.map_posted(db, repository.id, commit.identifier)
    for wanted in list_wanted(session.context, repository, commit):
        if not _lacks(access.api, wanted, posted.get(wanted.context)):
            continue
        outcome, pipeline = _post(session.client, access, commit, wanted, ref, pipeline)
        if isinstance(outcome, Later):
            return PublishProgress(pipeline=pipeline, later=outcome)
        if stop := explain_stop(outcome):
            return PublishProgress(pipeline=pipeline, stop=stop)
        _record(db, access.api, repository, commit, wanted, outcome)
    return PublishProgress(pipeline=pipeline)


def explain_stop(outcome: Answer | Refused) -> str:
    """Return why no call to this forge can succeed any more; "" if others may."""
    if isinstance(outcome, Answer):
        return ""
    if outcome.status in (401, 403):
        return f"the API token was rejected: {outcome.reason}"
    if outcome.status < 400:  # no answer at all, or a redirect because the repository has moved
        return f"repository not found: {outcome.reason}" if outcome.status else outcome.reason
    return ""


def list_wanted(context: Context, repository: Repository, commit: Commit) -> list[WantedStatus]:
    """Return all statuses of a commit, that of the whole commit last; none for one that was skipped on request."""
    db, config = context.db, context.config
    project = projects.get(db, repository.project_id)
    page = f"{config.server.url.rstrip('/')}/p/{project.name}"
    found = summary.summarize_runs(db, repository.id, commit.id)
    rollup = _overall(commit, found, statuses.list_occasions(db, repository.id, commit.id))
    if rollup is None:
        return []
    state, description = rollup
    prefix = repository.status_context
    contexts = rules.assign_contexts(
        [*runnable.list_declared_targets(commit.config), *(one.target for one in found)], prefix
    )
    return [
        *(
            WantedStatus(
                context=contexts[one.target],
                state=one.state,
                description=one.line,
                url=f"{page}/{one.page}"[:URL_CHARS],
            )
            for one in found
        ),
        WantedStatus(
            context=prefix,
            state=state,
            description=description,
            url=f"{page}/commits/{commit.identifier}/"[:URL_CHARS],
        ),
    ]


def choose_ref(db: Database, repository: Repository, commit: Commit) -> str:
    """Return the branch or tag of the commit's first push: if it changed, GitLab would create another pipeline."""
    occasions = statuses.list_occasions(db, repository.id, commit.id)
    return (occasions[0].ref if occasions else commit.ref)[:URL_CHARS]


def find_commit_problem(db: Database, repository: Repository, commit: Commit) -> str:
    """Return why a commit is an error regardless of its runs; "" if it is not."""
    rollup = _overall(commit, [], statuses.list_occasions(db, repository.id, commit.id))
    return rollup[1] if rollup and rollup[0] is CommitState.ERROR else ""


def _overall(
    commit: Commit, found: Sequence[StatusSummary], occasions: Sequence[Occasion]
) -> tuple[CommitState, str] | None:
    """Return the status of the whole commit: missing targets make it an error, whatever else runs."""
    rollup = _of_all(found) if found else _of_none(commit, occasions)
    problems = list(dict.fromkeys(problem for occasion in occasions for problem in occasion.problems))
    if rollup is None or not problems:
        return rollup
    more = f" and {len(problems) - 1} more" if problems[1:] else ""
    return CommitState.ERROR, f"{problems[0]}{more}"


def _of_all(found: Sequence[StatusSummary]) -> tuple[CommitState, str]:
    """Combine the states of all targets.

    The text stays the same while something runs and nothing has failed, so that a commit with many steps has few posts.
    """
    state, all_of_them = rules.combine_states(one.state for one in found), _counted(found)
    if state is CommitState.SUCCESS:
        return state, f"{all_of_them} succeeded"
    if state in (CommitState.WAITING, CommitState.RUNNING):
        return state, f"{all_of_them} to run" if state is CommitState.WAITING else f"running {all_of_them}"
    parts = [f"{what}: {_named(labels)}" for what, which in BAD.items() if (labels := _labels(found, which))]
    return state, "; ".join(parts)


def _of_none(commit: Commit, occasions: Sequence[Occasion]) -> tuple[CommitState, str] | None:
    """Return the status of a commit without runs; None if it was skipped. A fork's commit waits for approval."""
    shown = [occasion for occasion in occasions if occasion.result is not PushResult.SKIPPED]
    if not shown:
        return None
    if all(occasion.result is PushResult.WAITING for occasion in shown):
        if all(occasion.closed for occasion in shown):
            return CommitState.STOPPED, NOT_APPROVED
        return CommitState.WAITING, approvals.WAITS
    if commit.config_state == "broken":
        return CommitState.ERROR, f"{commit.yaml_path} is not valid: {' '.join(commit.problems[:1])}"
    if deleted := [occasion for occasion in shown if occasion.result is PushResult.DELETED]:
        return CommitState.ERROR, deleted[0].outcome
    if commit.config_state == "missing":
        return CommitState.SUCCESS, f"nothing to run: there is no {commit.yaml_path}"
    return CommitState.SUCCESS, "nothing to run"


def _counted(found: Sequence[StatusSummary]) -> str:
    """Count targets by kind, such as "2 steps and 1 pipeline"."""
    counts = Counter(one.target.kind for one in found)
    return join_words([f"{n} {kind}{'' if n == 1 else 's'}" for kind in TargetKind if (n := counts[kind])])


def _labels(found: Sequence[StatusSummary], states: Collection[CommitState]) -> list[str]:
    return [one.target.label for one in found if one.state in states]


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - NAMED
    return ", ".join(labels[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _lacks(api: Api, wanted: WantedStatus, posted: PostedStatus | None) -> bool:
    """Return whether a status must be posted. One that the forge refused is posted again only if it changes."""
    if posted is None:
        return True
    text = rules.clamp(wanted.description, api.DESCRIPTION_CHARS)
    if (posted.state, posted.description, posted.url) == (wanted.state, text, wanted.url):
        return False
    return api.accepts(None if posted.problem else posted.state, wanted.state)


def _post(
    client: Client, access: Access, commit: Commit, wanted: WantedStatus, ref: str, pipeline: str
) -> tuple[Outcome, str]:
    """Post a status; return the outcome, and the pipeline for later statuses. A deleted pipeline is not named again."""
    for named in dict.fromkeys((pipeline, "")):
        status = CommitStatus(
            context=wanted.context,
            state=wanted.state,
            description=rules.clamp(wanted.description, access.api.DESCRIPTION_CHARS),
            url=wanted.url,
            ref=ref,
            pipeline=named,
        )
        outcome = client.send(access.api.post_status(access.name, commit.identifier, status))
        if not (named and isinstance(outcome, Refused) and outcome.status == 404):
            break
    return outcome, access.api.parse_pipeline(outcome.json) or named if isinstance(outcome, Answer) else named


def _record(
    db: Database, api: Api, repository: Repository, commit: Commit, wanted: WantedStatus, outcome: Answer | Refused
) -> None:
    problem = ""
    if isinstance(outcome, Refused) and not api.shows_already(outcome.status, outcome.reason, wanted.state):
        problem = outcome.reason
    text = rules.clamp(wanted.description, api.DESCRIPTION_CHARS)
    with transaction(db):
        posted = statuses.PostedStatus(
            sha=commit.identifier, context=wanted.context, state=wanted.state, description=text, url=wanted.url,
            problem=problem,
        )  # fmt: skip
        statuses.record(db, repository.id, posted)

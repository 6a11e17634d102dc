"""What a badge says, to those who may know it. Everybody else reads of a private project what they read of none."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from core.errors import NotFound
from core.model import Execution, Project
from core.states import UNFINISHED, State
from web.services.presentation import formats
from web.services.vault import Vault
from web.store import badges, projects
from web.store.badges import Choice

TOKEN_CHARS = 32
PUSH, TAG, SCHEDULE = "push", "tag", "schedule"
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What somebody wants to see; empty texts are the defaults: the default branch, all steps, the state."""

    project: str
    token: str = ""
    event: str = PUSH
    branch: str = ""
    step: str = ""
    metric: str = ""
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Badge:
    """`kind` is one word for the state, or "metric"; `changed_at` is None where nothing is known."""

    label: str
    message: str
    kind: str
    changed_at: str | None = None


def token(vault: Vault, project: Project) -> str:
    """What shows the badge of a private project. It opens nothing else."""
    return vault.derived(f"badge {project.uuid}").hex()[:TOKEN_CHARS]


def answer(db: Database, vault: Vault, question: Question) -> Badge:
    """The badge; "unknown" for whatever is not there or may not be seen."""
    label = question.label or question.metric or question.step or question.project
    choice = _choice(db, vault, question)
    if choice is None:
        return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
    if question.metric:
        found = badges.metric(db, choice, question.metric)
        if found is None:
            return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
        return Badge(label=label, message=formats.value(found[0]), kind="metric", changed_at=found[1])
    counted = badges.newest(db, choice)
    changed_at = max((e.ended_at or e.started_at or e.queued_at or e.created_at for e in counted), default=None)
    return Badge(label=label, message=merged(counted), kind=merged(counted), changed_at=changed_at)


def merged(found: Sequence[Execution]) -> str:
    """One word for several executions. One that failed decides, even while others run."""
    states = {execution.state for execution in found}
    if not states:
        return UNKNOWN
    if State.ERROR in states:
        return "failing"
    if states & UNFINISHED:
        return "running"
    return "stopped" if State.STOPPED in states else "passing"


def _choice(db: Database, vault: Vault, question: Question) -> Choice | None:
    with contextlib.suppress(NotFound):
        project = projects.by_name(db, question.project)
        shown = hmac.compare_digest(question.token.encode("utf-8", "replace"), token(vault, project).encode())
        found = projects.repositories(db, project.id)
        if found and question.event in (PUSH, TAG, SCHEDULE) and (shown or project.badge_public):
            branch = None if question.event == TAG else question.branch or found[0].default_branch
            return Choice(
                repository_ids=[r.id for r in found],
                branch=branch,
                step=question.step or None,
                scheduled=question.event == SCHEDULE,
            )
    return None

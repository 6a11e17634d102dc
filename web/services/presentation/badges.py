"""Text and colour of a badge: states and numbers. Private projects without the badge's token look like unknown ones."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from core.errors import NotFound
from core.groups import Pipeline, Task
from core.model import Execution, Project, Target, TargetKind
from core.states import UNFINISHED, State
from web.config import metadata as metadata_values
from web.services.forges import summary
from web.services.presentation import formats
from web.services.vault import Vault
from web.store import badges, metadata, projects
from web.store.badges import Choice
from web.store.db import Database

TOKEN_CHARS = 32
PUSH, TAG, SCHEDULE = "push", "tag", "schedule"
UNKNOWN = "unknown"
NO_VALUE = "no value"  # for metadata that is no number, since any text may stand in it
NOBODY = "00000000-0000-4000-8000-000000000000"  # the project whose token is compared when there is none of that name


@dataclass(frozen=True, kw_only=True)
class Question:
    """What somebody wants to see; empty texts are the defaults: the default branch, all that ran, the state."""

    project: str
    token: str = ""
    event: str = PUSH
    branch: str = ""
    step: str = ""
    task: str = ""
    pipeline: str = ""
    metric: str = ""
    label: str = ""

    @property
    def target(self) -> Target | None:
        """The largest of those that are named."""
        for kind, name in (
            (TargetKind.PIPELINE, self.pipeline),
            (TargetKind.TASK, self.task),
            (TargetKind.STEP, self.step),
        ):
            if name:
                return Target(kind=kind, name=name)
        return None

    @property
    def title(self) -> str:
        """What stands on the left."""
        return self.label or self.metric or (self.target.name if self.target else self.project)


@dataclass(frozen=True, kw_only=True)
class Badge:
    """`kind` is one word for the state, or "metric"; `changed_at` is None where nothing is known."""

    label: str
    message: str
    kind: str
    changed_at: str | None = None


def token(vault: Vault, project: Project) -> str:
    """The token in the address of a private project's badge. It opens nothing else."""
    return _token(vault, project.uuid)


def _token(vault: Vault, project_uuid: str) -> str:
    return vault.derived(f"badge {project_uuid}").hex()[:TOKEN_CHARS]


def answer(db: Database, vault: Vault, question: Question) -> Badge:
    """The badge; "unknown" for whatever is not there or may not be seen."""
    label = question.title
    choice = _choice(db, vault, question)
    if choice is None:
        return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
    if question.metric:
        found = _metric(db, choice, question.metric)
        if found is None:
            return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
        number = metadata_values.number(found[0])
        if number is None:
            return Badge(label=label, message=NO_VALUE, kind=UNKNOWN, changed_at=found[1])
        shown = number if isinstance(found[0], str) else found[0]
        return Badge(label=label, message=formats.value(shown), kind="metric", changed_at=found[1])
    counted = badges.newest(db, choice)
    word = merged({made.state for made in counted})
    return Badge(label=label, message=word, kind=word, changed_at=max(map(_changed_at, counted), default=None))


def merged(states: Collection[State]) -> str:
    """One word for all that ran. What failed decides, even while something else runs."""
    if not states:
        return UNKNOWN
    if State.ERROR in states:
        return "failing"
    if UNFINISHED.intersection(states):
        return "running"
    return "stopped" if State.STOPPED in states else "passing"


def _changed_at(made: Execution | Task | Pipeline) -> str:
    queued_at = made.queued_at if isinstance(made, Execution) else None
    return made.ended_at or made.started_at or queued_at or made.created_at


def _metric(db: Database, choice: Choice, key: str) -> tuple[Any, str] | None:
    """Its value and when that came to be. A task's is that of its best execution."""
    if choice.target is None or choice.target.kind is not TargetKind.TASK:
        return badges.metric(db, choice, key)
    task = badges.newest_task(db, choice)
    best = summary.search(db, task).best if task else None
    latest = metadata.latest(db, best.execution_id) if best else {}
    return (latest[key], task.ended_at) if task and task.ended_at and key in latest else None


def _choice(db: Database, vault: Vault, question: Question) -> Choice | None:
    """The pushes that count; None for a project that does not exist or that the asker may not see.

    Both take the same steps, so that neither the answer nor its time says which it is.
    """
    project = None
    with contextlib.suppress(NotFound):
        project = projects.by_name(db, question.project)
    wanted = _token(vault, project.uuid if project else NOBODY)
    has_token = hmac.compare_digest(question.token.encode("utf-8", "replace"), wanted.encode())
    found = projects.repositories(db, project.id if project else 0)
    if project is None or not found or not (has_token or project.badge_public):
        return None
    if question.event not in (PUSH, TAG, SCHEDULE):
        return None
    branch = None if question.event == TAG else question.branch or found[0].default_branch
    return Choice(
        repository_ids=[r.id for r in found],
        branch=branch,
        target=question.target,
        scheduled=question.event == SCHEDULE,
    )

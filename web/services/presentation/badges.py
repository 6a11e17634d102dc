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
from web.services.context import Context
from web.services.forges import summary
from web.services.presentation import formats
from web.services.vault import Vault
from web.store import badges, metadata, projects
from web.store.badges import BadgeChoice
from web.store.db import Database

TOKEN_CHARS = 32
PUSH, TAG, SCHEDULE = "push", "tag", "schedule"
UNKNOWN = "unknown"
NO_VALUE = "no value"  # text for metadata values that are not numbers, which may contain anything
NOBODY = "00000000-0000-4000-8000-000000000000"  # its token is compared if the project does not exist


@dataclass(frozen=True, kw_only=True)
class BadgeQuery:
    """What a badge should show. Empty strings are the defaults: the default branch, everything that ran, the state."""

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
        """The requested pipeline, task or step, in this order."""
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
        """Text on the left side of the badge."""
        return self.label or self.metric or (self.target.name if self.target else self.project)


@dataclass(frozen=True, kw_only=True)
class Badge:
    """Content of a badge. `kind` is one word for the state, or "metric"; `changed_at` is None if nothing is known."""

    label: str
    message: str
    kind: str
    changed_at: str | None = None


def compute_token(vault: Vault, project: Project) -> str:
    """Return the token in the URL of a private project's badge. It grants access to nothing else."""
    return _token(vault, project.uuid)


def _token(vault: Vault, project_uuid: str) -> str:
    return vault.derived(f"badge {project_uuid}").hex()[:TOKEN_CHARS]


def make_badge(context: Context, question: BadgeQuery) -> Badge:
    """Return the badge; "unknown" for anything that does not exist or may not be seen."""
    db, label = context.db, question.title
    choice = _choice(context, question)
    if choice is None:
        return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
    if question.metric:
        found = _metric(db, choice, question.metric)
        if found is None:
            return Badge(label=label, message=UNKNOWN, kind=UNKNOWN)
        number = metadata_values.to_number(found[0])
        if number is None:
            return Badge(label=label, message=NO_VALUE, kind=UNKNOWN, changed_at=found[1])
        shown = number if isinstance(found[0], str) else found[0]
        return Badge(label=label, message=formats.format_value(shown), kind="metric", changed_at=found[1])
    counted = badges.list_newest_runs(db, choice)
    word = merge_badges({made.state for made in counted})
    return Badge(label=label, message=word, kind=word, changed_at=max(map(_changed_at, counted), default=None))


def merge_badges(states: Collection[State]) -> str:
    """Combine states into one word. A failure takes precedence, even while other runs are unfinished."""
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


def _metric(db: Database, choice: BadgeChoice, key: str) -> tuple[Any, str] | None:
    """Return the value of a metric and its time. For a task, use its best execution."""
    if choice.target is None or choice.target.kind is not TargetKind.TASK:
        return badges.find_metric(db, choice, key)
    task = badges.find_newest_task(db, choice)
    best = summary.summarize_search(db, task).best if task else None
    latest = metadata.get_latest(db, best.execution_id) if best else {}
    return (latest[key], task.ended_at) if task and task.ended_at and key in latest else None


def _choice(context: Context, question: BadgeQuery) -> BadgeChoice | None:
    """Return which pushes count; None if the project does not exist or the token is wrong.

    Both cases take the same steps, so that neither the response nor its timing reveals which one it is.
    """
    project = None
    with contextlib.suppress(NotFound):
        project = projects.get_by_name(context.db, question.project)
    wanted = _token(context.vault, project.uuid if project else NOBODY)
    has_token = hmac.compare_digest(question.token.encode("utf-8", "replace"), wanted.encode())
    found = projects.list_repositories(context.db, project.id if project else 0)
    if project is None or not found or not (has_token or project.badge_public):
        return None
    if question.event not in (PUSH, TAG, SCHEDULE):
        return None
    branch = None if question.event == TAG else question.branch or found[0].default_branch
    return BadgeChoice(
        repository_ids=[r.id for r in found],
        branch=branch,
        target=question.target,
        scheduled=question.event == SCHEDULE,
    )

"""Where an execution, task or pipeline comes from, in the words used on pages."""

from __future__ import annotations

from core.groups import Pipeline, Task
from core.model import EventKind, Execution, Origin, shorten_ref
from web.store import pushes
from web.store.db import Database


def format_origin(db: Database, made: Execution | Task | Pipeline) -> str:
    """Return what follows "created by ada", such as "with vh" or "push to main"; "" if the page shows it elsewhere."""
    if made.origin is Origin.API:
        return f"with {made.client}" if made.client else "by the API"
    if made.origin not in (Origin.PUSH, Origin.SCHEDULE) or made.push_id is None:
        return ""
    push = pushes.get_push(db, made.push_id)
    ref = shorten_ref(push.ref)
    if push.kind is EventKind.SCHEDULE:
        return f"schedule of {ref}"
    if push.kind is EventKind.PULL_REQUEST:
        return f"pull request {ref.split('/')[1]}" if ref.count("/") else "pull request"
    return f"push of {ref}" if push.ref.startswith("refs/tags/") else f"push to {ref}"

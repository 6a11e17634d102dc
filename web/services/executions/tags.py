"""Tags of executions, by which people find them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from core.errors import InvalidInput
from core.model import Execution
from web.config.overrides import MAX_TAGS, TAG_CHARS
from web.store import executions
from web.store.db import Database, transaction


def normalize(tags: Iterable[str]) -> list[str]:
    """Return tags without duplicates and surrounding space. Raises InvalidInput for invalid or too many tags."""
    kept = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if bad := [tag for tag in kept if len(tag) > TAG_CHARS or not tag.isprintable()]:
        raise InvalidInput(f"{bad[0]!r:.120} is not a tag: use at most {TAG_CHARS} printable characters", field="tags")
    if len(kept) > MAX_TAGS:
        raise InvalidInput(f"an execution has at most {MAX_TAGS} tags; these are {len(kept)}", field="tags")
    return kept


def change(
    db: Database, found: Sequence[Execution], *, added: Sequence[str] = (), removed: Collection[str] = ()
) -> None:
    """Add tags to all of these executions and remove others from them, all or none."""
    with transaction(db):
        for execution in found:
            tags = normalize(tag for tag in (*execution.tags, *added) if tag not in removed)
            if tags != list(execution.tags):
                executions.set_tags(db, execution, tags)

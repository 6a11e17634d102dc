"""Unreported ref updates: compare recorded refs with the actual ones, and store a delivery for the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.model import Repository, is_zero
from hooks.forges import plain
from web.store import deliveries
from web.store.db import Database
from web.store.deliveries import Received

FOLLOWED = ("refs/heads/", "refs/tags/")
Names = Sequence[str]  # the object a ref points to and, for an annotated tag, also its commit


def compare_refs(recorded: Mapping[str, str], there: Mapping[str, Names]) -> dict[str, tuple[str, str]]:
    """Return by ref the commits before and after, of each branch and tag that differs from the recorded state."""
    known = {ref: after for ref, after in recorded.items() if ref.startswith(FOLLOWED)}
    found = {}
    for ref in sorted(known | dict(there)):
        before, names = known.get(ref), there.get(ref, ())
        if before in names or (not names and (before is None or is_zero(before))):
            continue
        zeros = "0" * len(before or names[0])
        found[ref] = (before or zeros, names[0] if names else zeros)
    return found


def store_ref_updates(
    db: Database, repository: Repository, source: str, name: str, moved: Mapping[str, tuple[str, str]]
) -> tuple[int, bool]:
    """Store a delivery with these ref updates in the format of our own hook. Returns the same as `deliveries.store`."""
    lines = [f"ref {before} {after} {ref}" for ref, (before, after) in moved.items()]
    body = "\n".join([plain.FIRST_LINE, f"id {name}", *lines, ""]).encode()
    return deliveries.store(db, Received(repository.id, source, "push", body=body), name)

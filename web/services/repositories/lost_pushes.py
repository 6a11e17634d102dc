"""Recover pushes that updated refs but were not recorded because the server was killed.

Each push to a hosted repository locks a file of its own, and git inherits the lock. A file whose lock is free was left
by a killed server; by then its git has ended too, so the refs can be compared with the recorded pushes. Without this
the pusher, who saw an error, pushes again, reads "Everything up-to-date", and nothing ever runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from core import git, locks
from core.config import Config
from core.model import Repository
from hooks import post_receive
from web.services.context import Context
from web.services.repositories import hosting, ref_updates
from web.store import deliveries, pushes
from web.store.db import Database

BEGUN = "begun."


def mark_push_started(config: Config, repository: Repository) -> IO[bytes]:
    """Mark the start of a push. The caller unlinks the returned file, by its name, once the push is recorded."""
    folder = hosting.get_repository_path(config, repository) / post_receive.FOLDER
    file = open(folder / f"{BEGUN}{secrets.token_hex(8)}", "xb")  # noqa: SIM115  stays open during the push
    locks.take(file.fileno())
    return file


def mark(repository: Path) -> None:
    """Make the next sweep compare a repository's refs with the recorded pushes. No push may be running."""
    folder = repository / post_receive.FOLDER
    if folder.is_dir():
        (folder / f"{BEGUN}{secrets.token_hex(8)}").touch(mode=0o600)


def record_lost_pushes(context: Context, repository: Repository) -> None:
    """Store deliveries for ref updates that a killed server left unrecorded. Cheap if there are none.

    A later push of the same branch may have been recorded, so the branches' reflogs are compared too. What a push does
    that is still running, or is stored and not ingested, is not known yet: the next sweep looks again then.
    """
    db, path = context.db, hosting.get_repository_path(context.config, repository)
    left = [file for file in (path / post_receive.FOLDER).glob(f"{BEGUN}*") if _is_free(file)]
    if not left:
        return
    since = int(min(file.stat().st_mtime for file in left))  # a reflog has whole seconds
    updates, there = git.list_branch_updates(path, since), git.list_refs(path)
    if _has_other_pushes(path, left) or deliveries.find_next_stored(db, repository.id, 0) is not None:
        return
    recorded, known = pushes.map_commits_by_ref(db, repository.id), pushes.list_updates_since(db, repository.id, since)
    for update in updates:
        if update not in known:
            _store(db, repository, {update.ref: (update.before, update.after)})
        recorded[update.ref] = update.after
    if moved := ref_updates.compare_refs(recorded, there):
        _store(db, repository, moved)
    for file in left:
        file.unlink(missing_ok=True)


def _has_other_pushes(path: Path, left: list[Path]) -> bool:
    """Return whether a push is running, or has left a report that is not stored yet."""
    folder = path / post_receive.FOLDER
    return any(file not in left for file in folder.glob(f"{BEGUN}*")) or any(folder.glob(post_receive.PUSH_FILES))


def _store(db: Database, repository: Repository, moved: Mapping[str, tuple[str, str]]) -> None:
    ref_updates.store_ref_updates(db, repository, repository.forge, f"unrecorded-{secrets.token_hex(16)}", moved)


def _is_free(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            return locks.take(opened.fileno(), wait=False)
    except FileNotFoundError:
        return False

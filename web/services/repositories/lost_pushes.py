"""Pushes whose refs moved though nobody lived to write them down.

Each push to us holds a lock on a file of its own, which git inherits. A file whose lock is free was left by a server that
was killed; by then its git is gone too, so the refs can be compared with the pushes that were recorded. Without this the
pusher, who saw an error, pushes again, reads "Everything up-to-date", and nothing ever runs.
"""

from __future__ import annotations

import fcntl
import secrets
from pathlib import Path
from typing import IO

from core import git
from core.config import Config
from core.model import Repository
from hooks import post_receive
from web.services.repositories import hosting, ref_updates
from web.store import commits, deliveries
from web.store.db import Database

BEGUN = "begun."


def begin(config: Config, repository: Repository) -> IO[bytes]:
    """Note that a push begins. The caller unlinks the file, by its name, when the push is written down."""
    folder = hosting.repository_path(config, repository) / post_receive.FOLDER
    file = open(folder / f"{BEGUN}{secrets.token_hex(8)}", "xb")  # noqa: SIM115  open for as long as the push lasts
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def mark(repository: Path) -> None:
    """Have the next sweep compare the refs of a repository, which nobody pushes to now, with the recorded pushes."""
    folder = repository / post_receive.FOLDER
    if folder.is_dir():
        (folder / f"{BEGUN}{secrets.token_hex(8)}").touch(mode=0o600)


def record(db: Database, config: Config, repository: Repository) -> None:
    """Store a delivery for the refs that a killed server left unrecorded. Cheap when there was none."""
    path = hosting.repository_path(config, repository)
    left = [file for file in (path / post_receive.FOLDER).glob(f"{BEGUN}*") if _is_free(file)]
    if not left or deliveries.next_stored(db, repository.id, 0) is not None:
        return  # what is stored is ingested first: it may be all there is
    if moved := ref_updates.between(commits.last_pushes(db, repository.id), _there(path)):
        ref_updates.store(db, repository, repository.forge, f"unrecorded-{secrets.token_hex(16)}", moved)
    for file in left:
        file.unlink(missing_ok=True)


def _there(path: Path) -> dict[str, ref_updates.Names]:
    return {ref: (target, git.resolve(path, ref) or target) for ref, target in git.refs(path).items()}


def _is_free(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True

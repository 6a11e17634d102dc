"""The database, configuration and vault as one argument. A function that needs only the database takes only that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.config import Config
from web.services.vault import Vault
from web.store.db import Database, connect


@dataclass(frozen=True, kw_only=True)
class Context:
    """`db` is a connection of one thread; the others are the same in the whole process."""

    db: Database
    config: Config
    vault: Vault


@contextmanager
def open_context(config: Config, vault: Vault) -> Iterator[Context]:
    """Connect to the database, for a thread or a command, and disconnect at the end."""
    db = connect(config.database)
    try:
        yield Context(db=db, config=config, vault=vault)
    finally:
        db.close()

"""Brings the database up to date: the modules of `web.store.migrations` in the order of their numbers, each applied once.

A migration that has been released is never changed; a change of the schema is a new module.
"""

from __future__ import annotations

import importlib
import pkgutil

from sqlite_utils import Database, Migrations

from web.store import migrations


def migrate(db: Database) -> None:
    """Apply the missing migrations. Idempotent."""
    _all().apply(db)


def _all() -> Migrations:
    """The migrations by name, which is the module's name without its number: databases have recorded that."""
    found = Migrations("pushmill")
    for module in sorted(pkgutil.iter_modules(migrations.__path__), key=lambda module: module.name):
        name = module.name.partition("_")[2]
        found(name=name)(importlib.import_module(f"{migrations.__name__}.{module.name}").migrate)
    return found

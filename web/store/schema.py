"""Migrate the database: apply the modules of `web.store.migrations` in the order of their numbers, each once.

A released migration is never edited; a change of the schema is a new module. The version of a schema is the number of
its newest migration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database, Migrations

from core.errors import CannotStart
from core.locks import hold
from web.store import db as store
from web.store import migrations

BACKUPS = "backups"  # directory next to the database
KEPT_BACKUPS = 3
SET = "pushmill"  # the name of our migrations in the database's own list


def migrate(db: Database, path: Path, say: Callable[[str], None]) -> None:
    """Apply the missing migrations to the database at `path`, after making a copy of it. Idempotent.

    Several processes may call this at once: one migrates and the others wait. A database without tables is not copied.
    Raises CannotStart for a database written by a newer pushmill.
    """
    with hold(path.with_name("migrate.lock")):
        known = _known()
        pending = list_pending_versions(db, known)
        if pending and _applied(db):
            say(f"upgrading the database; a copy of it is in {_copy(path, pending[0])}")
        found = Migrations(SET)
        for module, name in known.values():
            found(name=name)(importlib.import_module(module).migrate)
        found.apply(db)
        if pending:
            db.conn.execute(f"PRAGMA user_version = {max(known)}")


def check(db: Database) -> None:
    """Raise CannotStart unless the database has exactly the schema of this code."""
    if list_pending_versions(db):
        raise CannotStart(
            f"the database has an older schema than this pushmill (version {max(_known())}):"
            " start the server once, which upgrades it"
        )


def list_pending_versions(db: Database, known: dict[int, tuple[str, str]] | None = None) -> list[int]:
    """List the missing versions, ascending. Raises CannotStart if the database has an unknown version."""
    known = known or _known()
    applied = _applied(db)
    if unknown := applied - {name for _, name in known.values()}:
        theirs = db.conn.execute("PRAGMA user_version").fetchone()[0]
        raise CannotStart(
            f"the database has schema version {theirs} ({', '.join(sorted(unknown))}), this pushmill knows version"
            f" {max(known)}: upgrade pushmill, or put back the copy that was made before the upgrade ({BACKUPS}/)"
        )
    return [version for version, (_, name) in known.items() if name not in applied]


def _known() -> dict[int, tuple[str, str]]:
    """Map versions to (module, recorded name), ascending.

    The name is the module's without its number: `m0001_initial` is recorded as `initial`.
    """
    found = sorted(module.name for module in pkgutil.iter_modules(migrations.__path__))
    parts = [(name, *name.removeprefix("m").split("_", 1)) for name in found]
    return {int(number): (f"{migrations.__name__}.{name}", recorded) for name, number, recorded in parts}


def _applied(db: Database) -> set[str]:
    return {migration.name for migration in Migrations(SET).applied(db)}


def _copy(path: Path, version: int) -> Path:
    """Copy the database to `backups/before-<version>.db`, replacing an older copy of the same version."""
    folder = path.parent / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"before-{version}.db"
    store.copy(path, target)
    copies = sorted(folder.glob("before-*.db"), key=lambda file: file.stat().st_mtime_ns)
    for old in copies[:-KEPT_BACKUPS]:
        old.unlink(missing_ok=True)
    return target

"""Environments: the kinds of machine that executions request."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlite_utils import Database

from core import clock
from core.errors import NotFound
from core.model import Environment
from core.names import check_environment, explain_unknown_name
from web.store.db import Row, execute, fetch_row, fetch_rows, insert, needs_transaction

JSON_COLUMNS = ("images", "mounts")


@needs_transaction
def ensure(db: Database, slug: str) -> Environment:
    """Return the environment with this slug, creating it without limits if necessary."""
    found = fetch_row(db, "SELECT * FROM environment WHERE slug = ?", (slug,))
    if found is None:
        values = {"uuid": str(uuid.uuid4()), "slug": check_environment(slug), "created_at": clock.now()}
        insert(db, "environment", values)
    return get_by_slug(db, slug)


def get_by_slug(db: Database, slug: str) -> Environment:
    found = fetch_row(db, "SELECT * FROM environment WHERE slug = ?", (slug,))
    if found is None:
        raise NotFound(explain_unknown_name("environment", slug, map_by_slug(db)))
    return _environment(found)


def list_environments(db: Database) -> list[Environment]:
    """List environments by slug."""
    return [_environment(found) for found in fetch_rows(db, "SELECT * FROM environment ORDER BY slug")]


def list_names(db: Database) -> set[str]:
    """Return everything that names an environment: slugs and UUIDs."""
    return {name for found in fetch_rows(db, "SELECT slug, uuid FROM environment") for name in found.values()}


def map_by_slug(db: Database) -> dict[str, Environment]:
    return {found.slug: found for found in list_environments(db)}


def change(db: Database, environment_id: int, **columns: Any) -> None:
    """Set columns; `images` and `mounts` are given as sequences."""
    values = {name: json.dumps(list(value)) if name in JSON_COLUMNS else value for name, value in columns.items()}
    assignments = ", ".join(f"{name} = ?" for name in values)
    execute(db, f"UPDATE environment SET {assignments} WHERE id = ?", [*values.values(), environment_id])


def remove(db: Database, environment_id: int) -> None:
    execute(db, "DELETE FROM environment WHERE id = ?", (environment_id,))


def _environment(found: Row) -> Environment:
    lists = {name: tuple(json.loads(found[name])) for name in JSON_COLUMNS}
    return Environment(**found | lists | {"autorestart": bool(found["autorestart"])})

"""What requests ask for: paging, filters and the things that they name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from flask import request
from sqlite_utils import Database

from core.errors import InvalidInput, NotFound
from core.model import Execution, Project
from web.store import executions, projects

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000  # clients that follow no `next` ask for up to 9001
NUMBER_DIGITS = 12
T = TypeVar("T")
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True, kw_only=True)
class Page:
    limit: int
    offset: int

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.offset : self.offset + self.limit]


def page(default: int = DEFAULT_LIMIT) -> Page:
    limit = number("limit", default)
    if limit == 0:
        raise InvalidInput("limit must be at least 1, got 0")
    return Page(limit=min(limit, MAX_LIMIT), offset=number("offset", 0))


def number(name: str, default: int) -> int:
    """A whole number from 0 on."""
    given = request.args.get(name, "")
    return whole(given, name) if given else default


def whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS):
        raise InvalidInput(f"{name} must be a whole number from 0 on, got {text[:80]!r}")
    return int(text)


def flag(name: str) -> bool | None:
    """`true` or `false` in any spelling that clients use; None when it is not given."""
    given = request.args.get(name, "").lower()
    if given in TRUE | FALSE:
        return given in TRUE
    if given:
        raise InvalidInput(f"{name} must be true or false, got {given[:80]!r}")
    return None


def words(name: str) -> set[str]:
    """A list with commas between."""
    return {word.strip() for word in request.args.get(name, "").split(",")} - {""}


def fields() -> Mapping[str, Any]:
    """The body's fields: those of a form or of a JSON object."""
    if not request.is_json:
        return request.form
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise InvalidInput("the body is no JSON") from None
    if not isinstance(data, dict):
        raise InvalidInput("the body must be a JSON object")
    return data


def asked_project(db: Database) -> Project | None:
    given = request.args.get("project", "")
    return project(db, given) if given else None


def project(db: Database, identifier: str) -> Project:
    """The project of that uuid or name."""
    try:
        return projects.by_uuid(db, str(uuid.UUID(identifier)))
    except (ValueError, NotFound):
        return projects.by_name(db, identifier)


def execution(db: Database, identifier: str) -> Execution:
    """The execution of that uuid, or `<project>:<number>` or `<project>:latest`."""
    owner, colon, counter = identifier.rpartition(":")
    if not colon:
        return executions.by_uuid(db, identifier)
    found = project(db, owner)
    if counter == "latest":
        return executions.newest(db, found.id)
    return executions.by_counter(db, found.id, whole(counter, "an execution's number"))

"""Typed fields of a request's body, with a problem for each field of another type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from werkzeug.datastructures import MultiDict

from core.errors import InvalidFields, Problem

TYPES = {str: "text", int: "a whole number", dict: "an object", list: "a list", bool: "true or false"}


class Fields:
    """The fields of a JSON object or a form. In a form, objects are JSON text and lists are repeated fields.

    A field that is missing, null or "" has its empty value. `check` raises the problems found so far.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.problems: list[Problem] = []

    def add(self, text: str, field: str, code: str = "invalid") -> None:
        self.problems.append(Problem(text, field, code=code))

    def check(self) -> None:
        if self.problems:
            raise InvalidFields(self.problems)

    def text(self, name: str, *, required: bool = False) -> str:
        found: str = self._typed(name, str, "")
        if required and not found and not any(problem.field == name for problem in self.problems):
            self.add(f"{name} is required", name, "required")
        return found

    def number(self, name: str) -> int | None:
        found: int | None = self._typed(name, int, None)
        return found

    def flag(self, name: str) -> bool | None:
        found: bool | None = self._typed(name, bool, None)
        return found

    def mapping(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._typed(name, dict, {})
        return found

    def items(self, name: str) -> list[Any]:
        found: list[Any] = self._typed(name, list, [])
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        found = self.items(name)
        if wrong := [item for item in found if not isinstance(item, str)]:
            self.add(f"{name}: {wrong[0]!r:.80} is not text", name)
            return ()
        return tuple(found)

    def url_lists(self, name: str) -> dict[str, list[str]]:
        """Return lists of text by name; a single text is a list of one."""
        found = {key: [value] if isinstance(value, str) else value for key, value in self.mapping(name).items()}
        for key, value in found.items():
            if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
                self.add(f'{name}: "{key:.80}" must be a list of URLs', name)
                return {}
        return {key: value for key, value in found.items() if value is not None}

    def _typed(self, name: str, kind: type, empty: Any) -> Any:
        value = self._of_form(name, kind) if isinstance(self.given, MultiDict) else self.given.get(name)
        if value is None or value == "":
            return empty
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.add(f"{name} must be {TYPES[kind]}, got {value!r:.80}", name)
            return empty
        return value

    def _of_form(self, name: str, kind: type) -> Any:
        assert isinstance(self.given, MultiDict)  # noqa: S101
        if kind is list:
            return self.given.getlist(name)
        text = self.given.get(name)
        if kind is str or not text:
            return text
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text

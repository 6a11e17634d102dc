"""The fields of a request's body. A TypedDict declares them; a value of another type is a problem of its field."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Generic,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import orjson
from flask import request
from msgspec import Meta
from werkzeug.datastructures import MultiDict

from core.errors import InvalidFields, InvalidInput, Problem
from web.http.api.parameters import get_current_declaration

Given = Annotated[str, Meta(min_length=1)]  # text that may not be empty
FILE = Meta(extra_json_schema={"format": "binary"})
File = Annotated[str, FILE]  # of a form; the view reads it
Shape = TypeVar("Shape", covariant=True)
SECRET = {"password", "value"}  # not repeated in messages
WORDS: dict[Any, tuple[str, str]] = {
    str: ("text", "text"),
    int: ("a whole number", "whole numbers"),
    bool: ("true or false", "true or false"),
    dict: ("an object", "objects"),
    list: ("a list", "lists"),
}  # for one and for several


class InProject(TypedDict):
    """What is created in a project."""

    project: Annotated[Given, Meta(description="Name or UUID of the project.", examples=["mymodel"])]


class Fields(Generic[Shape]):
    """The fields of a JSON object or a form. In a form, objects are JSON text and lists are repeated fields.

    `values` has the fields of the declared types. A field that is null is missing; so is "" where that does not fit.
    `check` raises the problems found so far.
    """

    def __init__(self, shape: type[Shape]) -> None:
        if get_current_declaration().body is not shape:
            raise RuntimeError(f"{request.endpoint} reads {shape.__name__}, which it does not declare")
        self.given = _given()
        self.problems: list[Problem] = []
        values = {}
        for name, hint in get_field_types(cast(type, shape)).items():
            optional = get_origin(hint) is NotRequired
            value = self._fitting(name, get_args(hint)[0] if optional else hint)
            if value is not None:
                values[name] = value
            elif not optional and not any(problem.field == name for problem in self.problems):
                self.add(f"{name} is required", name, "required")
        self.values = cast(Shape, values)

    def add(self, text: str, field: str, code: str = "invalid") -> None:
        self.problems.append(Problem(text, field, code=code))

    def check(self) -> None:
        if self.problems:
            raise InvalidFields(self.problems)

    def _fitting(self, name: str, hint: Any) -> Any:
        """Return the value of a field; None if it is missing or does not fit, which is a problem then."""
        if FILE in getattr(hint, "__metadata__", ()):
            return ""
        kinds = [kind for kind in _kinds(hint) if kind is not type(None)]
        value = _of_form(self.given, name, kinds) if isinstance(self.given, MultiDict) else self.given.get(name)
        if value is None:
            return None
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError:
            if value != "":
                expected = " or ".join(_words(kind) for kind in kinds)
                got = "" if name in SECRET else f", got {value!r:.80}"
                self.add(f"{name} must be {expected}{got}", name)
            return None


@functools.cache
def get_field_types(shape: type) -> dict[str, Any]:
    """Return the declared types of the fields; reading them costs a millisecond."""
    return get_type_hints(shape, include_extras=True)


def read_fields(shape: type[Shape]) -> Shape:
    """Return the fields of the body. Raises InvalidFields if one does not fit."""
    found = Fields(shape)
    found.check()
    return found.values


def _given() -> Mapping[str, Any]:
    if not request.is_json:
        return request.form
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise InvalidInput("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise InvalidInput("the body must be a JSON object")
    return data


def _of_form(form: MultiDict[str, str], name: str, kinds: list[Any]) -> Any:
    if get_origin(kinds[0]) is list:
        is_text = get_args(kinds[0]) == (str,)
        return [text if is_text else _loaded(text) for text in form.getlist(name)] or None
    text = form.get(name)
    return text if str in kinds or not text else _loaded(text)


def _loaded(text: str) -> Any:
    """Parse JSON text; other text is returned as it is, and does not fit."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _kinds(hint: Any) -> list[Any]:
    """Return the members of a union, without their metadata."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if isinstance(hint, types.UnionType) or get_origin(hint) is Union:
        return [kind for member in get_args(hint) for kind in _kinds(member)]
    return [hint]


def _words(kind: Any, several: bool = False) -> str:
    """Describe a type for people, such as "an object of lists of text"."""
    words = WORDS[get_origin(kind) or kind][several]
    within = _kinds((get_args(kind) or [Any])[-1])[0]
    return words if within is Any else f"{words} of {_words(within, several=True)}"

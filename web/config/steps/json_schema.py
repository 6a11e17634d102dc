"""Apply valohai-yaml's JSON schema to a parsed valohai.yaml, with messages that say what to fix and where.

valohai-yaml's own validator searches its whole schema at each step. With this one, reading 2,200 steps costs 0.35 s of
processor time, five times what PyYAML needs for the text; it was 3.1 s before (`benchmarks/parsing.py`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from valohai_yaml.validation import get_json_schema

from web.config.steps.lines import LineNumbers

HINTED = 200  # errors with line and hint: each takes time, and a hostile file may have thousands


def list_schema_errors(config: Any) -> list[ValidationError]:
    """Return the same errors as `valohai_yaml.validation.validate`."""
    return list(_validator().iter_errors(config))


def describe_schema_errors(errors: Iterable[ValidationError], lines: LineNumbers | None = None) -> list[str]:
    """Describe errors in the order of the file, with their lines if `lines` are given, else with their paths."""
    found: list[tuple[int, str]] = []
    ordered = sorted(errors, key=lambda error: (error.validator != "additionalProperties", str(error.absolute_path)))
    meant: set[tuple[str, str]] = set()  # keys that are missing because they are misspelt
    for error in ordered:
        path = list(error.absolute_path)
        for key, message in _messages(error, path, meant, hinted=len(found) < HINTED):
            found.append(_located(lines if len(found) < HINTED else None, path, message, key))
    return [message for _, message in sorted(found, key=lambda item: item[0])]


def _messages(
    error: ValidationError, path: list[str | int], meant: set[tuple[str, str]], *, hinted: bool
) -> Iterator[tuple[str, str]]:
    """Yield (key or "", message) for each thing that an error is about; what was `meant` is not missing."""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for count, key in enumerate(key for key in error.instance if key not in known):
            near = get_close_matches(key[:80], known, n=1) if hinted and count < HINTED else []
            meant.update((str(path), name) for name in near)
            yield key, explain_unknown_key(key, near)
    elif error.validator == "required":
        missing = next((name for name in error.validator_value if error.message.startswith(repr(name))), "")
        if (str(path), missing) not in meant:
            yield "", f"{_place(path)}: {missing!r} is missing"
    else:
        yield "", _value_message(error, path)


def explain_unknown_key(key: str, near: Sequence[str]) -> str:
    meant = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown key {key[:80]!r}{meant}"


def _value_message(error: ValidationError, path: list[str | int]) -> str:
    if error.instance is None and error.validator == "type":
        return f"{_place(path)} is empty: indent what belongs to it further than {path[-1]!r}" if path else "is empty"
    if error.validator == "enum" and (near := get_close_matches(str(error.instance)[:80], _words(error), n=1)):
        return f"{_place(path)}: {str(error.instance)[:80]!r} is unknown, did you mean {near[0]!r}?"
    return f"{_place(path)}: {error.message}"


def _words(error: ValidationError) -> list[str]:
    return [word for word in error.validator_value if isinstance(word, str)]


def _place(path: Sequence[str | int]) -> str:
    """Name the value at a path, such as "parameters 2: type" in a step; the first part is the item's position."""
    parts: list[str] = []
    for part in path[1:]:
        if isinstance(part, int) and parts:
            parts[-1] += f" {part + 1}"
        else:
            parts.append(str(part))
    return ": ".join(parts[-2:]) or "the file"


def _located(lines: LineNumbers | None, path: Sequence[str | int], message: str, key: str = "") -> tuple[int, str]:
    if lines is None:
        return sys.maxsize, f"{message} ({'.'.join(map(str, path))})"
    line = lines.of(path, key)
    return line or 0, f"line {line}: {message}" if line else message


@functools.cache
def _validator() -> Draft202012Validator:
    """Return a validator that finds the schema of each kind of item by its URI.

    The library's own validator has them below `$defs`, and each reference searches the whole schema: 5 ms a step.
    """
    schema = get_json_schema()
    definitions = schema["$defs"].values()
    registry = Registry().with_resources((item["$id"], DRAFT202012.create_resource(item)) for item in definitions)
    return Draft202012Validator(schema, registry=registry)

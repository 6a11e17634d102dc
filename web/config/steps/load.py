"""Load the bytes of a valohai.yaml as plain JSON values, with limits that make hostile files cheap to reject."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from core.errors import InvalidYaml

YAML_BYTES = 256 * 1024
NODES = 20_000  # keys and values, with aliases expanded
DEPTH = 30
TEXT_CHARS = 1_000_000  # of all scalars together, with aliases expanded
SCALAR_CHARS = 64 * 1024
INTEGER_BITS = 1024
JSON_INTEGERS = range(-(2**63), 2**64)  # range that all of our JSON readers support

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is about five times faster


def load(data: bytes) -> Any:
    """Return the file's only document as JSON values, or None for an empty file.

    Dates become ISO 8601 text; NaN, infinities, integers beyond 64 bits, and keys become text. Raises InvalidYaml for a
    file beyond the limits or not in UTF-8, and PyYAML's errors for text that is not YAML.
    """
    if len(data) > YAML_BYTES:
        raise InvalidYaml([f"valohai.yaml has {len(data):,} bytes; at most {YAML_BYTES:,} are read"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidYaml([f"valohai.yaml is not UTF-8 text (byte {error.start})"]) from None
    _weigh(text)
    return _plain(yaml.load(text, Loader=LOADER))  # noqa: S506 - LOADER is a safe loader


@dataclass
class _Open:
    """A mapping or sequence that has not ended yet."""

    anchor: str | None
    nodes: int
    chars: int
    deepest: int


@dataclass(frozen=True)
class _Weight:
    """The contribution of an alias of a finished node."""

    nodes: int
    chars: int
    height: int


class _Scale:
    """Counts nodes, text and depth of the parser's events, with aliases expanded, before anything is built.

    Merge keys (`<<`) are built by repeating their sources, so the same count limits them.
    """

    def __init__(self) -> None:
        self.nodes = 0
        self.chars = 0
        self.open: list[_Open] = []
        self.anchors: dict[str, _Weight] = {}

    def add(self, weight: _Weight) -> None:
        self.nodes += weight.nodes
        self.chars += weight.chars
        deepest = len(self.open) + weight.height
        if self.open:
            self.open[-1].deepest = max(self.open[-1].deepest, deepest)
        if self.nodes > NODES:
            raise InvalidYaml([f"valohai.yaml has more than {NODES:,} keys and values, repeats by aliases included"])
        if self.chars > TEXT_CHARS:
            raise InvalidYaml([f"valohai.yaml has more than {TEXT_CHARS:,} characters, repeats by aliases included"])
        if deepest > DEPTH:
            raise _too_deep()

    def scalar(self, anchor: str | None, value: str) -> None:
        if len(value) > SCALAR_CHARS:
            raise InvalidYaml([f"valohai.yaml has a value of more than {SCALAR_CHARS:,} characters"])
        if "\0" in value:
            raise InvalidYaml(["valohai.yaml has a NUL character in a value"])
        weight = _Weight(1, len(value), 1)
        self.add(weight)
        if anchor is not None:
            self.anchors[anchor] = weight

    def alias(self, anchor: str) -> None:
        if any(node.anchor == anchor for node in self.open):
            raise InvalidYaml([f"valohai.yaml: the alias *{anchor[:80]} refers to the value that contains it"])
        self.add(self.anchors.get(anchor, _Weight(1, 0, 1)))

    def start(self, anchor: str | None) -> None:
        nodes, chars = self.nodes, self.chars
        self.add(_Weight(1, 0, 1))
        self.open.append(_Open(anchor, nodes, chars, len(self.open) + 1))

    def end(self) -> None:
        node = self.open.pop()
        if self.open:
            self.open[-1].deepest = max(self.open[-1].deepest, node.deepest)
        if node.anchor is not None:
            height = node.deepest - len(self.open)
            self.anchors[node.anchor] = _Weight(self.nodes - node.nodes, self.chars - node.chars, height)


def _weigh(text: str) -> None:
    scale = _Scale()
    for event in _events(text):
        if isinstance(event, yaml.ScalarEvent):
            scale.scalar(event.anchor, event.value)
        elif isinstance(event, yaml.AliasEvent):
            scale.alias(str(event.anchor))
        elif isinstance(event, yaml.CollectionStartEvent):
            scale.start(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            scale.end()


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the parser's events. libyaml has its own depth limit, which it may reach before the first event."""
    try:
        yield from yaml.parse(text, Loader=LOADER)
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error):
            raise _too_deep() from None
        raise


def _too_deep() -> InvalidYaml:
    return InvalidYaml([f"valohai.yaml is nested more than {DEPTH} levels deep"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # databases reject "\ud800"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise InvalidYaml([f"valohai.yaml has a value of type {type(value).__name__}, which is not supported"])


def _integer(value: int) -> int | str:
    if value in JSON_INTEGERS:
        return value
    if value.bit_length() > INTEGER_BITS:
        raise InvalidYaml([f"valohai.yaml has a number of more than {INTEGER_BITS} bits"])
    return str(value)


def _key(key: Any) -> str:
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return str(_plain_scalar(key))

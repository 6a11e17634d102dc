"""Parse a filter into comparisons joined by and, or, not and parentheses. `terms` gives comparisons their meaning.

Words side by side are joined by "and". Errors name the place, counted in characters from 1, the text and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import InvalidInput

MAX_CHARS = 1000
MAX_TERMS = 20
MAX_DEPTH = 10  # of parentheses and "not"
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~")
TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()]) | (?P<operator>[=!<>~]+) | "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""| (?P<word>[^\s()"'=!<>~]+) | (?P<bad>\S))""",
    re.VERBOSE | re.DOTALL,
)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
JOINTS = ("and", "or", "not")


class Leaf:
    """A part of a filter without parts."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Leaf):
    """`at` and `value_at` are the places of the name and of the value. A word alone has no `operator`, and no name."""

    name: str
    operator: str
    value: str
    at: int
    value_at: int


@dataclass(frozen=True, kw_only=True)
class Not:
    part: Node


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Parts that must all be true, or of which one must be true if `either`."""

    parts: tuple[Node, ...]
    either: bool


Node = Leaf | Not | Joined


@dataclass(frozen=True, kw_only=True)
class Clause:
    """A part of a filter that must be true: as it was written, and what it means."""

    text: str
    node: Node


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str  # "mark", "operator", "text" for a quoted one, "word", or "end"
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words

    @property
    def closes(self) -> bool:
        return self.kind == "mark" and self.text == ")"


def parse(text: str) -> tuple[Clause, ...]:
    """Return the parts that must all be true; empty for a blank filter. Raises InvalidInput."""
    if len(text) > MAX_CHARS:
        raise InvalidInput(f"the filter has {len(text):,} characters; it may have at most {MAX_CHARS:,}")
    return _Parser(text).clauses()


def make_error(at: int, text: str) -> InvalidInput:
    return InvalidInput(f"character {at + 1} of the filter: {text}")


class _Parser:
    """A recursive descent: `or` binds weakest, then `and`, then `not`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.place = 0
        self.terms = 0

    def clauses(self) -> tuple[Clause, ...]:
        if self.next.kind == "end":
            return ()
        start, found = self.next.start, self._either(0)
        if self.next.kind != "end":
            raise make_error(self.next.start, '")" closes nothing: remove it, or add the "(" that it closes')
        if isinstance(found, Joined) and found.either:
            return (Clause(text=self.text[start:].strip(), node=found),)
        return tuple(self.top)

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def _take(self) -> _Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _either(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self.next.is_word("or"):
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Joined(parts=tuple(parts), either=True)

    def _all(self, depth: int) -> Node:
        found: list[Clause] = []
        while not found or not (self.next.kind == "end" or self.next.closes or self.next.is_word("or")):
            if found and self.next.is_word("and"):
                self._take()
            start = self.next.start
            node = self._not(depth)
            found.append(Clause(text=self.text[start : self.tokens[self.place - 1].end], node=node))
        if depth == 0:
            self.top = found
        return found[0].node if len(found) == 1 else Joined(parts=tuple(one.node for one in found), either=False)

    def _not(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise make_error(self.next.start, f"parentheses and not are nested at most {MAX_DEPTH} levels deep")
        if self.next.is_word("not"):
            self._take()
            return Not(part=self._not(depth + 1))
        if self.next.kind == "mark" and self.next.text == "(":
            opened = self._take()
            found = self._either(depth + 1)
            if not self.next.closes:
                raise make_error(opened.start, '"(" is not closed: add ")"')
            self._take()
            return found
        return self._term()

    def _term(self) -> Comparison:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise make_error(self.next.start, f"a filter has at most {MAX_TERMS} terms")
        name = self._value("a name or a word")
        if self.next.kind != "operator":
            return Comparison(name="", operator="", value=name.text, at=name.start, value_at=name.start)
        operator = self._take()
        if operator.text not in OPERATORS:
            raise make_error(operator.start, f'"{operator.text}" is not an operator; there are {" ".join(OPERATORS)}')
        value = self._value(f'a value after "{operator.text}"')
        return Comparison(name=name.text, operator=operator.text, value=value.text, at=name.start, value_at=value.start)

    def _value(self, what: str) -> _Token:
        if self.next.kind not in ("word", "text") or self.next.is_word(*JOINTS):
            shown = f'found "{self.next.text}"' if self.next.kind != "end" else "the filter ends"
            quoted = "; quote it if it is meant as text" if self.next.kind != "end" else ""
            raise make_error(self.next.start, f"{what} is missing, {shown}{quoted}")
        return self._take()


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while found := TOKEN.match(text, place):
        kind = str(found.lastgroup)
        start, place = found.start(kind), found.end()
        if kind == "bad":
            raise make_error(start, f"{found['bad']} opens a text that is not closed: add {found['bad']} at its end")
        if kind in ("double", "single"):
            yield _Token(kind="text", text=ESCAPED.sub(r"\1", found[kind]), start=start - 1, end=place)
        else:
            yield _Token(kind=kind, text=found[kind], start=start, end=place)
    yield _Token(kind="end", text="", start=len(text), end=len(text))

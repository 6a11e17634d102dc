"""Conditions that a valohai.yaml writes on values: `loss < 0.1`, `metadata.accuracy >= 0.9`. The only user of leval."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from leval.evaluator import Evaluator
from leval.excs import NoSuchFunction, NoSuchValue
from leval.rewriter_evaluator import RewriterEvaluator
from leval.universe.simple import SimpleUniverse
from leval.universe.verifier import VerifierUniverse

MAX_CHARS = 500  # bounds every number that it can compute: there is no power, and products of numbers alone
MAX_DEPTH = 10
SHOWN_CHARS = 100
READ = 500  # conditions that are kept as read: each is asked of hundreds of executions, again and again
KNOWN = 'names, numbers, texts, "and", "or", "not", comparisons of two values, and + - * / // are known'


def problem(expression: str) -> str:
    """Why it is no condition, "" when it is one."""
    shown = repr(expression)[:SHOWN_CHARS]
    if len(expression) > MAX_CHARS:
        return f"{shown}… has {len(expression):,} characters; a condition has at most {MAX_CHARS}"
    try:
        _Evaluator(_Verifier(), max_depth=MAX_DEPTH).evaluate_expression(expression)
    except Exception:  # noqa: BLE001 - whatever the parser or the library says of it, it cannot be used
        return f"{shown} is no condition: {KNOWN}, nested at most {MAX_DEPTH} deep"
    return ""


def names(expression: str) -> frozenset[str]:
    """The names of the values that a condition looks at; none for what is no condition."""
    verifier = _Verifier()
    try:
        _Evaluator(verifier, max_depth=MAX_DEPTH, max_length=MAX_CHARS).evaluate_expression(expression)
    except Exception:  # noqa: BLE001 - as in problem()
        return frozenset()
    return frozenset(verifier.names)


def holds(expression: str, values: Mapping[str, Any]) -> bool:
    """Whether it is true of the values, by their names, which may have dots. Not while a value it names is missing.

    Raises nothing, whatever is written or given, and takes no long time.
    """
    evaluator = _Evaluator(
        _Values(values),
        max_depth=MAX_DEPTH,
        max_length=MAX_CHARS,
        loose_is_operator=False,
        loose_not_operator=False,
    )
    try:
        return bool(evaluator.evaluate_expression(expression))
    except Exception:  # noqa: BLE001 - texts are compared with numbers, numbers divided by 0, and worse
        return False


class _Reader(RewriterEvaluator):
    """Lets names be words of Python's own, as the linter does: `lambda > 0.5`."""

    def rewrite_keyword(self, kw: str) -> str:
        return f"_{kw}"


@lru_cache(maxsize=READ)
def _read(expression: str) -> ast.AST:
    return _Reader(VerifierUniverse()).parse(expression)


class _Evaluator(Evaluator):
    def parse(self, expression: str) -> ast.AST:
        return _read(expression)


class _Verifier(VerifierUniverse):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get_value(self, name: str | tuple[str, ...]) -> Any:
        plain = name if isinstance(name, str) else ".".join(name)
        self.names |= {plain, plain[1:]} if keyword.iskeyword(plain[1:]) else {plain}
        return True

    def evaluate_function(self, name: str, arg_getters: list[Callable[[], Any]]) -> Any:  # noqa: ARG002
        raise NoSuchFunction(name)


class _Values(SimpleUniverse):
    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(functions={}, values={})
        self._named = values

    def get_value(self, name: str | tuple[str, ...]) -> Any:
        plain = name if isinstance(name, str) else ".".join(name)
        if plain not in self._named and keyword.iskeyword(plain[1:]):
            plain = plain[1:]
        if plain not in self._named:
            raise NoSuchValue(plain)
        return self._named[plain]

    def evaluate_bool_op(self, op: Any, value_getters: list[Callable[[], Any]]) -> Any:
        values = [getter() for getter in value_getters]  # all of them: none may be missing
        return super().evaluate_bool_op(op, [partial(bool, value) for value in values])

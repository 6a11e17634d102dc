"""Conditions on values in a valohai.yaml: `loss < 0.1`, `metadata.accuracy >= 0.9`. The only module that uses leval."""

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

MAX_CHARS = 500  # bounds every computed number: there is no power, only products of numbers
MAX_DEPTH = 10
SHOWN_CHARS = 100
READ = 500  # parsed conditions in the cache: each is evaluated for hundreds of executions
KNOWN = 'use names, numbers, text, "and", "or", "not", comparisons of two values, and + - * / //'


def find_problem(expression: str) -> str:
    """Return why `expression` is not a valid condition, "" if it is one."""
    shown = repr(expression)[:SHOWN_CHARS]
    if len(expression) > MAX_CHARS:
        return f"{shown}… has {len(expression):,} characters; a condition has at most {MAX_CHARS}"
    try:
        _Evaluator(_Verifier(), max_depth=MAX_DEPTH).evaluate_expression(expression)
    except Exception:  # noqa: BLE001 - any error of the parser or the library makes it unusable
        return f"{shown} is not a valid condition: {KNOWN}, nested at most {MAX_DEPTH} levels deep"
    return ""


def list_variable_names(expression: str) -> frozenset[str]:
    """Return the names of the values that a condition uses; empty for an invalid condition."""
    verifier = _Verifier()
    try:
        _Evaluator(verifier, max_depth=MAX_DEPTH, max_length=MAX_CHARS).evaluate_expression(expression)
    except Exception:  # noqa: BLE001 - as in find_problem()
        return frozenset()
    return frozenset(verifier.names)


def evaluate(expression: str, values: Mapping[str, Any]) -> bool:
    """Return whether the condition is true for the values, whose names may have dots.

    False while a named value is missing. Never raises and never takes long, whatever the input.
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
    except Exception:  # noqa: BLE001 - for example a text compared with a number, or a division by 0
        return False


class _ConditionReader(RewriterEvaluator):
    """Accepts Python keywords as names, as the linter does: `lambda > 0.5`."""

    def rewrite_keyword(self, kw: str) -> str:
        return f"_{kw}"


@lru_cache(maxsize=READ)
def _read(expression: str) -> ast.AST:
    return _ConditionReader(VerifierUniverse()).parse(expression)


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
        values = [getter() for getter in value_getters]  # all, to notice a missing one
        return super().evaluate_bool_op(op, [partial(bool, value) for value in values])

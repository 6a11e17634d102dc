"""The shape of the errors of API v0: that of Django REST framework, which `vh` prints well.

Invalid input (400) is `{"FIELD": [{"message": …, "code": …}]}`, with `non_field_errors` as the field if no single field
is wrong; 413 for a file that exceeds a limit has this shape too. All other errors are `{"detail": "one sentence"}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import orjson
from flask import Response

from core.errors import InvalidFields, InvalidInput, Problem, PushmillError

PREFIX = "/api/v0/"
GENERAL = "non_field_errors"


class Detail(TypedDict):
    """An error in one sentence."""

    detail: str


class FieldProblem(TypedDict):
    """What is wrong with a field; `code` is for programs."""

    message: str
    code: str


FieldErrors = dict[str, list[FieldProblem]]


def fill(response: Response, sentence: str, error: PushmillError | None = None) -> Response:
    """Make an error the body of a response that has the error's status; `sentence` describes it."""
    body: Detail | FieldErrors = {"detail": sentence}
    if response.status_code == 400 or isinstance(error, InvalidInput):
        body = _by_field(_problems(error) if error else [Problem(sentence)])
    response.data = orjson.dumps(body)
    response.mimetype = "application/json"
    return response


def _problems(error: PushmillError) -> Sequence[Problem]:
    if isinstance(error, InvalidFields):
        return error.problems
    field, code = (error.field, error.code) if isinstance(error, InvalidInput) else ("", "invalid")
    return [Problem(str(error), field, code=code)]


def _by_field(problems: Sequence[Problem]) -> FieldErrors:
    found: dict[str, list[FieldProblem]] = {}
    for problem in problems:
        found.setdefault(problem.field or GENERAL, []).append({"message": str(problem), "code": problem.code})
    return found

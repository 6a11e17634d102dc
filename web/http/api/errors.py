"""The shape of the errors of API v0, which is that of Django REST framework and what `vh` prints well.

Invalid input (400) is `{"FIELD": [{"message": …, "code": …}]}`, with `non_field_errors` as the field if no single field
is wrong. All other errors are `{"detail": "one sentence"}`.
"""

from __future__ import annotations

import orjson
from flask import Response

PREFIX = "/api/v0/"
GENERAL = "non_field_errors"


def fill(response: Response, sentence: str, field: str = "", code: str = "invalid") -> Response:
    """Make the error described by `sentence` the body of a response that has the error's status."""
    problem = {field or GENERAL: [{"message": sentence, "code": code}]}
    response.data = orjson.dumps(problem if response.status_code == 400 else {"detail": sentence})
    response.mimetype = "application/json"
    return response

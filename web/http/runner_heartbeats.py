"""Answer the heartbeats of runners before Flask does.

Most requests of an idle server are heartbeats, and Flask takes longer for a request than reading and answering one. What
is not a valid heartbeat of a known runner goes on to Flask: the view of the same address answers it with an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
from flask import Flask

from core.errors import InvalidInput
from core.model import Runner
from core.wire import RunnerReport
from web.http import auth
from web.http.runner_api import parse_report, receive_heartbeat
from web.store import runners

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATH = "/api/runner/heartbeat"
HEADERS = [
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]


class RunnerHeartbeats:
    """WSGI middleware of the application `app`, in front of its views."""

    def __init__(self, app: Flask) -> None:
        self._server: auth.Server = app.extensions["pushmill"]
        self._app = app.wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or (found := self._read(environ)) is None:
            return self._app(environ, start_response)
        answer = orjson.dumps(receive_heartbeat(self._server, *found))
        start_response("200 OK", [*HEADERS, ("Content-Length", str(len(answer)))])
        return [answer]

    def _read(self, environ: WSGIEnvironment) -> tuple[Runner, RunnerReport] | None:
        """Return the runner and its report; None if the request is to be refused, or is not whole yet."""
        body = environ["wsgi.input"]
        if environ["REQUEST_METHOD"] != "POST" or not isinstance(body, io.BytesIO):
            return None
        token = auth.parse_token(environ.get("HTTP_AUTHORIZATION", ""))
        runner = runners.find_by_token(self._server.get_context().db, token) if token else None
        try:
            return None if runner is None else (runner, parse_report(body.getvalue()))
        except InvalidInput:
            return None

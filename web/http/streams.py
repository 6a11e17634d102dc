"""Streams of server-sent events: their bound, and what the server needs to serve one without a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import orjson
from flask import Flask, Response, copy_current_request_context, current_app, request
from werkzeug.exceptions import ServiceUnavailable

from web.http import auth

HEARTBEAT_S = 15.0
BEAT = ":\nevent: beat\ndata: {}\n\n"  # an event, since scripts do not see comments
RETRY_S = 5
EXECUTIONS = "executions"  # topic of a change that may concern any execution
RIGHTS = "rights"  # topic of all streams: the rights of a user may have ended
SLOTS = "pushmill-streams"
FOLLOWER = "pushmill.follower"  # key in the WSGI environment of a server that needs no thread for each follower


class Follower(Protocol):
    """A stream: the server calls `look` when one of its topics changes, and every `poll_s`; at most once in `gap_s`."""

    poll_s: float
    behind: bool  # more can be sent right away

    @property
    def topics(self) -> frozenset[str]: ...

    @property
    def gap_s(self) -> float: ...

    def look(self) -> tuple[bytes, bool]:
        """Return what there is to send, and whether it is the last. Called from any thread."""
        ...

    def close(self) -> None: ...


def init_app(app: Flask) -> None:
    followers = app.extensions["pushmill"].config.server.followers
    app.extensions[SLOTS] = threading.BoundedSemaphore(max(1, followers))


def stream(make: Callable[[Callable[[], None]], Follower]) -> Response:
    """Answer with the stream of a follower, which calls its argument when it is closed. 503 with too many streams."""
    response = Response(mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    if request.method == "HEAD":
        return response
    slots: threading.BoundedSemaphore = current_app.extensions[SLOTS]
    if not slots.acquire(blocking=False):
        most = auth.get_server().config.server.followers
        raise ServiceUnavailable(
            f"{most} live pages are open, the most of this server: this one polls.", retry_after=RETRY_S
        )
    follower = make(slots.release)
    follower.look = copy_current_request_context(follower.look)  # type: ignore[method-assign]
    request.environ[FOLLOWER] = follower
    response.automatically_set_content_length = False
    return response


def format_event(kind: str, data: Any, position: object) -> str:
    return f"id: {position}\nevent: {kind}\ndata: {orjson.dumps(data).decode()}\n\n"

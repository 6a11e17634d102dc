"""Turn errors into responses; nothing else does.

Errors of API v0 have the shape of `web.http.api.errors`; others below `/api/` are `{"detail": "one sentence"}`; the
rest are a page, or plain text for git and forges.
"""

from __future__ import annotations

import logging

import orjson
from flask import Flask, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from jinja2 import TemplateNotFound
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound, Unauthorized, default_exceptions
from werkzeug.http import HTTP_STATUS_CODES

from core import errors
from core.errors import PushmillError
from web.http.api import errors as v0_errors
from web.services.throttle import WINDOW_S

logger = logging.getLogger(__name__)

STATUS: tuple[tuple[type[PushmillError], int], ...] = (
    (errors.NotFound, 404),
    (errors.Denied, 403),
    (errors.TooMany, 429),
    (errors.Conflict, 409),
    (errors.InputTooLarge, 413),
    (errors.InvalidInput, 400),
    (errors.DiskFull, 507),
)
FOR_PROGRAMS = ("/git/", "/hooks/")  # git prints plain text, a forge shows it with the delivery


def init_app(app: Flask) -> None:
    app.register_error_handler(PushmillError, _pushmill_error)
    app.register_error_handler(HTTPException, _http_error)


def get_response_status(error: PushmillError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def _pushmill_error(error: PushmillError) -> Response:
    status = get_response_status(error)
    if status == 500:
        logger.error("%s %s", request.method, request.path, exc_info=error)
    headers = {"Retry-After": f"{WINDOW_S:.0f}"} if isinstance(error, errors.TooMany) else None
    response = Response(status=status, headers=headers)
    if request.path.startswith(v0_errors.PREFIX):
        return v0_errors.fill(response, str(error), error)
    return _fill(response, str(error))


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:  # the error carries a complete response
        return error.get_response()
    response = Response(status=error.code or 500, headers=_headers(error))
    return _fill(response, _sentence(error))


def _headers(error: HTTPException) -> list[tuple[str, str]]:
    """Return the error's own headers, such as Allow and Retry-After."""
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    if isinstance(error, Unauthorized) and request.path.startswith("/api/"):
        headers.append(("WWW-Authenticate", "Token"))
    return headers


def _sentence(error: HTTPException) -> str:
    if isinstance(error, InternalServerError):
        return "Something went wrong on the server. Its log has the details."
    if isinstance(error, NotFound) and error.description == NotFound.description:
        return f"There is no {request.path[:200]} here."
    return error.description or default_exceptions[error.code or 500].description or ""


def _fill(response: Response, sentence: str) -> Response:
    if request.path.startswith(v0_errors.PREFIX):
        v0_errors.fill(response, sentence)
    elif request.path.startswith("/api/"):
        response.data, response.mimetype = orjson.dumps({"detail": sentence}), "application/json"
    elif request.path.startswith(FOR_PROGRAMS):
        response.data, response.mimetype = f"{sentence}\n".encode(), "text/plain"
    else:
        _fill_page(response, sentence)
    return response


def _fill_page(response: Response, sentence: str) -> None:
    g.refused = sentence
    status = response.status_code
    title = HTTP_STATUS_CODES.get(status, "Error")
    try:
        page = render_template("error.html", status=status, title=title, message=sentence)
        response.data, response.mimetype = page.encode(), "text/html"
    except TemplateNotFound:
        response.data, response.mimetype = f"{status} {title}: {sentence}\n".encode(), "text/plain"

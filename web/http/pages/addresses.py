"""URLs: the server's own as seen by users, and redirect targets that a browser sends."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from web.http import auth


def get_base_url() -> str:
    """Return the server's URL as its users reach it, without a trailing slash."""
    return (auth.get_server().config.server.url or request.url_root).rstrip("/")


def choose_local_path(given: str) -> str:
    """Return the given path if it is on this server, else "/": links may contain anything."""
    plain = given.isprintable() and "\\" not in given
    parts = urlsplit(given) if plain and given.startswith("/") and not given.startswith("//") else None
    return given if parts is not None and not parts.scheme and not parts.netloc else "/"


def way_back() -> str:
    """Return the path of the page that led here, if it is another one of this server, else "/"."""
    parts = urlsplit(request.referrer or "")
    if f"{parts.scheme}://{parts.netloc}/" != request.host_url:
        return "/"
    path = choose_local_path(parts.path + (f"?{parts.query}" if parts.query else ""))
    is_here = path == request.full_path.rstrip("?") and request.method == "GET"
    return "/" if is_here or not _is_page(parts.path) else path


def _is_page(path: str) -> bool:
    """Return whether a path can be opened; those that only take forms cannot, although browsers show their answers."""
    try:
        current_app.create_url_adapter(request).match(path, method="GET")  # type: ignore[union-attr]
    except RequestRedirect:
        return True
    except HTTPException:
        return False
    return True

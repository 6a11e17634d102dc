"""Addresses: our own as others see it, and those that a browser hands us to go to."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from web.http import auth


def base_url() -> str:
    """The server as its users reach it, without a slash at the end."""
    return (auth.server().config.server.url or request.url_root).rstrip("/")


def local_path(given: str) -> str:
    """A path on this server, or "/" for anything else that a link may have smuggled in."""
    plain = given.isprintable() and "\\" not in given
    parts = urlsplit(given) if plain and given.startswith("/") and not given.startswith("//") else None
    return given if parts is not None and not parts.scheme and not parts.netloc else "/"

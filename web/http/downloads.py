"""How output files leave the server, and addresses by which a client without credentials may fetch one for a while."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

from flask import Response, send_file

from core.errors import NotFound
from core.model import Datum
from web.services.vault import Vault
from web.store import data

LIFETIME_S = 3600
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def path(vault: Vault, datum: Datum) -> str:
    """The path and query of an address of `datum` that is good for an hour.

    The last part of the path only names the file for who reads it: the uuid and the signature decide.
    """
    query = urlencode({"signature": vault.sign(_what(datum.uuid), LIFETIME_S)})
    return f"/data/{datum.uuid}/{url_name(datum)}?{query}"


def url_name(datum: Datum) -> str:
    """The last part of a datum's name, harmless in an address."""
    return UNSAFE.sub("_", datum.name.rpartition("/")[2]).lstrip(".") or "output"


def send(outputs_dir: Path, datum: Datum) -> Response:
    """The file, or the ranges of it that are asked for. Whatever it holds, a browser only ever saves it."""
    path = data.path(outputs_dir, datum.uuid)
    if not path.is_file():
        raise NotFound(f"The content of {datum.name!r} is no longer on the server.")
    response = send_file(
        path, "application/octet-stream", as_attachment=True, download_name=_file_name(datum.name),
        conditional=True, etag=datum.sha256,
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def allowed(vault: Vault, datum_uuid: str, signature: str) -> bool:
    return vault.check(_what(datum_uuid), signature)


def _what(datum_uuid: str) -> str:
    return f"download {datum_uuid}"


def _file_name(name: str) -> str:
    """The last part of a datum's name, as a header can hold it."""
    last = name.rpartition("/")[2]
    return "".join(character if character.isprintable() else "_" for character in last) or "output"

"""Serve output files, and sign temporary URLs by which clients without credentials may fetch them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from flask import Response, send_file
from itsdangerous import TimestampSigner

from core.errors import NotFound
from core.text import make_printable
from web.services.vault import Vault
from web.store import data
from web.store.data import Datum

LIFETIME_S = 3600
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def make_path(vault: Vault, datum: Datum) -> str:
    """Return path and query of a URL of `datum` that is valid for an hour.

    The last part of the path only shows the file's name to readers; the uuid and the signature decide.
    """
    signature = _signer(vault).sign(datum.uuid).decode().removeprefix(f"{datum.uuid}.")
    return f"/data/{datum.uuid}/{make_url_name(datum)}?signature={signature}"


def make_url_name(datum: Datum) -> str:
    """Return the last part of a datum's name with only characters that are safe in a URL."""
    return UNSAFE.sub("_", datum.name.rpartition("/")[2]).lstrip(".") or "output"


def get_content_path(outputs_dir: Path, datum: Datum) -> Path:
    """Return where the content of a datum is. Raises NotFound."""
    path = data.get_path(outputs_dir, datum.uuid)
    if datum.purged_at is not None:
        raise NotFound(f"{datum.name!r} was purged on {datum.purged_at[:10]}.")
    if not path.is_file():
        raise NotFound(f"The content of {datum.name!r} is no longer on the server.")
    return path


def send(outputs_dir: Path, datum: Datum) -> Response:
    """Return the file or the requested ranges. Browsers always save it and never render it, whatever its content."""
    path = get_content_path(outputs_dir, datum)
    response = send_file(
        path, "application/octet-stream", as_attachment=True, download_name=_file_name(datum.name),
        conditional=True, etag=datum.sha256,
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def is_valid_signature(vault: Vault, datum_uuid: str, signature: str) -> bool:
    return _signer(vault).validate(f"{datum_uuid}.{signature}", max_age=LIFETIME_S)


def _signer(vault: Vault) -> TimestampSigner:
    return TimestampSigner(vault.derived("downloads"), digest_method=hashlib.sha256)


def _file_name(name: str) -> str:
    """Return the last part of a datum's name with only characters allowed in a header."""
    return make_printable(name.rpartition("/")[2], "_") or "output"

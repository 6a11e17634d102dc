"""The bytes of output files, at addresses that carry their own permission."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, request, send_file

from core.errors import Denied, NotFound
from web import access
from web.services import downloads
from web.store import data

blueprint = Blueprint("downloads", __name__)


@blueprint.get("/data/<uuid:datum>/<name>")
@access.signed
def download(datum: uuid.UUID, name: str) -> Response:  # noqa: ARG001
    """The file, or the ranges of it that are asked for. Whatever it holds, a browser only ever saves it."""
    server = access.server()
    if not downloads.allowed(server.vault, str(datum), request.args.get("signature", "")):
        raise Denied("This link has expired or is not whole; get a new one where you found it.")
    found = data.by_uuid(access.db(), str(datum))
    path = data.path(server.config.outputs_dir, found.uuid)
    if not path.is_file():
        raise NotFound(f"The content of {found.name!r} is no longer on the server.")
    response = send_file(
        path, "application/octet-stream", as_attachment=True, download_name=_file_name(found.name),
        conditional=True, etag=found.sha256,
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _file_name(name: str) -> str:
    """The last part of a datum's name, as a header can hold it."""
    last = name.rpartition("/")[2]
    return "".join(character if character.isprintable() else "_" for character in last) or "output"

"""The bytes of output files, at addresses that carry their own permission."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, request

from core.errors import Denied
from web.http import auth, downloads
from web.store import data

blueprint = Blueprint("downloads", __name__)


@blueprint.get("/data/<uuid:datum>/<name>")
@auth.signed
def download(datum: uuid.UUID, name: str) -> Response:  # noqa: ARG001
    """The file, or the ranges of it that are asked for. Whatever it holds, a browser only ever saves it."""
    server = auth.server()
    if not downloads.allowed(server.vault, str(datum), request.args.get("signature", "")):
        raise Denied("This link has expired or is not whole; get a new one where you found it.")
    return downloads.send(server.config.outputs_dir, data.by_uuid(auth.db(), str(datum)))

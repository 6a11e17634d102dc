"""Download output files at signed URLs, without other credentials."""

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
    """Return the file or the requested ranges. Browsers always save it and never render it, whatever its content."""
    server = auth.get_server()
    if not downloads.is_valid_signature(server.vault, str(datum), request.args.get("signature", "")):
        raise Denied("This link has expired or is incomplete: get a new one where you found it.")
    return downloads.send(server.config.outputs_dir, data.get_by_uuid(auth.get_db(), str(datum)))

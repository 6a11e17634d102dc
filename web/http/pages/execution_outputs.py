"""The outputs of an execution as one archive, and the images and sounds that pages preview."""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response, send_file

from core.errors import Conflict, NotFound
from core.model import Execution
from core.units import format_size
from web.http import auth, downloads
from web.http.pages.execution_page import PATH, get_project_and_execution
from web.services.presentation import previews
from web.store import data
from web.store.data import Datum
from web.store.db import Database

blueprint = Blueprint("execution_outputs", __name__)

ZIP_FILES, ZIP_BYTES = 5000, 64 * 2**30  # most files and bytes of one archive
BLOCK_BYTES = 256 * 1024
DATE = (1980, 1, 1, 0, 0, 0)  # archives of the same files are equal


class _Pieces(io.RawIOBase):
    """Collects what a ZipFile writes until it is taken. It cannot seek, so sizes follow each file."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self._written += piece
        return len(piece)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


@blueprint.get(f"{PATH}/outputs.zip")
@auth.read
def archive(name: str, counter: int) -> Response:
    """Download all outputs as a ZIP archive, made while it is sent."""
    db, server = auth.get_db(), auth.get_server()
    project, execution = get_project_and_execution(db, name, counter)
    count, size = data.sum_outputs(db, execution.id)
    if count > ZIP_FILES or size > ZIP_BYTES:
        limits = f"an archive has at most {ZIP_FILES:,} files and {format_size(ZIP_BYTES)}"
        raise Conflict(f"#{counter} has {count:,} outputs, {format_size(size)}; {limits}: use vh exec outputs")
    files = [
        (datum.name, path)
        for datum in data.list_outputs(db, execution.id)
        if datum.purged_at is None and (path := data.get_path(server.config.outputs_dir, datum.uuid)).is_file()
    ]
    response = Response(_zipped(files), mimetype="application/zip")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-{execution.counter}.zip")
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.get(f"{PATH}/media/<uuid:datum>")
@auth.read
def media(name: str, counter: int, datum: uuid.UUID) -> Response:
    """Serve an image or sound to be shown by a page; nothing else, whatever its name."""
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    path = downloads.get_content_path(auth.get_server().config.outputs_dir, find_output(db, execution, str(datum)))
    kind = previews.detect_media_type(path)
    if not kind:
        raise NotFound(f"output {datum} has no preview")
    response = send_file(path, kind, conditional=True)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def find_output(db: Database, execution: Execution, datum_uuid: str) -> Datum:
    found = data.get_by_uuid(db, datum_uuid)
    if found.execution_id != execution.id:
        raise NotFound(f"execution #{execution.counter} has no output {datum_uuid}")
    return found


def _zipped(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, path in files:
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while block := source.read(BLOCK_BYTES):
                    target.write(block)
                    yield pieces.take()
    yield pieces.take()

"""Receive ad-hoc code: `/projects/<identifier>/import-package/`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from typing import IO, Annotated, Any, BinaryIO, NotRequired, TypedDict

from flask import request
from msgspec import Meta
from werkzeug.formparser import FormDataParser

from core.config import MIB, Config
from core.errors import DiskFull, InputTooLarge, InvalidInput, PushmillError
from core.units import format_size
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Created, Json
from web.http.api.body import File
from web.http.api.parameters import takes
from web.services import disk
from web.services.repositories import adhoc
from web.services.repositories.adhoc import Package

READ_ANYWAY = 8  # a client reads the answer only after sending its body: up to this many times the limit is read
FORM_MEMORY, PARTS = MIB, 16  # most bytes of fields without a file, and most parts of the form


class NewPackage(TypedDict):
    """Code in an archive."""

    data: Annotated[File, Meta(description="A gzipped tar archive.")]
    description: NotRequired[str]
    yaml_path: NotRequired[Annotated[str, Meta(description="By default that of the project.")]]


@auth.launch
@takes(body=NewPackage, fails=(507,))
def import_package(identifier: str) -> Created[shapes.Commit] | Json[shapes.Commit]:
    """Store ad-hoc code as a commit: 201 if it is new, 200 if it is known already."""
    context = auth.get_context()
    project = query.get_project(context.db, identifier)
    upload = _Upload(context.config)
    request.max_content_length = READ_ANYWAY * context.config.limits.package_bytes + MIB
    try:
        given = _received(upload)
        commit, is_new = adhoc.store(context, project, auth.get_current_user(), _package(upload, given))
    finally:
        upload.close()
    shown = serialize.build_commit(request.url_root, project, commit)
    return Created(shown) if is_new else Json(shown)


class _Upload:
    """The file of a request, written to an unnamed temporary file that the kernel removes with its last user.

    What exceeds the limits is read and dropped, so that the client can read the reason.
    """

    def __init__(self, config: Config) -> None:
        self._config, self.size = config, 0
        self.file: BinaryIO = tempfile.TemporaryFile(dir=config.git_dir)  # noqa: SIM115
        self.hash = hashlib.sha256()
        self.problem: PushmillError | None = None
        self._files = 0

    def begin(self, *_: object, **__: object) -> IO[bytes]:
        """Werkzeug calls this for each file of the form."""
        self._files += 1
        if self._files > 1:
            self.problem = InvalidInput("there is more than one file", field="data")
        return self  # type: ignore[return-value]  # werkzeug writes to it, and then seeks to the beginning

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        most = self._config.limits.package_bytes
        if self.size > most and self.problem is None:
            sentence = f"the package is larger than {format_size(most)} ([limits] package_bytes). {adhoc.SMALLER}"
            self.problem = InputTooLarge(sentence, field="data", code="too_large")
        if self.problem is not None:
            return
        try:
            disk.check(self._config, len(chunk))
        except DiskFull as error:
            self.problem = error
            return
        self.file.write(chunk)
        self.hash.update(chunk)

    def seek(self, position: int) -> None:
        self.file.seek(position)

    def close(self) -> None:
        self.file.close()


def _received(upload: _Upload) -> Mapping[str, Any]:
    """Read the form and return its fields. Raises InvalidInput and DiskFull."""
    if request.mimetype != "multipart/form-data":
        raise InvalidInput("the body must be a form with a file (multipart/form-data)", field="data", code="required")
    parser = FormDataParser(upload.begin, max_form_memory_size=FORM_MEMORY, max_form_parts=PARTS, silent=False)
    try:
        _, form, files = parser.parse(request.stream, request.mimetype, request.content_length, request.mimetype_params)
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}", field="data") from None
    if upload.problem is not None:
        raise upload.problem
    if "data" not in files:
        raise InvalidInput("the package is missing: send it as the file `data`", field="data", code="required")
    return form


def _package(upload: _Upload, form: Mapping[str, str]) -> Package:
    return Package(
        file=upload.file,
        size=upload.size,
        sha256=upload.hash.hexdigest(),
        description=form.get("description", ""),
        yaml_path=form.get("yaml_path", ""),
    )

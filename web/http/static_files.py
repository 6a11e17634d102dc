"""Static files at addresses with a version, which browsers keep and never ask for again.

The version is one for all files: scripts import each other by relative addresses, and so have the same one.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path

from flask import Flask, Response
from werkzeug.security import safe_join

from core.errors import NotFound

FOLDER = Path(__file__).parents[1] / "static"
VERSION = "STATIC_VERSION"  # the name in the configuration
FOR_GOOD = "public, max-age=31536000, immutable"


def init_app(app: Flask) -> None:
    app.config[VERSION] = current = _version()

    def static(version: str, filename: str) -> Response:
        """Return a file; for another version, such as in a page opened before an upgrade, the current one."""
        path = safe_join(str(FOLDER), filename)
        if path is None or not Path(path).is_file():
            raise NotFound("unknown static file")
        response = Response(Path(path).read_bytes(), mimetype=mimetypes.guess_type(path)[0])
        response.headers["Cache-Control"] = FOR_GOOD if version == current else "no-cache"
        return response

    app.add_url_rule("/static/<version>/<path:filename>", "static", static)


def _version() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(FOLDER)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]

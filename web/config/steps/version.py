"""Version of the parser that created a Configuration."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path

LIBRARIES = ("jsonschema", "pyyaml", "valohai-yaml")


@functools.cache
def compute_parser_version() -> str:
    """Return text that differs whenever our code or the libraries might read the same valohai.yaml differently."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    for name in LIBRARIES:
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    return digest.hexdigest()[:16]

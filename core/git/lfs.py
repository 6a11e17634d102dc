"""Git LFS: pointers in commits, and the store of the objects that they name.

An object is a file named by the SHA-256 of its content. It is renamed into the store after hash and size were checked.
The formats are those of https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import GitError

POINTER_BYTES = 1024  # a larger file is not a pointer
POINTER = re.compile(
    rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]{1,15})\n?"
)
OID = re.compile(r"[0-9a-f]{64}")
TEMPORARY = "new-"
LEFTOVER_S = 86_400.0  # a transfer that received nothing for this long was killed


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A file of a commit whose content is the object `oid`. Bytes of `path` that are not UTF-8 are surrogates."""

    path: str
    oid: str
    size: int


def parse_pointer(path: str, content: bytes) -> Pointer | None:
    """Parse the content of a file as a pointer; return None for any other content."""
    found = POINTER.fullmatch(content)
    return Pointer(path=path, oid=found.group(1).decode(), size=int(found.group(2))) if found else None


def get_object_path(store: Path, oid: str) -> Path:
    """Return the path of an object, which may not exist yet. Raises GitError for an invalid object name."""
    if not OID.fullmatch(oid):
        raise GitError(f"{oid[:80]!r} is not the name of a Git LFS object")
    return store / oid[:2] / oid


def has_object(store: Path, oid: str, size: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return get_object_path(store, oid).stat().st_size == size
    return False


def store_object(store: Path, oid: str, size: int, chunks: Iterable[bytes]) -> None:
    """Write an object into the store. Raises GitError if the content does not match `oid` and `size`."""
    target = get_object_path(store, oid)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=store)
    try:
        with open(descriptor, "wb") as file:
            sha256, received = hashlib.sha256(), 0
            for chunk in chunks:
                received += len(chunk)
                if received > size:
                    raise GitError(f"it has more than the {size:,} bytes in its pointer")
                sha256.update(chunk)
                file.write(chunk)
            if received != size:
                raise GitError(f"it has {received:,} bytes, but its pointer says {size:,}")
            if sha256.hexdigest() != oid:
                raise GitError(f"its content has SHA-256 {sha256.hexdigest()}")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except OSError as error:
        raise GitError(f"it cannot be stored: {error}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def remove_leftovers(store: Path) -> None:
    """Delete temporary files of killed transfers."""
    oldest = time.time() - LEFTOVER_S
    for file in store.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest:
                file.unlink()

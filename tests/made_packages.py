"""Packages as `vh` makes them, and malicious ones."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence

YAML = b"""
- step:
    name: hello
    image: busybox
    command: ./run.sh
"""


def member(
    name: str, content: bytes = b"", *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """A header and the content that follows it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname, info.mtime = len(content), mode, kind, target, 1.5
    return info, content


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive; `content` follows its header whatever its kind is."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def package(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    return gzip.compress(tar(members, form), mtime=0)


def simple(**files: bytes) -> bytes:
    """A package with a configuration and a program."""
    more = [member(name, content) for name, content in files.items()]
    return package(member("run.sh", b"echo hello\n", mode=0o755), member("valohai.yaml", YAML), *more)


def pax(records: bytes, after: bytes = b"") -> bytes:
    """A PAX header with raw records, as a tar archive that does not end."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + after


def record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3
    while size != len(key) + len(value) + 3 + len(str(size)):
        size = len(key) + len(value) + 3 + len(str(size))
    return b"%d %s=%s\n" % (size, key, value)

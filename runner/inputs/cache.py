"""Content-addressed cache of inputs: the first use of a file downloads it, later uses copy it.

A process that copies a file has it open, so the cleanup may remove it at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from core.errors import ExecutionFailed
from core.states import FailureReason
from runner.inputs.download import Downloaded, Rules, download, format_url, parse_http_url

FICLONE = 0x40049409  # ioctl: copy-on-write clone of a file (linux/fs.h)
TEMPORARY, RECORD, CONTENT = "new-", ".json", ".data"  # prefix and suffixes of the cache's files
FROM_CACHE, DOWNLOADED = "from cache", "downloaded"


class Cache:
    """A cache directory.

    `<hash of the URL>.json` describes the latest response with its validators; `<sha256>.data` is a content.
    Files appear and disappear by rename, so a reader finds a whole file or none; if it finds none, it downloads. Each
    use sets the modification time of the content. Credentials are part of the URL, so a cached file is found only with
    the same credentials. With `ignore` everything is downloaded again and then stored for later uses.
    """

    def __init__(self, directory: Path, *, ignore: bool = False) -> None:
        self._directory, self._ignore = directory, ignore
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def obtain(self, url: str, target: Path, rules: Rules, limit: int) -> tuple[Downloaded, str]:
        """Write the content of `url` to `target`; returns its description and FROM_CACHE or DOWNLOADED."""
        known = self._known(url, limit)
        with self._temporary() as new:
            got = download(url, new, known.validators if known else {}, rules=rules, limit=limit)
            if got is None and known is not None:
                with contextlib.suppress(FileNotFoundError):  # cleaned up meanwhile
                    _copy(self._content(known.sha256), target)
                    return known, FROM_CACHE
                got = download(url, new, {}, rules=rules, limit=limit)
            if got is None:
                raise ExecutionFailed(
                    FailureReason.INPUT, f"{format_url(parse_http_url(url))} answered 304 Not Modified, unasked"
                )
            if got.validators:
                _copy(new, target)  # first, because the cleanup may remove the content as soon as it is stored
                self._keep(url, got, new)
            else:
                _move(new, target)
            return got, DOWNLOADED

    def obtain_content(self, sha256: str, size: int, target: Path, receive: Callable[[BinaryIO], None]) -> str:
        """Write a file of the server to `target`; returns FROM_CACHE or DOWNLOADED.

        `receive` writes the whole content to a file.
        """
        if self._has(sha256, size):
            with contextlib.suppress(FileNotFoundError):  # cleaned up meanwhile
                _copy(self._content(sha256), target)
                return FROM_CACHE
        with self._temporary() as new:
            with new.open("wb") as file:
                receive(file)
            _copy(new, target)
            new.replace(self._content(sha256))
        return DOWNLOADED

    def _known(self, url: str, limit: int) -> Downloaded | None:
        try:
            known = Downloaded(**json.loads(self._record(url).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        whole = self._has(known.sha256, known.size)
        return known if whole and known.validators and known.size <= limit else None

    def _has(self, sha256: str, size: int) -> bool:
        """Whether a content is cached and may be used. Sets the time of its last use."""
        content = self._content(sha256)
        try:
            os.utime(content)
            return not self._ignore and content.stat().st_size == size
        except OSError:
            return False

    def _keep(self, url: str, got: Downloaded, new: Path) -> None:
        new.replace(self._content(got.sha256))
        with self._temporary() as record:
            record.write_text(json.dumps(asdict(got)), encoding="utf-8")
            record.replace(self._record(url))

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self._directory)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _record(self, url: str) -> Path:
        return self._directory / f"{hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()}{RECORD}"

    def _content(self, sha256: str) -> Path:
        return self._directory / f"{sha256}{CONTENT}"


def _copy(source: Path, target: Path) -> None:
    """Copy a file, by cloning where the file system can. Never a hard link: containers may write to their inputs."""
    target.unlink(missing_ok=True)
    with source.open("rb") as read, target.open("xb") as write:
        os.fchmod(write.fileno(), 0o666)
        try:
            fcntl.ioctl(write, FICLONE, read.fileno())
        except OSError:  # another file system, or one without clones
            shutil.copyfileobj(read, write, 1024 * 1024)


def _move(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.move(source, target)
    target.chmod(0o666)

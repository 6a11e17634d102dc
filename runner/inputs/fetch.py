"""Fetches the inputs of an execution through a cache: from URLs, or from the server for outputs of other executions."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from core import datum
from core.errors import ExecutionFailed
from core.states import FailureReason
from core.text import make_printable
from core.units import format_size
from core.wire import DatumSpec, InputSpec
from runner.inputs.cache import Cache
from runner.inputs.datums import Datums
from runner.inputs.download import Downloaded, Rules, format_url, parse_http_url

IN_CONTAINER = "/valohai/inputs"
MAX_NAME = 255  # most bytes of a file name on Linux
PROGRESS_S = 10.0


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file. `path` is its path in the container; `uri` is the URL as given, including credentials.

    Size and checksums are None for an on-demand file that is not fetched. `datum_id` is the uuid of an output stored on
    the server.
    """

    name: str
    path: str
    uri: str
    size: int | None = None
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None
    datum_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class FetchedInput:
    """One declared input. `input_id` is set if and only if it is on demand and has files that are not fetched."""

    name: str
    files: list[InputFile]
    on_demand: bool = False
    input_id: str | None = None


@dataclass(kw_only=True)
class InputFetcher:
    """Fetches the inputs of one execution; all of them together may have `limit` bytes.

    Its calls raise ExecutionFailed, also once `cancelled()` is true.
    """

    cache: Cache
    datums: Datums
    allow_hosts: tuple[str, ...]
    status: Callable[[str], None]
    cancelled: Callable[[], bool]
    limit: int

    def fetch(self, specs: Iterable[InputSpec], inputs_dir: Path) -> list[FetchedInput]:
        """Fetch all inputs into `inputs_dir/<input>/<file>`; every input gets a directory writable by any user.

        On-demand files are listed but not fetched, except outputs on the server, which the program could not fetch
        itself. If two URLs of an input have the same file name, the last wins. `keep_directories` has no effect on
        plain URLs, which have no root directory.
        """
        fetched = []
        for spec in specs:
            with _errors_about(spec.name):
                directory = _directory(inputs_dir, spec.name)
                targets = _targets(spec, self.datums, self.status)
                files = [self._fetch_file(spec, directory, name, url) for name, url in targets.items()]
                fetched.append(_fetched(spec, files))
        return fetched

    def _fetch_file(self, spec: InputSpec, directory: Path, name: str, url: str) -> InputFile:
        if spec.on_demand and self.datums.find_datum(url) is None:
            return _file(spec.name, name, url)
        got, how = self._obtain(url, _place(directory, name), _Progress(spec.name, name, self.status))
        self.status(f"{spec.name}: {name} {how}, {format_size(got.size)}, sha256 {got.sha256}")
        self.limit -= got.size
        return _file(spec.name, name, url, got)

    def _obtain(self, url: str, target: Path, progress: _Progress) -> tuple[Downloaded | DatumSpec, str]:
        """Write the content of a URL to `target`; returns its description and FROM_CACHE or DOWNLOADED."""
        found = self.datums.find_datum(url)
        if found is None:
            rules = Rules(allow_hosts=self.allow_hosts, cancelled=self.cancelled, progress=progress)
            return self.cache.obtain(url, target, rules, self.limit)
        if found.size > self.limit:
            message = f"{url} is larger than the {format_size(self.limit)} that are left for inputs"
            raise ExecutionFailed(FailureReason.INPUT, message)
        return found, self.cache.obtain_content(
            found.sha256, found.size, target, lambda file: self.datums.receive(found, file, progress)
        )


@contextlib.contextmanager
def _errors_about(name: str) -> Iterator[None]:
    try:
        yield
    except ExecutionFailed as error:
        raise ExecutionFailed(error.reason, f'input "{name[:100]}": {error}') from None
    except OSError as error:
        raise ExecutionFailed(FailureReason.INPUT, f'input "{name[:100]}" cannot be stored: {error}') from None


class _Progress:
    """Writes a status line every ten seconds of a download."""

    def __init__(self, input_name: str, file_name: str, status: Callable[[str], None]) -> None:
        self._what, self._status, self._last = f"{input_name}: {file_name}", status, time.monotonic()

    def __call__(self, size: int, total: int | None) -> None:
        if time.monotonic() - self._last >= PROGRESS_S:
            self._last = time.monotonic()
            of = f" of {format_size(total)}" if total else ""
            self._status(f"{self._what} {format_size(size)}{of} so far")


def _directory(inputs_dir: Path, name: str) -> Path:
    directory = inputs_dir / _checked_name(name, "an input")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    return directory


def _place(directory: Path, name: str) -> Path:
    """Return the path of a file; its parent directories are created, writable by any user."""
    for part in PurePosixPath(name).parts[:-1]:
        directory = directory / part
        directory.mkdir(exist_ok=True)
        directory.chmod(0o777)
    return directory / PurePosixPath(name).name


def _targets(spec: InputSpec, datums: Datums, status: Callable[[str], None]) -> dict[str, str]:
    """Map file names, with directories if they are kept, to URLs, in the order of the URLs."""
    rename = None
    if spec.filename is not None and len(spec.urls) == 1:
        rename = _checked_name(spec.filename, "a file")
    elif spec.filename is not None and spec.urls:
        status(
            f"{spec.name}: the filename {spec.filename!r} is for one file, but {len(spec.urls)} are given: it is ignored"
        )
    targets: dict[str, str] = {}
    for url in spec.urls:
        found = datums.find_datum(url)
        name = rename or (_name_of_datum(found, spec.keep_directories) if found else _name_of(url))
        if targets.pop(name, None) is not None:
            status(f"{spec.name}: {name} is given twice; {url if found else format_url(parse_http_url(url))} is used")
        targets[name] = url
    _check_directories(targets)
    return targets


def _name_of(url: str) -> str:
    """The last segment of the URL's path, decoded and made a valid file name."""
    return _fit(unquote((parse_http_url(url).path or "").rpartition("/")[2]))


def _name_of_datum(found: DatumSpec, keep_directories: str) -> str:
    """The name of the output as a safe path below the input's directory; only its last part if no directories are kept.

    A single output has no wildcard, so `suffix` keeps the same directories as `full`.
    """
    parts = [_fit(part) for part in found.name.split("/") if part not in ("", ".", "..")] or ["download"]
    return parts[-1] if keep_directories == "none" else "/".join(parts)


def _check_directories(names: Collection[str]) -> None:
    for parent in (str(parent) for name in names for parent in PurePosixPath(name).parents):
        if parent in names:
            message = f"{parent!r} is the name of a file and of a directory of others: both cannot be there"
            raise ExecutionFailed(FailureReason.INPUT, message)


def _fit(segment: str) -> str:
    name = re.sub(r"[/\\]", "_", make_printable(segment, "_"))
    name = name.encode("utf-8", "replace")[-MAX_NAME:].decode("utf-8", "ignore")  # keeps the extension
    return "download" if name in ("", ".", "..") else name


def _checked_name(name: str, what: str) -> str:
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(os.fsencode(name)) > MAX_NAME:
        raise ExecutionFailed(
            FailureReason.INPUT, f"{name[:100]!r} is not a valid name for {what}: use letters, digits, '-', '_'"
        )
    return name


def _fetched(spec: InputSpec, files: list[InputFile]) -> FetchedInput:
    later = spec.on_demand and any(file.size is None for file in files)
    input_id = str(uuid.uuid4()) if later else None
    return FetchedInput(name=spec.name, files=files, on_demand=spec.on_demand, input_id=input_id)


def _file(input_name: str, name: str, url: str, got: Downloaded | DatumSpec | None = None) -> InputFile:
    path = f"{IN_CONTAINER}/{input_name}/{name}"
    file = InputFile(name=name, path=path, uri=url, datum_id=datum.parse_datum_url(url))
    return replace(file, size=got.size, md5=got.md5, sha1=got.sha1, sha256=got.sha256) if got else file

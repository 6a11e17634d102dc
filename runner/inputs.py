"""The inputs of an execution: fetched over HTTP(S), through a cache that always asks the server first."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.wire import InputSpec
from runner.download import Downloaded, Rules, download, parsed, shown
from runner.sizes import size_text

IN_CONTAINER = "/valohai/inputs"
MAX_NAME = 255  # bytes of one name on Linux
FICLONE = 0x40049409  # ioctl: let one file share the other's blocks until one of them is written
PROGRESS_S = 10.0
TEMPORARY, RECORD, CONTENT = "new-", ".json", ".data"  # how the files of the cache are named


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file. `path` is where the container finds it; `uri` is the URL as given, credentials included.

    Size and sums are None while an on-demand file is not fetched.
    """

    name: str
    path: str
    uri: str
    size: int | None = None
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class FetchedInput:
    """One declared input. `input_id` is set exactly when it is on demand and has files."""

    name: str
    files: list[InputFile]
    on_demand: bool = False
    input_id: str | None = None


def fetch(
    specs: list[InputSpec],
    inputs_dir: Path,
    cache: Path,
    *,
    allow_hosts: tuple[str, ...],
    ignore_cache: bool,
    status: Callable[[str], None],
    cancelled: Callable[[], bool],
    limit: int,
) -> list[FetchedInput]:
    """Fill `inputs_dir/<input>/<file>`: one directory per declared input, empty ones too, writable by any user.

    `limit` bounds the bytes of all inputs together. What is on demand is named, not fetched. Where two URLs of an input
    have the same file name, the last wins. With `ignore_cache` files are fetched anew, and kept for the next one.
    `keep_directories` changes nothing, since a plain URL has no root to count from. Raises ExecutionFailed, also once
    `cancelled()` is true.
    """
    store = _Cache(cache / "inputs")
    fetched = []
    for spec in specs:
        with _errors_about(spec.name):
            directory = _directory(inputs_dir, spec.name)
            targets = _targets(spec, status)
            if spec.on_demand:
                fetched.append(_on_demand(spec.name, targets))
                continue
            files = []
            for name, url in targets.items():
                rules = Rules(allow_hosts=allow_hosts, cancelled=cancelled, progress=_Progress(spec.name, name, status))
                got, how = store.obtain(url, directory / name, rules, limit, ignore_cache=ignore_cache)
                status(f"{spec.name}: {name} {how}, {size_text(got.size)}, sha256 {got.sha256}")
                limit -= got.size
                files.append(_file(spec.name, name, url, got))
            fetched.append(FetchedInput(name=spec.name, files=files))
    return fetched


@contextlib.contextmanager
def _errors_about(name: str) -> Iterator[None]:
    try:
        yield
    except ExecutionFailed as error:
        raise ExecutionFailed(error.reason, f'input "{name[:100]}": {error}') from None
    except OSError as error:
        raise ExecutionFailed(FailureReason.INPUT, f'input "{name[:100]}" cannot be stored: {error}') from None


class _Progress:
    """A status line every ten seconds of a download."""

    def __init__(self, input_name: str, file_name: str, status: Callable[[str], None]) -> None:
        self._what, self._status, self._last = f"{input_name}: {file_name}", status, time.monotonic()

    def __call__(self, size: int, total: int | None) -> None:
        if time.monotonic() - self._last >= PROGRESS_S:
            self._last = time.monotonic()
            of = f" of {size_text(total)}" if total else ""
            self._status(f"{self._what} {size_text(size)}{of} so far")


class _Cache:
    """`<hash of the URL>.json` says what the URL gave last and how to ask again; `<sha256>.data` is the content.

    Files come and go by rename, so a reader finds all or nothing; whoever finds nothing downloads. A use sets the
    modification time of the content. Credentials are part of the URL: others than the first asker's find nothing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def obtain(self, url: str, target: Path, rules: Rules, limit: int, *, ignore_cache: bool) -> tuple[Downloaded, str]:
        """Put the content of `url` at `target`; what it is, and how it was come by in words."""
        known = None if ignore_cache else self._known(url, limit)
        with self._temporary() as new:
            got = download(url, new, known.validators if known else {}, rules=rules, limit=limit)
            if got is None and known is not None:
                with contextlib.suppress(FileNotFoundError):  # cleaned up meanwhile
                    _copy(self._content(known.sha256), target)
                    return known, "from cache"
                got = download(url, new, {}, rules=rules, limit=limit)
            if got is None:
                raise ExecutionFailed(FailureReason.INPUT, f"{shown(parsed(url))} answered 304 Not Modified, unasked")
            if got.validators:
                _copy(new, target)  # before others know of it: what is kept may be cleaned up at once
                self._keep(url, got, new)
            else:
                _move(new, target)
            return got, "downloaded"

    def _known(self, url: str, limit: int) -> Downloaded | None:
        try:
            known = Downloaded(**json.loads(self._record(url).read_text(encoding="utf-8")))
            content = self._content(known.sha256)
            os.utime(content)
            whole = content.stat().st_size == known.size
        except (OSError, ValueError, TypeError):
            return None
        return known if whole and known.validators and known.size <= limit else None

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


def _directory(inputs_dir: Path, name: str) -> Path:
    directory = inputs_dir / _checked_name(name, "an input")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    return directory


def _targets(spec: InputSpec, status: Callable[[str], None]) -> dict[str, str]:
    """File name → URL, in the order of the URLs that stay."""
    rename = None
    if spec.filename is not None and len(spec.urls) == 1:
        rename = _checked_name(spec.filename, "a file")
    elif spec.filename is not None and spec.urls:
        status(
            f"{spec.name}: the filename {spec.filename!r} is for one file; {len(spec.urls)} are given, it is ignored"
        )
    targets: dict[str, str] = {}
    for url in spec.urls:
        name = rename or _name_of(url)
        if targets.pop(name, None) is not None:
            status(f"{spec.name}: {name} is given twice; {shown(parsed(url))} is used")
        targets[name] = url
    return targets


def _name_of(url: str) -> str:
    """The last segment of the path, decoded, fit for a file name."""
    segment = unquote((parsed(url).path or "").rpartition("/")[2])
    name = "".join("_" if c in "/\\" or not c.isprintable() else c for c in segment)
    name = name.encode("utf-8", "replace")[-MAX_NAME:].decode("utf-8", "ignore")  # the end has the extension
    return "download" if name in ("", ".", "..") else name


def _checked_name(name: str, what: str) -> str:
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(os.fsencode(name)) > MAX_NAME:
        raise ExecutionFailed(FailureReason.INPUT, f"{name[:100]!r} cannot name {what}: use letters, digits, '-', '_'")
    return name


def _on_demand(name: str, targets: dict[str, str]) -> FetchedInput:
    files = [InputFile(name=file, path=f"{IN_CONTAINER}/{name}/{file}", uri=url) for file, url in targets.items()]
    return FetchedInput(name=name, files=files, on_demand=True, input_id=str(uuid.uuid4()) if files else None)


def _file(input_name: str, name: str, url: str, got: Downloaded) -> InputFile:
    path = f"{IN_CONTAINER}/{input_name}/{name}"
    return InputFile(name=name, path=path, uri=url, size=got.size, md5=got.md5, sha1=got.sha1, sha256=got.sha256)


def _copy(source: Path, target: Path) -> None:
    """A copy of its own, by shared blocks where the file system can: a container may write to what it is given."""
    target.unlink(missing_ok=True)
    with source.open("rb") as read, target.open("xb") as write:
        os.fchmod(write.fileno(), 0o666)
        try:
            fcntl.ioctl(write, FICLONE, read.fileno())
        except OSError:  # another file system, or one that cannot
            shutil.copyfileobj(read, write, 1024 * 1024)


def _move(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.move(source, target)
    target.chmod(0o666)

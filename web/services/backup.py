"""Back up a data directory to one tar archive while the server runs, and restore it.

The database is copied first. The files that it refers to only ever grow: outputs are complete before they have a row,
log lines are written before they are counted, and commits exist before they are recorded. So all files copied after the
database contain everything it refers to. A push that arrives in between is in a repository but not in the database; the
restored server finds it like a push that a killed server left unrecorded.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from core import clock, locks
from core.config import Config
from core.errors import Conflict, InvalidInput
from core.units import format_size
from web.services.executions import outputs
from web.services.repositories import lost_pushes
from web.store import db as store

MANIFEST = "pushmill-backup.json"
END = "pushmill-backup-end"  # the last member: an archive without it is truncated
FORMAT = 1
DATABASE = "pushmill.db"
KEYS = ("secret.key", "admin-token", "push-token", "config.toml", "runner/token")
SCRATCH = ".pushmill-backup-"  # prefix of temporary directories
ATTEMPTS = 3  # attempts to list a repository while git repacks it

Say = Callable[[str], None]


@dataclass
class _Archive:
    """An open archive, with the number of files and bytes written so far."""

    tar: tarfile.TarFile
    files: int = 0
    bytes: int = 0

    def add(self, path: Path, name: str) -> None:
        """Add a file at its current length. Skips a file that was removed in the meantime."""
        try:
            with open(path, "rb") as file:
                member = self.tar.gettarinfo(arcname=name, fileobj=file)
                member.uname = member.gname = ""
                self.tar.addfile(member, file)
        except FileNotFoundError:
            return
        self.files += 1
        self.bytes += member.size

    def add_tree(self, folder: Path, name: str, *, leave_out: str = "") -> None:
        for path in _files(folder):
            relative = path.relative_to(folder)
            if not (leave_out and relative.parts[0] == leave_out):
                self.add(path, f"{name}/{relative}")


def create(config: Config, target: Path, *, with_outputs: bool, say: Say) -> None:
    """Write an archive of the data directory to `target`, which must not exist and appears only when complete.

    The archive contains every secret of the server, so its mode is 0600. Raises InvalidInput, or Conflict while another
    backup runs.
    """
    if target.exists():
        raise InvalidInput(f"{target} already exists: name a new file")
    if not config.database.exists():
        raise InvalidInput(f"{config.data} contains no server: name its data directory with --data")
    partial = target.with_name(f".{target.name}.partial")
    with _alone(config):
        partial.unlink(missing_ok=True)
        _create(config, partial, with_outputs=with_outputs, say=say)
        partial.rename(target)


def _create(config: Config, partial: Path, *, with_outputs: bool, say: Say) -> None:
    try:
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                _write(config, _Archive(tar), with_outputs=with_outputs, say=say)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Lock out other backups and remove the temporary directories of a killed one. Raises Conflict."""
    with locks.hold(config.data / "backup.lock", wait=False) as alone:
        if not alone:
            raise Conflict("another backup of this server is running: wait for it")
        for folder in (config.data, config.git_dir):
            for left in folder.glob(f"{SCRATCH}*"):
                shutil.rmtree(left)
        yield


def restore(archive: Path, data: Path, say: Say) -> None:
    """Restore an archive to the data directory `data`, which must be empty or absent. Restores everything or nothing.

    Raises InvalidInput.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise InvalidInput(f"{data} is not empty: name a new directory with --data, and move it into place afterwards")
    data.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{data.name}.restore-"
    for left in data.parent.glob(f"{prefix}*"):
        shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=data.parent))
    try:
        _extract(archive, made, say)
        for repository in (made / "git").glob("*.git"):
            lost_pushes.mark(repository)
        made.rename(data)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(config: Config, archive: _Archive, *, with_outputs: bool, say: Say) -> None:
    data = config.data
    manifest = {"format": FORMAT, "created_at": clock.now(), "pushmill": version("pushmill"), "outputs": with_outputs}
    _add_text(archive, MANIFEST, json.dumps(manifest, indent=1))
    with _reported(archive, "database", say), tempfile.TemporaryDirectory(prefix=SCRATCH, dir=config.data) as folder:
        copy = Path(folder) / DATABASE
        store.copy(config.database, copy)
        archive.add(copy, DATABASE)
    for name in KEYS:
        archive.add(data / name, name)
    with _reported(archive, "repositories", say):
        for repository in sorted(config.git_dir.glob("*.git")):
            _add_repository(archive, repository, f"git/{repository.name}")
        for lfs_store in sorted(config.git_dir.glob("*.lfs")):
            archive.add_tree(lfs_store, f"git/{lfs_store.name}")
    with _reported(archive, "logs", say):
        archive.add_tree(config.logs_dir, "logs")
    if with_outputs:
        with _reported(archive, "outputs", say):
            archive.add_tree(config.outputs_dir, "outputs", leave_out=outputs.INCOMING)
    _add_text(archive, END, "")


@contextmanager
def _reported(archive: _Archive, part: str, say: Say) -> Iterator[None]:
    files, size = archive.files, archive.bytes
    yield
    count = archive.files - files
    say(f"{part}: {count:,} file{'' if count == 1 else 's'}, {format_size(archive.bytes - size)}")


def _add_repository(archive: _Archive, repository: Path, name: str) -> None:
    """Add a repository, refs first: their objects exist by then, and hard links keep them while git repacks."""
    objects = repository / "objects"
    for path in _files(repository):
        if objects not in path.parents:
            archive.add(path, f"{name}/{path.relative_to(repository)}")
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=repository.parent) as folder:
        archive.add_tree(_linked(objects, Path(folder)), f"{name}/objects")


def _linked(objects: Path, folder: Path) -> Path:
    """Create a directory of hard links to all objects. Starts over when git has packed some of them in the meantime."""
    for attempt in range(ATTEMPTS):
        copy = folder / str(attempt)
        try:
            shutil.copytree(objects, copy, copy_function=os.link)
        except (shutil.Error, FileNotFoundError):
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return copy
    raise AssertionError


def _files(folder: Path) -> Iterator[Path]:
    """Yield every regular file below a directory that pushmill created, sorted by name."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _add_text(archive: _Archive, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text.encode()), 0o600
    archive.tar.addfile(member, io.BytesIO(text.encode()))


def _extract(archive: Path, target: Path, say: Say) -> None:
    try:
        with tarfile.open(archive, "r:*") as tar:
            _check_manifest(tar, archive)
            tar.extractall(target, filter="data")
            names = tar.getnames()
        if names[-1] != END:
            raise tarfile.ReadError("its end is missing")
        for name in (MANIFEST, END):
            (target / name).unlink()
        say(f"{len(names) - 2:,} files restored")
    except (tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"{archive} is damaged, so nothing was restored: {error}") from None
    if problem := store.find_damage(target / DATABASE):
        raise InvalidInput(f"the database in {archive} is damaged, so nothing was restored: {problem}")


def _check_manifest(tar: tarfile.TarFile, archive: Path) -> None:
    first = tar.next()
    file = tar.extractfile(first) if first and first.name == MANIFEST else None
    if file is None:
        raise InvalidInput(f"{archive} is not a backup made by `pushmill backup`")
    if (found := json.loads(file.read())["format"]) != FORMAT:
        raise InvalidInput(
            f"{archive} has backup format {found}; this pushmill reads format {FORMAT}: upgrade pushmill"
        )

"""Receive, store and purge files: the outputs that runners upload, and those that users upload.

A file is received in `.incoming`, moved to its place within the transaction that records it, and removed again if it is
not recorded. An empty file in `.incoming`, UUID.RANDOM.placed, marks it meanwhile: if the server is killed, the next one
looks whether it was recorded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from core import datum
from core.config import Config, LimitsConfig
from core.errors import Conflict, InvalidInput
from core.model import Execution, Project, Runner
from web.services import disk
from web.services.context import Context
from web.services.executions import lifecycle
from web.store import audit, data
from web.store.audit import Act, Kind
from web.store.data import Datum
from web.store.db import Database, connect, transaction

HOLE_BYTES = 64 * 1024
ZEROS = bytes(HOLE_BYTES)
INCOMING = ".incoming"  # below the outputs directory: files that are being received
PLACED = ".placed"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file of an execution to upload; `size` is in bytes.

    The runner chooses `uuid`, so that it can repeat an upload.
    """

    execution: str
    attempt: int
    uuid: str
    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """A completely received file, at a temporary path."""

    path: Path
    hashes: dict[str, str]  # by the name of their column


def check_name(name: str) -> str:
    """Return `name` if it is a valid name of an output, else raise InvalidInput."""
    if problem := datum.find_name_problem(name):
        raise InvalidInput(f"output {name[:100]!r} cannot be stored: {problem}")
    return name


def store(
    db: Database, outputs_dir: Path, limits: LimitsConfig, runner: Runner, upload: Upload, chunks: Iterable[bytes]
) -> Datum:
    """Store an uploaded file; `chunks` add up to `upload.size` bytes.

    Repeating an upload changes nothing; the same uuid with another name or content raises Conflict.
    """
    check_name(upload.name)
    with transaction(db):
        execution = lifecycle.get_held_execution(db, runner, upload.execution, upload.attempt)
        _check_room(db, limits, execution, upload)
    with _received(db, outputs_dir, upload.uuid, chunks) as received, transaction(db):
        execution = lifecycle.get_held_execution(db, runner, upload.execution, upload.attempt)
        return _keep(db, outputs_dir, limits, execution, upload, received)


def store_uploaded(context: Context, project: Project, name: str, chunks: Iterable[bytes]) -> Datum:
    """Store a file that a user uploads to a project. Raises DiskFull."""
    check_name(name)
    outputs_dir, uuid = context.config.outputs_dir, str(uuid4())
    disk.check(context.config, 0)
    with _received(context.db, outputs_dir, uuid, chunks) as received:
        disk.check(context.config, 0)
        size = received.path.stat().st_size
        with transaction(context.db):
            _place(outputs_dir, uuid, received)
            audit.record(context.db, Act.CREATE, Kind.OUTPUT, name, project.id)
            return data.add(context.db, project.id, None, {"uuid": uuid, "name": name, "size": size, **received.hashes})


def purge(context: Context, datum_uuid: str) -> None:
    """Delete the content of a file; its name and hashes stay. Idempotent, and a killed one is repeated."""
    found = data.get_by_uuid(context.db, datum_uuid)
    data.get_path(context.config.outputs_dir, found.uuid).unlink(missing_ok=True)
    with transaction(context.db):
        data.set_purged(context.db, found)
        audit.record(context.db, Act.REMOVE, Kind.OUTPUT, found.name, found.project_id, found.uuid)


def clear_incoming(config: Config) -> None:
    """Remove what a killed server was receiving or storing; the runners send it again."""
    incoming = config.outputs_dir / INCOMING
    if incoming.exists():
        with contextlib.closing(connect(config.database)) as db:
            for path in incoming.iterdir():
                if path.suffix == PLACED:
                    _remove_unless_recorded(db, config.outputs_dir, path.name.partition(".")[0])
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _received(db: Database, outputs_dir: Path, uuid: str, chunks: Iterable[bytes]) -> Iterator[ReceivedFile]:
    """Receive a file for the block, which may move and record it; of a file that is not recorded, nothing stays."""
    received = _receive(outputs_dir / INCOMING, uuid, chunks)
    try:
        yield received
    except BaseException:
        _remove_unless_recorded(db, outputs_dir, uuid)
        raise
    finally:
        received.path.unlink(missing_ok=True)
        _mark_of(received).unlink(missing_ok=True)


def _remove_unless_recorded(db: Database, outputs_dir: Path, uuid: str) -> None:
    with transaction(db):  # another request may be storing the same file
        if data.find(db, uuid) is None:
            data.get_path(outputs_dir, uuid).unlink(missing_ok=True)


def _mark_of(received: ReceivedFile) -> Path:
    return received.path.with_name(received.path.name + PLACED)


def _receive(incoming: Path, uuid: str, chunks: Iterable[bytes]) -> ReceivedFile:
    incoming.mkdir(mode=0o700, exist_ok=True)
    hashes = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    descriptor, path = tempfile.mkstemp(prefix=f"{uuid}.", dir=incoming)  # unique: an earlier request may hang
    try:
        with open(descriptor, "wb", buffering=0) as file:
            for chunk in chunks:
                _write(file.fileno(), chunk)
                for each in hashes:
                    each.update(chunk)
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
            os.fsync(descriptor)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return ReceivedFile(path=Path(path), hashes={each.name: each.hexdigest() for each in hashes})


def _write(descriptor: int, chunk: bytes) -> None:
    """Write a chunk; blocks of zeros become holes, so that a sparse file takes no more disk than in its container."""
    for start in range(0, len(chunk), HOLE_BYTES):
        block = chunk[start : start + HOLE_BYTES]
        if block == ZEROS[: len(block)]:
            os.lseek(descriptor, len(block), os.SEEK_CUR)
            continue
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view) :]


def _keep(
    db: Database, outputs_dir: Path, limits: LimitsConfig, execution: Execution, upload: Upload, received: ReceivedFile
) -> Datum:
    known = data.find(db, upload.uuid)
    if known is not None:
        if (known.execution_id, known.name, known.sha256) != (execution.id, upload.name, received.hashes["sha256"]):
            raise Conflict(f"datum {upload.uuid} is already stored, with another name or content")
        return known
    _check_room(db, limits, execution, upload)
    _place(outputs_dir, upload.uuid, received)
    values = {"uuid": upload.uuid, "name": upload.name, "size": upload.size, **received.hashes}
    return data.add(db, execution.project_id, execution.id, values)


def _place(outputs_dir: Path, uuid: str, received: ReceivedFile) -> None:
    target = data.get_path(outputs_dir, uuid)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    _mark_of(received).touch(mode=0o600)
    received.path.rename(target)


def _check_room(db: Database, limits: LimitsConfig, execution: Execution, upload: Upload) -> None:
    """Raise InvalidInput if the upload would exceed the limits. A file that is already stored never does."""
    if data.find(db, upload.uuid) is not None:
        return
    count, size = data.sum_outputs(db, execution.id)
    if count >= limits.output_count:
        raise InvalidInput(f"the limit of {limits.output_count} output files (output_count) is reached")
    if size + upload.size > limits.output_bytes:
        raise InvalidInput(f"the limit of {limits.output_bytes} bytes of outputs (output_bytes) is reached")

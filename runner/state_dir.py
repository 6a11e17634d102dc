"""The directory of one execution: all that another process needs to go on where this one left off.

config inputs outputs repository spool    what the container sees, see runner.containers.engine
state.json                                attempt and when it was claimed
container.json                            the container's id, from just before it starts
secrets.json                              the values that are masked, of every claim
ending.json                               why its runner ends it and when it kills it, once it has begun to
relay.json                                port, token and inputs of the relay
tree                                      symbolic link to the commit's tree in the cache, which the cleanup leaves for it
lock                                      held by the process that keeps the execution
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runner import quarantine
from runner.logs import spool

WRITABLE = ("inputs", "outputs", "repository/upper")  # for any user of the container


def make(runner_directory: Path, directory: Path, script: str, offsets: Mapping[str, int]) -> None:
    """Make or refresh the parts that a container sees; what the spool holds already stays."""
    for part in ("config", "inputs", "outputs", "repository"):
        quarantine.remove(runner_directory, directory / part)
    for part in ("config", *WRITABLE, "repository/work"):
        (directory / part).mkdir(mode=0o755, parents=True)
    for part in WRITABLE:
        (directory / part).chmod(0o777)
    if not (directory / "spool").exists():
        spool.make(directory / "spool", script, offsets)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Hold the execution's lock for the block; false when another process holds it or the directory is gone."""
    lock = directory / "lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _take(descriptor) and lock.exists()  # its holder may have removed it while we opened it
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_json(path: Path, content: Any) -> None:
    """Replace `path` in one step; readable by us alone."""
    draft = path.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
    draft.replace(path)


def read_json(path: Path) -> Any:
    """The content, or None when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember_secrets(directory: Path, values: Iterable[str]) -> list[str]:
    """Unite `values` with those of earlier claims: the container has those, whatever has changed on the server since."""
    path = directory / "secrets.json"
    known = read_json(path) or []
    united = [*dict.fromkeys([*known, *values])]
    if united != known:
        write_json(path, united)
    return united

"""The directory of one execution: the state that another process needs to resume it.

config inputs outputs repository spool    mounted into the container, see runner.containers.engine
state.json                                attempt, and when it was claimed
container.json                            id of the container, once it was reported; written just before it starts
secrets.json                              values to mask, of all claims
ending.json                               reason and time of the kill, once the runner has begun to end the container
sandbox.json                              the network sandbox that its container has joined
etc                                       files of its own that the container then has instead of the sandbox's
relay.json                                port, token and inputs of the relay
tree                                      symbolic link to the commit's tree in the cache; protects it from the cleanup
lock                                      held by the process that holds the execution
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core import locks
from core.files import write_atomically
from runner import quarantine
from runner.logs import spool

WRITABLE = ("inputs", "outputs", "repository/upper")  # directories that every user of the container may write to


def make(runner_directory: Path, directory: Path, script: str, offsets: Mapping[str, int]) -> None:
    """Create the directories that are mounted into the container, or replace them; an existing spool is kept."""
    for part in ("config", "inputs", "outputs", "repository"):
        quarantine.remove(runner_directory, directory / part)
    for part in ("config", *WRITABLE, "repository/work"):
        (directory / part).mkdir(mode=0o755, parents=True)
    for part in WRITABLE:
        (directory / part).chmod(0o777)
    if (directory / "spool").exists():
        spool.make_pipes(directory / "spool")
    else:
        spool.make(directory / "spool", script, offsets)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Hold the execution's lock for the block; yields False if another process holds it or the directory is gone."""
    lock = directory / "lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        yield False
        return
    try:
        yield locks.take(descriptor, wait=False) and lock.exists()  # its holder may have removed it in between
    finally:
        locks.release(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Atomically replace `path`, readable only by this user."""
    write_atomically(path, json.dumps(content).encode())


def read_json(path: Path) -> Any:
    """The content, or None if the file is missing or not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember_secrets(directory: Path, values: Iterable[str]) -> list[str]:
    """Add `values` to secrets.json; returns all values.

    Values of earlier claims are kept: the container has them even if they have changed on the server since.
    """
    path = directory / "secrets.json"
    known = read_json(path) or []
    united = [*dict.fromkeys([*known, *values])]
    if united != known:
        write_json(path, united)
    return united

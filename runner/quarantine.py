"""Moves directories aside that cannot be removed, or whose execution cannot be adopted, and reports them.

They keep their name, with a random suffix, below `quarantine` in the runner's directory. Each cleanup tries to remove
them again.

Executions are moved here if adopting them raises any error except one of Docker, the disk or the server, which may be
gone at the next start.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

from core import trees

log = logging.getLogger(__name__)

NAME = "quarantine"
MOST = 100  # most directories in the quarantine; further ones stay where they are


def remove(runner_directory: Path, path: Path) -> None:
    """Remove a tree that a container may have written to; if that fails, move it aside."""
    if not trees.remove(path):
        move(runner_directory, path)


def move(runner_directory: Path, path: Path) -> None:
    """Move a directory aside, so that only the cleanup looks at it. Logs failures instead of raising."""
    place = runner_directory / NAME
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if len(os.listdir(place)) >= MOST:
            log.error("%s cannot be removed, and %s is full: it stays where it is", path, place)
            return
        target = place / f"{path.name}.{secrets.token_hex(4)}"
        path.rename(target)
    except OSError as error:
        log.error("%s can be neither removed nor moved aside: %s", path, error)
    else:
        log.error("%s cannot be removed or used, and was moved to %s", path, target)


def retry(runner_directory: Path) -> int:
    """Try to remove the quarantined directories again; returns how many were removed."""
    return sum(trees.remove(runner_directory / NAME / name) for name in _names(runner_directory))


def list_problems(runner_directory: Path) -> list[str]:
    """One sentence for the runner's problems if any directories are quarantined, else none."""
    names = _names(runner_directory)
    if not names:
        return []
    what = "1 directory" if len(names) == 1 else f"{len(names)} directories"
    full = "; no more fit there" if len(names) >= MOST else ""
    place = runner_directory / NAME
    return [f"{what} of executions could not be removed: look into {place} and remove the content as root{full}"]


def _names(runner_directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(runner_directory / NAME))
    except FileNotFoundError:
        return []

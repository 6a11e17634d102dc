"""Records the images that this runner pulled and when each was last used; other images are never removed.

`images.json` in the runner's directory maps image ids to the names that steps used, the tags that the pull created and
the time of the last use in Unix seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.locks import hold
from runner.state_dir import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image on this machine. `pulled` if it is new on the machine; `new_tags` are the tags that the pull added."""

    id: str
    digest: str
    pulled: bool = False
    new_tags: frozenset[str] = frozenset()


@contextlib.contextmanager
def recorded_images(directory: Path) -> Iterator[dict[str, Any]]:
    """Lock images.json for the block; changes to the yielded dict are written back afterwards."""
    with hold(directory / "images.lock"):
        known = read_json(directory / "images.json") or {}
        before = repr(known)
        yield known
        if repr(known) != before:
            write_json(directory / "images.json", known)


def record_intended_use(directory: Path, name: str) -> None:
    """Mark the image as used. Call this before the image is looked up, so that the cleanup then keeps it."""
    with recorded_images(directory) as known:
        for entry in known.values():
            if name in entry["names"]:
                entry["used_at"] = time.time()


def record_use(directory: Path, name: str, image: Image) -> None:
    """Record a use of the image if this runner pulled it, now or earlier."""
    with recorded_images(directory) as known:
        if image.pulled or image.id in known:
            entry = known.setdefault(image.id, {"names": [], "tags": []})
            entry["names"] = sorted({*entry["names"], name})
            entry["tags"] = sorted({*entry["tags"], *image.new_tags})
            entry["used_at"] = time.time()

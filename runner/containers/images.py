"""The images that this runner pulled, and when each was last used; no other image is ever removed.

`images.json` in the runner's directory has, by image id, the names that steps gave it, the tags that the pull gave it
and the time of its last use in Unix seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.locks import held
from runner.state_dir import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is on this machine. `pulled` when it came just now; `new_tags` are its names that did."""

    id: str
    digest: str
    pulled: bool = False
    new_tags: frozenset[str] = frozenset()


@contextlib.contextmanager
def remembered(directory: Path) -> Iterator[dict[str, Any]]:
    """The memory, ours alone for the block and written back after it."""
    with held(directory / "images.lock"):
        known = read_json(directory / "images.json") or {}
        before = repr(known)
        yield known
        if repr(known) != before:
            write_json(directory / "images.json", known)


def will_use(directory: Path, name: str) -> None:
    """To be called before the image is looked for: so the cleanup either was there before or leaves it."""
    with remembered(directory) as known:
        for entry in known.values():
            if name in entry["names"]:
                entry["used_at"] = time.time()


def used(directory: Path, name: str, image: Image) -> None:
    """Remember the image if it is one that this runner pulled, now or earlier."""
    with remembered(directory) as known:
        if image.pulled or image.id in known:
            entry = known.setdefault(image.id, {"names": [], "tags": []})
            entry["names"] = sorted({*entry["names"], name})
            entry["tags"] = sorted({*entry["tags"], *image.new_tags})
            entry["used_at"] = time.time()

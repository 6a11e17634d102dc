"""Versions of programs around containers that have known holes; pure. Each entry names the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """`fixed` are the first versions without it, one for each line of releases; newer lines than the last are without it."""

    what: str
    fixed: tuple[Version, ...]

    def is_in(self, version: Version) -> bool:
        same_line = next((fixed for fixed in self.fixed if fixed[:2] == version[:2]), None)
        return version < (same_line or self.fixed[-1])


HOLES: dict[str, tuple[Hole, ...]] = {
    "git": (
        # a clone with submodules runs a hook of the repository
        Hole(
            what="CVE-2024-32002",
            fixed=((2, 39, 4), (2, 40, 2), (2, 41, 1), (2, 42, 2), (2, 43, 4), (2, 44, 1), (2, 45, 1)),
        ),
    ),
    "runc": (
        # a leaked descriptor leads from a container's working directory to the host
        Hole(what="CVE-2024-21626", fixed=((1, 1, 12),)),
        # races while /dev/null, /dev/console and /proc are mounted let a container write to the host's /proc
        Hole(what="CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881", fixed=((1, 2, 8), (1, 3, 3))),
    ),
    "nvidia-container-toolkit": (
        # an image gets root on the host by its environment, through the toolkit's hook
        Hole(what="CVE-2025-23266", fixed=((1, 17, 8),)),
    ),
}


def holes(program: str, version: str) -> str:
    """The known holes of this version, "" for none or an unknown version."""
    found = numbers(version)
    return ", ".join(hole.what for hole in HOLES[program] if found and hole.is_in(found))


def numbers(version: str) -> Version:
    """The leading numbers of a version, to compare by."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()

"""Known vulnerabilities, by version, of the programs that run containers. Pure: no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Vulnerability:
    """`fixed` are the first versions without it, one for each minor release; later releases never had it."""

    what: str
    fixed: tuple[Version, ...]

    def is_in(self, version: Version) -> bool:
        same_line = next((fixed for fixed in self.fixed if fixed[:2] == version[:2]), None)
        return version < (same_line or self.fixed[-1])


VULNERABILITIES: dict[str, tuple[Vulnerability, ...]] = {
    "git": (
        # a clone with submodules runs a hook of the repository
        Vulnerability(
            what="CVE-2024-32002",
            fixed=((2, 39, 4), (2, 40, 2), (2, 41, 1), (2, 42, 2), (2, 43, 4), (2, 44, 1), (2, 45, 1)),
        ),
    ),
    "runc": (
        # a leaked file descriptor gives a container's working directory access to the host
        Vulnerability(what="CVE-2024-21626", fixed=((1, 1, 12),)),
        # races while /dev/null, /dev/console and /proc are mounted let a container write to the host's /proc
        Vulnerability(what="CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881", fixed=((1, 2, 8), (1, 3, 3))),
    ),
    "nvidia-container-toolkit": (
        # environment variables of an image give it root on the host, through the toolkit's hook
        Vulnerability(what="CVE-2025-23266", fixed=((1, 17, 8),)),
    ),
}


def describe_vulnerabilities(program: str, version: str) -> str:
    """Return the known vulnerabilities of a version; "" if there are none or the version is unknown."""
    found = parse_version(version)
    return ", ".join(found_in.what for found_in in VULNERABILITIES[program] if found and found_in.is_in(found))


def parse_version(version: str) -> Version:
    """Return the leading numbers of a version, for comparisons."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()

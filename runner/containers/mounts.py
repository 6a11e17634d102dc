"""Host mounts: checks the mounts that a step requests against those that the configuration allows."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.text import make_printable

WRITABLE = ":rw"  # at the end of an entry of [runner] mounts
OURS = ("/valohai", "/pushmill", "/proc", "/sys", "/dev")  # reserved paths in a container
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


@dataclass(frozen=True, kw_only=True)
class HostMount:
    """A bind mount. `source` contained no symbolic link when it was checked."""

    source: str
    destination: str
    readonly: bool


class _Refused(Exception):
    """Raised with the reason why a mount is rejected, for the user."""


def check(allow: Sequence[str]) -> None:
    """Raise ConfigError for an entry of `[runner] mounts` that is relative, contains `..` or is the root directory."""
    for entry in allow:
        directory = entry.removesuffix(WRITABLE)
        if (
            not directory.startswith("/")
            or posixpath.normpath(directory) in ("/", "//")
            or ".." in directory.split("/")
        ):
            raise ConfigError(f"[runner] mounts must be absolute paths of directories other than /, got {entry!r}")


def filter_allowed(
    asked: Iterable[Mapping[str, Any]], allow: Sequence[str], data: Path, status: Callable[[str], None]
) -> list[HostMount]:
    """Return the allowed mounts among `asked`. Writes a status line for each mount, allowed or rejected.

    `allow` is `[runner] mounts`, `data` the data directory. Call this just before the container is created: a container
    with write access to a directory can put a symbolic link into it, and this function checks where paths lead now.
    A race remains until Docker resolves the path again: a container that runs at the same time could swap a directory
    below one that it can write to. Below read-only mounts there is nothing to swap.
    """
    made: list[HostMount] = []
    for item in asked:
        shown = make_printable(f"{item.get('source')} at {item.get('destination')}")[:300]
        try:
            mount = _checked(item, allow, data)
            if any(mount.destination == other.destination for other in made):
                raise _Refused("another mount has the same destination")
        except _Refused as why:
            status(f"Mount of {shown} is skipped: {why}")
        else:
            status(f"Mount of {shown}, {'read-only' if mount.readonly else 'writable'}")
            made.append(mount)
    return made


def _checked(item: Mapping[str, Any], allow: Sequence[str], data: Path) -> HostMount:
    source, destination = item.get("source"), item.get("destination")
    for end in (source, destination):
        if not isinstance(end, str) or not end.startswith("/") or not end.isprintable() or ".." in end.split("/"):
            raise _Refused("source and destination must be absolute paths without .. and control characters")
    destination = posixpath.normpath("/" + str(destination).lstrip("/"))
    if destination == "/" or ":" in destination or any(_is_in(destination, place) for place in OURS):
        raise _Refused(f"it must not be mounted at {make_printable(destination)[:300]}")
    real = os.path.realpath(str(source))
    writable = _permission(real, allow)
    if any(_is_in(place, real) for place in _protected(data)) or _is_in(real, os.path.realpath(data)):
        raise _Refused("this runner's own files and the sockets of its container engine are never mounted")
    try:
        mode = os.stat(real, follow_symlinks=False).st_mode
    except OSError:
        raise _Refused("the directory does not exist on this runner") from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise _Refused("it is neither a directory nor a file")
    return HostMount(source=real, destination=destination, readonly=item.get("readonly") is not False or not writable)


def _permission(real: str, allow: Sequence[str]) -> bool:
    """Whether `real` may be writable, by the longest entry that contains it. Raises _Refused if no entry does."""
    above = []
    for entry in allow:
        root = os.path.realpath(entry.removesuffix(WRITABLE))
        if entry.startswith("/") and root != "/" and _is_in(real, root):
            above.append((len(root), entry.endswith(WRITABLE)))
    if not above:
        raise _Refused("this runner does not allow it; [runner] mounts of its configuration does")
    return max(above)[1]


def _protected(data: Path) -> Iterable[str]:
    """Real paths that no mount may contain."""
    engine = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    places = [str(data), *SOCKETS, *([engine] if engine.startswith("/") else [])]
    return [os.path.realpath(place) for place in places]


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")

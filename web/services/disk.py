"""The disk of the data directory: below `[server] min_free_disk` nothing new is started or stored.

`dispatch` starts nothing, and storing raises `DiskFull`, answered with 507. A runner treats that as a server that is
away: it keeps the lease, its outputs and its spool, and retries. Reports of state are not checked, since they must
not be lost and are small.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from core.config import Config
from core.errors import DiskFull
from web.services.presentation import formats

LOG_SHARE = 0.25  # of min_free_disk: until then logs are stored, which are small and what people look at first


def room(config: Config, share: float = 1.0) -> int:
    """Bytes that may still be stored; negative when there are too few."""
    least = int(share * config.server.min_free_disk)
    return shutil.disk_usage(config.data).free - least if least else 1 << 62


def shortage(config: Config) -> str:
    """A sentence when nothing new is started, else ""."""
    return _sentence(config) if room(config) < 0 else ""


def check(config: Config, size: int, share: float = 1.0) -> None:
    """Raise DiskFull when so many bytes more would leave too few."""
    if room(config, share) < size:
        raise DiskFull(_sentence(config))


def guarded(config: Config, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks while there is room for them: others may store something meanwhile. Raises DiskFull."""
    for chunk in chunks:
        check(config, len(chunk))
        yield chunk


def _sentence(config: Config) -> str:
    free, least = shutil.disk_usage(config.data).free, config.server.min_free_disk
    return (
        f"The server has {formats.size(free)} of free disk, and [server] min_free_disk keeps {formats.size(least)}:"
        " executions wait, and outputs, pushes and webhooks are refused until there is room"
    )

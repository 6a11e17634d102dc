"""Free disk space of the data directory: below `[server] min_free_disk` nothing new is started or stored.

`dispatch` starts nothing, and storing raises `DiskFull`, answered with 507. A runner treats that like an unreachable
server: it keeps the lease, its outputs and its spool, and retries. Reports of state are not checked, since they must
not be lost and are small.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from core.config import Config
from core.errors import DiskFull
from core.units import format_size

LOG_SHARE = 0.25  # share of min_free_disk down to which logs are stored: they are small, and people look at them first


def compute_available_bytes(config: Config, share: float = 1.0) -> int:
    """Return the bytes that may still be stored; negative below the limit."""
    least = int(share * config.server.min_free_disk)
    return shutil.disk_usage(config.data).free - least if least else 1 << 62


def explain_shortage(config: Config) -> str:
    """Return why nothing new is started, as a sentence; "" if there is enough space."""
    return _sentence(config) if compute_available_bytes(config) < 0 else ""


def check(config: Config, size: int, share: float = 1.0) -> None:
    """Raise DiskFull if storing `size` more bytes would leave too little free space."""
    if compute_available_bytes(config, share) < size:
        raise DiskFull(_sentence(config))


def guard_chunks(config: Config, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield chunks, checking the free space before each, since others may store data too. Raises DiskFull."""
    for chunk in chunks:
        check(config, len(chunk))
        yield chunk


def _sentence(config: Config) -> str:
    free, least = shutil.disk_usage(config.data).free, config.server.min_free_disk
    return (
        f"The server has {format_size(free)} of free disk, and [server] min_free_disk keeps {format_size(least)}:"
        " executions wait, and outputs, pushes and webhooks are refused until space is freed"
    )

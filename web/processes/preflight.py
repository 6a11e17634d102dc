"""Checks of this machine before anything starts. Each raises CannotStart with the way to fix the problem."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

from core.errors import CannotStart

MIN_FREE_BYTES = 200 * 10**6  # the database, logs and Redis's file grow while the server runs
OURS = {"pushmill.db", "up.lock", "config.toml"}  # a directory that contains one of them is a data directory
EMPTY = {"lost+found"}  # content of a new file system


def check_directory(data: Path) -> None:
    """Create the data directory, readable by this user only. Raises if it contains other files."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = set(os.listdir(data))
        if not names & OURS and names - EMPTY:
            raise CannotStart(f"{data} contains other files: name an empty or a new directory with --data")
        if data.stat().st_mode & 0o077:
            data.chmod(0o700)
    except FileExistsError:
        raise CannotStart(f"{data} is a file: name a directory with --data") from None
    except OSError as error:
        raise CannotStart(f"{data} cannot be the data directory ({error.strerror}): name another with --data") from None


def check_disk(data: Path, least: int = MIN_FREE_BYTES) -> int:
    """Return the free bytes of the file system of `data`. Raises if there are fewer than `least`."""
    free = shutil.disk_usage(data).free
    if free < least:
        raise CannotStart(
            f"the disk of {data} has {free // 10**6} MB free and {least // 10**6} MB are needed: "
            "free some (docker system df shows what images and containers hold), or name a directory "
            "on another disk with --data"
        )
    return free


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`."""
    if not 0 < port < 65536:
        raise CannotStart(f"{port} is not a valid port: name one from 1 to 65535 with --port")
    try:
        # AF_INET first: `localhost` is then 127.0.0.1, as everywhere else here
        families = sorted(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
        family, kind, protocol, _, address = families[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except BaseException:
            listener.close()
            raise
    except socket.gaierror:
        raise CannotStart(f"the address {host!r} does not exist: name another with --host") from None
    except OSError as error:
        raise CannotStart(_why_not_listening(host, port, error)) from None
    return listener


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken by another program: name another with --port (with make: `make up PORT=…`)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs root: run as root, or name one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: name another with --host"
    return f"cannot listen on {host} port {port} ({error}): name others with --host and --port"

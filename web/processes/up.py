"""`pushmill up`: run everything on one machine, with one command and no configuration.

It starts, watches and ends the other processes. It imports what they need once and forks them, so they share that
memory, and a process that was killed is back within a moment. The web server's socket is opened here, so connections
wait meanwhile.
"""

from __future__ import annotations

import gc
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType

import click

from core import config as configuration
from core import locks
from core.config import Config
from core.errors import CannotStart
from core.states import State
from core.supervision import STOP_SIGNALS, uninterrupted
from web.cli.lazy_commands import load_runner_command
from web.config.steps import parse_in_child
from web.processes import child_process, docker_ping, preflight, quickstart, web_server, worker
from web.processes.child_process import Child
from web.processes.docker_ping import DockerEngine
from web.processes.private_redis import EmbeddedRedis, find_binary
from web.store import executions
from web.store.db import connect

HEALTHY_S = 30.0  # time for the web server to answer
ROUND_S = 0.5  # pause between two checks of the children
CHECK_S = 10.0  # pause between two checks of Docker and the disk
# A runner leaves its containers running and exits within 5 s. Together under 8 s; then processes are killed.
STOP_S: Mapping[str, float] = {"runner": 5.0, "worker": 1.0, "web": 1.0, "redis": 0.8}

Say = Callable[[str], None]


Program = Callable[[socket.socket], None]


def build_programs(config: Config, config_file: Path | None) -> dict[str, Program]:
    """Return what the children run, in the order of their start; each is called with the web server's socket."""
    runner = load_runner_command()
    options = ["--data", str(config.data), *(["--config", str(config_file)] if config_file else [])]

    def run_runner(_: socket.socket) -> None:
        os.environ |= {"PUSHMILL_HOST": config.server.host, "PUSHMILL_PORT": str(config.server.port)}
        runner.main(options)

    return {"web": partial(web_server.serve, config), "worker": lambda _: worker.run(config), "runner": run_runner}


@dataclass(kw_only=True)
class LocalServer:
    """Redis, the web server, the worker and the runner of one data directory, with checks of Docker and the disk."""

    config: Config
    programs: Mapping[str, Program]
    say: Say
    example: Path | None = None
    redis: EmbeddedRedis | None = None
    children: list[Child] = field(default_factory=list)
    engine: DockerEngine | None = None
    tour: subprocess.Popen[bytes] | None = None
    troubles: dict[str, str] = field(default_factory=dict)
    check_s: float = CHECK_S
    checked_at: float = 0.0
    stopping: bool = False  # a stop signal has arrived

    def start(self) -> None:
        """Start everything and return when pages are served. Raises CannotStart or ConfigError; always call stop()."""
        began = time.monotonic()
        data, server = self.config.data, self.config.server
        for folder in ("log", "run"):
            (data / folder).mkdir(mode=0o700, exist_ok=True)
        for name in reversed(list(self.programs)):
            child_process.end_leftover(self._pid_file(name))
        preflight.check_disk(data)
        listener = preflight.listen(server.host, server.port)
        self.children = [self._child(name, listener) for name in self.programs]
        with self._stage("docker") as report:
            self.engine = docker_ping.find(os.environ)
            report(f"engine {self.engine.version}")
        with self._stage("redis") as report:
            report(self._start_redis())
        token_file = data / "admin-token"
        had_token = token_file.exists()  # the web server creates missing ones of database, admin and this file
        copies = list_database_copies(data)
        parse_in_child.warm_up()
        gc.freeze()  # a collection in a child would copy the memory that it shares with us
        for child in self.children:
            with self._stage(child.name) as report:
                child.start()
                if child.name == "web":
                    self._await_page(child)
                report(f"{self.config.local_url}/" if child.name == "web" else f"log in {child.log}")
        for path, _ in sorted(list_database_copies(data) - copies):
            self.say(f"The database was upgraded. A copy of it as it was: {path}")
        self._announce(time.monotonic() - began, None if had_token else token_file)

    def push_example(self) -> None:
        """Push the example, in a process of its own, if this server has never received it."""
        if self.example is None or quickstart.was_pushed(self.config.data):
            return
        argv = [sys.executable, "-P", "-m", "web.cli.main", "quickstart", "--data", str(self.config.data)]
        argv += ["--url", self.config.local_url, str(self.example)]
        with uninterrupted():
            self.tour = child_process.start_session(argv, os.environ, None)

    def tend(self) -> None:
        """Check everything once and restart processes that exited."""
        for child in self.children:
            self._watch(child.name, child.tend)
        self._watch("redis", self._tend_redis)
        if self.tour and self.tour.poll() is not None:
            self.tour = None
        if time.monotonic() - self.checked_at > self.check_s:
            self.checked_at = time.monotonic()
            self._watch("docker", self._ping_engine)
            self._watch("disk", self._check_disk)

    def stop(self) -> None:
        """End all processes in order and report what keeps running. Never raises: it also runs after a failed start."""
        if self.tour:
            with suppress(ProcessLookupError):
                os.killpg(self.tour.pid, signal.SIGTERM)
        for child in reversed(self.children):
            child.stop(STOP_S.get(child.name, 1.0))
        if self.redis:
            self.redis.stop(STOP_S["redis"])
        if count := count_running_executions(self.config.database):
            noun = "1 execution keeps" if count == 1 else f"{count} executions keep"
            self.say(f"{noun} running; the next start picks {'it' if count == 1 else 'them'} up")

    def _child(self, name: str, listener: socket.socket) -> Child:
        return Child(
            name,
            partial(self.programs[name], listener),
            log=self.config.data / "log" / f"{name}.log",
            pid_file=self._pid_file(name),
            keep=listener.fileno() if name == "web" else None,
        )

    def _pid_file(self, name: str) -> Path:
        return self.config.data / "run" / f"{name}.pid"

    def _start_redis(self) -> str:
        if self.config.redis.url:
            return "the one of [redis] url"
        self.redis = EmbeddedRedis(self.config.data / "redis", find_binary(), self.config.redis)
        self.redis.start(os.environ)
        listening = f", for runners at {self.config.redis.listen}" if self.config.redis.listen else ""
        return f"{'taken over, ' if self.redis.took_over else ''}{self.redis.socket}{listening}"

    def _tend_redis(self) -> str | None:
        return self.redis.tend(os.environ) if self.redis else None

    def _ping_engine(self) -> None:
        if self.engine:
            docker_ping.ping(self.engine, timeout=2.0)

    def _check_disk(self) -> None:
        preflight.check_disk(self.config.data)

    def _await_page(self, web: Child) -> None:
        deadline = time.monotonic() + HEALTHY_S
        while not is_healthy(self.config.local_url):
            if web.exit_code() is not None:
                raise CannotStart(f"the web server {web.exit_text()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"the web server does not answer within {HEALTHY_S:g} s; its log: {web.log}")
            time.sleep(0.02)

    def _announce(self, seconds: float, new_token: Path | None) -> None:
        url = self.config.server.url.rstrip("/") or self.config.local_url
        self.say(f"pushmill is up after {seconds:.1f} s: {url}/  (runners: {url}/runners/)")
        if new_token and new_token.exists():
            self.say(f"The admin's token, shown only once: {new_token.read_text(encoding='utf-8').strip()}")
            self.say(f"It is also in {new_token}; log in as admin with it.")
            self._announce_push(url, new_token.with_name("push-token"))
        self.say("Ctrl-C stops everything; running containers continue.")

    def _announce_push(self, url: str, token: Path) -> None:
        if token.exists():
            login = f"://admin:{token.read_text(encoding='utf-8').strip()}@"
            self.say(f"To push, with a token that can do nothing else (also in {token}):")
            self.say(f"  git push {url.replace('://', login, 1)}/git/NAME.git main")

    def _watch(self, what: str, look: Callable[[], str | None]) -> None:
        """Print what a check returns; print a problem only when it appears and when it is solved."""
        try:
            if sentence := look():
                self.say(sentence)
        except (CannotStart, OSError) as error:
            if self.troubles.get(what) != str(error):
                self.say(f"{what}: {error}")
            self.troubles[what] = str(error)
        else:
            if self.troubles.pop(what, None):
                self.say(f"{what}: recovered")

    @contextmanager
    def _stage(self, name: str) -> Iterator[Say]:
        began, words = time.monotonic(), list[str]()
        yield words.append
        self.say(f"  {name:<10}{' '.join(words):<56} {time.monotonic() - began:6.2f} s")


def list_database_copies(data: Path) -> set[tuple[Path, int]]:
    """Return the copies of the database that upgrades made, each with its modification time."""
    return {(file, file.stat().st_mtime_ns) for file in (data / "backups").glob("before-*.db")}


def is_healthy(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=0.5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def count_running_executions(database: Path) -> int:
    """Return how many executions have a runner's lease; 0 if there is no database yet."""
    if not database.exists():
        return 0
    try:
        db = connect(database)
        try:
            return len(executions.list_in_states(db, State.STARTED))
        finally:
            db.close()
    except Exception:  # noqa: BLE001  a closing message is not worth a traceback
        return 0


@contextmanager
def sole_owner(data: Path, url: str) -> Iterator[None]:
    """Hold the lock of a data directory. The kernel releases it with the process, however that exits."""
    with open(data / "up.lock", "a+", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as lock:
        if not locks.take(lock.fileno(), wait=False):
            lock.seek(0)
            pid, _, where = lock.read().strip().partition(" ")
            raise CannotStart(
                f"pushmill is already running on this data directory, {data} (process {pid}, {where}): "
                "use that one, or name another directory and port with --data and --port"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()} {url}/\n")
        lock.flush()
        yield


def run(server: LocalServer) -> None:
    """Start, tend until a stop signal arrives, stop."""
    config = server.config
    preflight.check_directory(config.data)
    with sole_owner(config.data, config.local_url):
        raise_on_stop_signals(server)
        try:
            server.start()
            server.push_example()
            while not server.stopping:
                server.tend()
                time.sleep(ROUND_S)
        except KeyboardInterrupt:
            pass
        finally:
            ignore_stop_signals()
            if server.stopping:
                server.say("\nstopping …")
            server.stop()
        server.say("stopped; all data is kept")


def raise_on_stop_signals(server: LocalServer) -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP, once: later signals are ignored while we stop.

    They also set `server.stopping`, since Python discards exceptions raised while it runs a destructor.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        ignore_stop_signals()
        server.stopping = True
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)


def ignore_stop_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def say(sentence: str) -> None:
    """Print one line to the terminal, if it still exists."""
    with suppress(OSError):
        print(sentence, flush=True)


@click.command("up")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory; created if missing.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default 8000.")
@click.option(
    "--quickstart", "example", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Push this example on the first start.",
)  # fmt: skip
def command(
    data: Path | None, config_file: Path | None, host: str | None, port: int | None, example: Path | None
) -> None:
    """Run everything on this machine.

    Starts Redis, the web server, the worker and a runner, and runs until Ctrl-C.
    """
    config_file = config_file.absolute() if config_file else None
    config = configuration.load(data, config_file, server__host=host, server__port=port)
    say(f"pushmill on {config.data}")
    try:
        run(LocalServer(config=config, programs=build_programs(config, config_file), say=say, example=example))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise CannotStart(
            f"pushmill cannot continue: {error.strerror or error}{where}; correct that and start again"
        ) from error

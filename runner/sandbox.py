"""The network sandbox that a slot keeps ready for its next execution, and who owns which sandbox.

A slot makes a sandbox while it is idle. The next execution takes it, and at its end the slot renews its network
namespace for the one after that; each namespace serves one execution. Where namespaces cannot be renewed, the execution
removes the sandbox, and the slot makes another one while the container runs. An execution that finds no sandbox gets a
network of its own, which takes Docker longer.

A sandbox belongs to the process that locks the file of its name in `sandboxes`, or to the execution whose directory
contains its name in `sandbox.json`. The file exists before the sandbox does, and an execution writes `sandbox.json`
before the file is removed. So a sandbox that has neither is a stray, which `remove_strays` removes.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core import locks
from core.errors import PushmillError
from runner.containers import namespaces
from runner.containers.engine import Engine
from runner.containers.namespaces import NotRenewable
from runner.containers.sandboxes import Sandbox
from runner.containers.specs import Network
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

FILE, ETC = "sandbox.json", "etc"
YOUNG_S = 60.0  # age of a file that a process may have created without locking it yet
MAKING_S = 1.5  # that a slot which is stopped waits for a sandbox that is being made: it would be a stray
IDLE_S = 0.5  # after the last start of a container: until then a slot is likely to get its next execution


class ReadySandbox:
    """Keeps at most one sandbox ready. `take` never waits. Thread-safe; one object per process.

    A process runs one execution after the other: at most one sandbox is lent at a time.
    """

    def __init__(self, engine: Engine, runner_id: str, directory: Path, network: Network) -> None:
        self._engine, self._runner_id, self._network = engine, runner_id, network
        self._directory = directory / "sandboxes"
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False
        self._idle = threading.Event()  # clear while a sandbox is being made
        self._idle.set()
        self._ready: tuple[Sandbox, int] | None = None  # with the descriptor of the locked file
        self._lent: Sandbox | None = None  # that will be given back
        self._renewable = True  # until the machine proves the contrary
        if why := namespaces.explain_obstacle(network):
            log.info("each execution needs a new network sandbox: %s", why)

    def prepare_soon(self, delay_s: float = IDLE_S) -> None:
        """Make a sandbox after `delay_s`, unless one is ready by then or `take` is called before.

        None is made while one is lent that will be given back.
        """
        with self._lock:
            self._cancel()
            self._timer = threading.Timer(delay_s, self._prepare)
            self._timer.daemon = True
            self._timer.start()

    def take(self, directory: Path) -> Sandbox | None:
        """Give the ready sandbox to the execution with this directory; returns None if none is ready."""
        with self._lock:
            self._cancel()
            ready, self._ready = self._ready, None
            self._lent = ready[0] if ready is not None and ready[0].namespace is not None else None
        if ready is None:
            return None
        sandbox, descriptor = ready
        (directory / ETC).mkdir(exist_ok=True)
        for name, text in sandbox.files.items():
            (directory / ETC / name).write_text(text, encoding="utf-8")
            (directory / ETC / name).chmod(0o644)
        write_json(directory / FILE, {"name": sandbox.name, "addresses": sandbox.addresses})
        self._disown(sandbox.name, descriptor)
        return sandbox

    def give_back(self, directory: Path) -> None:
        """Renew and keep the sandbox that was lent to the execution with this directory.

        Processes of the execution that still run lose their network. Does nothing if none was lent; a sandbox that
        cannot be kept stays with the execution, which removes it.
        """
        lent, taken = self._lent, load_sandbox(directory)
        if lent is None:
            return
        kept = taken is not None and taken.name == lent.name and self._renew(lent)
        self._lent = None  # not before: until then no other one is made
        if kept:
            (directory / FILE).unlink()
        else:
            self.prepare_soon()

    def close(self) -> None:
        """Make no more sandboxes, and wait for the one that is being made. May be called by a signal handler."""
        self._closed = True
        self._idle.wait(MAKING_S)

    @property
    def name(self) -> str:
        """The name of the ready sandbox, "" if there is none."""
        with self._lock:
            return self._ready[0].name if self._ready else ""

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _prepare(self) -> None:
        with self._lock:
            if self._closed or self._lent is not None or self._ready is not None or not self._idle.is_set():
                return
            self._idle.clear()
        made = None
        try:
            made = self._make()
        except (PushmillError, OSError) as error:
            log.warning("the next execution gets a network of its own: %s", error)
        finally:
            with self._lock:
                self._ready = made
            self._idle.set()

    def _make(self) -> tuple[Sandbox, int]:
        name = f"pushmill-sandbox-{uuid.uuid4().hex}"
        renewable = self._renewable and not namespaces.explain_obstacle(self._network)
        descriptor = self._own(name)
        try:
            made = self._engine.sandboxes.start(name, self._runner_id, self._network.name, renewable=renewable)
            return made, descriptor
        except PushmillError:
            self._engine.remove(name)
            self._disown(name, descriptor)
            raise

    def _renew(self, sandbox: Sandbox) -> bool:
        """Renew a sandbox and keep it ready; returns whether that succeeded."""
        try:
            renewed = sandbox.renewed()
            descriptor = self._own(sandbox.name)
        except (PushmillError, OSError) as error:
            self._renewable = not isinstance(error, NotRenewable)
            log.warning("%s", error)
            return False
        with self._lock:
            keep = self._ready is None and self._idle.is_set() and not self._closed
            if keep:
                self._cancel()
                self._ready = renewed, descriptor
        if not keep:
            self._disown(sandbox.name, descriptor)
        return keep

    def _own(self, name: str) -> int:
        """Create and lock the file of a sandbox; returns its descriptor."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locks.take(descriptor)
        return descriptor

    def _disown(self, name: str, descriptor: int) -> None:
        (self._directory / name).unlink(missing_ok=True)
        locks.release(descriptor)


@contextmanager
def lending(ready: ReadySandbox | None, directory: Path) -> Iterator[None]:
    """Give back, after the block, the sandbox that the execution with this directory has taken in it."""
    try:
        yield
    finally:
        if ready is not None:
            ready.give_back(directory)


def load_sandbox(directory: Path) -> Sandbox | None:
    """Return the sandbox that the execution with this directory has taken, if any."""
    found = read_json(directory / FILE)
    return Sandbox(name=found["name"], addresses=found["addresses"]) if found else None


def give_up(engine: Engine, directory: Path) -> None:
    """Remove the sandbox of an execution in the background, once its container is gone; a stray if that fails."""
    sandbox = load_sandbox(directory)
    if sandbox is not None:
        (directory / FILE).unlink(missing_ok=True)
        threading.Thread(target=engine.remove, args=(sandbox.name,), name="sandbox", daemon=True).start()


def remove_strays(engine: Engine, runner_id: str, directory: Path) -> int:
    """Remove the sandboxes of this runner that belong to nobody, and files of dead processes; returns how many."""
    removed = 0
    for name in engine.sandboxes.names(runner_id):
        if not (_is_locked(directory / "sandboxes" / name) or _is_taken(directory / "executions", name)):
            engine.remove(name)
            removed += 1
    for path in (directory / "sandboxes").glob("*"):
        with suppress(FileNotFoundError):  # its owner removes it when an execution takes the sandbox
            if path.stat().st_mtime < time.time() - YOUNG_S and not _is_locked(path):
                path.unlink()
    return removed


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not locks.take(descriptor, wait=False)
    finally:
        locks.release(descriptor)


def _is_taken(executions: Path, name: str) -> bool:
    return any((found := load_sandbox(path.parent)) and found.name == name for path in executions.glob(f"*/{FILE}"))

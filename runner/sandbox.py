"""The network sandbox that a slot keeps ready for its next execution, and who owns which sandbox.

A slot makes a sandbox while it is idle or its container runs. The next execution takes it, is the only one that joins
it, and removes it at its end. With `reuse_sandboxes`, one that is known to be as it was made goes back to its slot:
its execution has sent no packet, so that nothing of it can be left. An execution that finds no sandbox gets a network
of its own, which takes Docker longer.

A sandbox belongs to the process that locks the file of its name in `sandboxes`, or to the execution whose directory
contains its name in `sandbox.json`. The file exists before the sandbox does, and an execution writes `sandbox.json`
before the file is removed. So a sandbox that has neither belongs to nobody, and `remove_strays` removes it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from core import locks
from core.config import RunnerConfig
from core.errors import PushmillError
from runner.containers.engine import Engine
from runner.containers.sandboxes import Sandbox
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)

FILE = "sandbox.json"
YOUNG_S = 60.0  # age of a file that a process may have created without locking it yet
MAKING_S = 1.5  # that a slot which is stopped waits for a sandbox that is being made: it would be a stray
IDLE_S = 0.5  # after the last start of a container: until then a slot is likely to get its next execution
LENT_S = 5.0  # between two checks whether the sandbox of the running execution can still be given back


class ReadySandbox:
    """Keeps at most one sandbox ready. `take` never waits. Thread-safe; one object per process.

    A process runs one execution after the other: at most one sandbox is lent at a time.
    """

    def __init__(self, engine: Engine, runner_id: str, directory: Path, settings: RunnerConfig) -> None:
        self._engine, self._runner_id = engine, runner_id
        self._network, self._reuse = settings.network, settings.reuse_sandboxes
        self._directory = directory / "sandboxes"
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False
        self._idle = threading.Event()  # clear while a sandbox is being made
        self._idle.set()
        self._ready: tuple[Sandbox, int] | None = None  # with the descriptor of the locked file
        self._lent: Sandbox | None = None  # that may be given back

    def prepare_soon(self, delay_s: float = IDLE_S) -> None:
        """Make a sandbox after `delay_s`, unless one is ready by then or `take` is called before.

        While a sandbox that may be given back is unused, none is made.
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
        if ready is None:
            return None
        sandbox, descriptor = ready
        write_json(directory / FILE, asdict(sandbox))
        self._disown(sandbox.name, descriptor)
        self._lent = sandbox if self._reuse else None
        return sandbox

    def give_back(self, directory: Path) -> None:
        """Keep the sandbox that was lent to the execution with this directory, if it is unused.

        The execution's container has ended. Does nothing without `reuse_sandboxes`.
        """
        lent, self._lent = self._lent, None
        if lent is None or lent != taken(directory):
            return
        if lent.is_unused() and self._keep(lent):
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
        lent = self._lent
        if lent is not None and lent.is_unused():
            self.prepare_soon(LENT_S)
            return
        with self._lock:
            if self._closed or self._ready is not None or not self._idle.is_set():
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
        descriptor = self._own(name)
        try:
            return self._engine.sandboxes.start(name, self._runner_id, self._network), descriptor
        except PushmillError:
            self._engine.remove(name)
            self._disown(name, descriptor)
            raise

    def _keep(self, sandbox: Sandbox) -> bool:
        descriptor = self._own(sandbox.name)
        with self._lock:
            keep = self._ready is None and self._idle.is_set() and not self._closed
            if keep:
                self._cancel()
                self._ready = sandbox, descriptor
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
        os.close(descriptor)


def taken(directory: Path) -> Sandbox | None:
    """Return the sandbox that the execution with this directory has taken, if any."""
    found = read_json(directory / FILE)
    return Sandbox(**found) if found else None


def give_up(engine: Engine, directory: Path) -> None:
    """Remove the sandbox of an execution in the background, once its container is gone; a stray if that fails."""
    sandbox = taken(directory)
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
        os.close(descriptor)


def _is_taken(executions: Path, name: str) -> bool:
    return any((found := taken(path.parent)) and found.name == name for path in executions.glob(f"*/{FILE}"))

"""`pushmill runner`: supervises one process per slot and reports the state of this machine to the server."""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
from redis.exceptions import RedisError

from core.config import Config, load
from core.errors import ConfigError, PushmillError
from runner import cleanup, quarantine
from runner.containers import mounts
from runner.containers.engine import Engine
from runner.containers.gpus import Watch
from runner.heartbeat import Heartbeat
from runner.host import Host, firewall_problem, free_disk, memory_bytes, protect
from runner.server_client import Reporter
from runner.slot import run_slot

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TICK_S = 0.2
CLEANUP_S = 600.0  # from one cleanup to the next; a cleanup that takes longer is killed
LOWEST_PRIORITY = 19
STOP_S = 4.0  # for the slots to exit, then they are killed
SHORT_LIFE_S = 1.0  # a slot that exits sooner is restarted with a back-off
LONGEST_WAIT_S = 4.0  # short, because Docker or Redis may be back at any moment
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@click.command("runner")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration file.")
def command(data: Path | None, config_path: Path | None) -> None:
    """Run executions on this machine until stopped; running containers outlive it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        Supervisor(load(data, config_path)).run()
    except PushmillError as error:
        raise click.ClickException(str(error)) from None


@dataclass
class Slot:
    """A slot for one execution: its process, and when the next process may start (`time.monotonic()`)."""

    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    wait_s: float = field(default=0.0)

    def died(self, now: float) -> None:
        young = now - self.started_at < SHORT_LIFE_S
        self.wait_s = min(LONGEST_WAIT_S, max(SHORT_LIFE_S, 2 * self.wait_s)) if young else 0.0
        self.pid, self.start_at = 0, now + self.wait_s


class Supervisor:
    """Forks the slots from a process that has imported all modules and has no threads."""

    def __init__(self, config: Config) -> None:
        mounts.check(config.runner.mounts)
        self._config = config
        self._token = _credential(config.runner.token, config.runner_dir / "token", "[runner] token")
        self._redis_url = _credential(config.redis.url, config.data / "redis" / "url", "[redis] url")
        self._server_url = config.runner.server or config.local_url
        config.runner_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runner_id = _runner_id(config.runner_dir / "id")
        self._reporter = Reporter(self._server_url, self._token)
        self._info = _info(config)
        self._gpus = Watch(config.runner_dir, _why_no_gpus)
        self._slots: list[Slot] = []
        self._stopping = False
        self._heartbeat = Heartbeat(self._reporter, config.runner.name, config.runner_dir / "executions")
        self._cleanup = Slot()

    def run(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        self._gpus.first()
        gc.collect()
        gc.freeze()
        log.info("runner %s: %d slots for %s", self._config.runner.name, self._config.runner.slots, self._server_url)
        while not self._stopping:
            self._gpus.poll()
            self._reap()
            self._start_missing()
            self._clean()
            self._report()
            time.sleep(TICK_S)
        self._end_slots()

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid and os.waitpid(slot.pid, os.WNOHANG)[0]:
                slot.died(time.monotonic())
                if not self._stopping:
                    log.warning("a slot ended; the next one starts in %.0f s", slot.wait_s)

    def _start_missing(self) -> None:
        """Start one process per configured slot (executions without a GPU) and one per GPU.

        The processes of lost GPUs stay idle.
        """
        wanted = self._config.runner.slots + len(self._gpus.inventory.gpus)
        self._slots += [Slot() for _ in range(wanted - len(self._slots))]
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid and now >= slot.start_at:
                slot.pid, slot.started_at = self._fork(self._be_slot), now

    def _clean(self) -> None:
        """Run the cleanup in a child process of low priority, at the start and every ten minutes."""
        child, now = self._cleanup, time.monotonic()
        if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
            child.pid = 0
        if now < child.start_at:
            return
        if child.pid:
            log.warning("the cleanup takes more than %.0f s and is killed", CLEANUP_S)
            os.kill(child.pid, signal.SIGKILL)
        else:
            child.pid, child.start_at = self._fork(self._be_cleanup), now + CLEANUP_S

    def _fork(self, body: Callable[[], None]) -> int:
        """Fork a child that runs `body` and exits; returns its pid. The child also exits when this process dies."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the child has its own handlers
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            return pid
        try:
            self._be_child(parent)
            body()
        except (PushmillError, RedisError) as error:
            log.error("process %d ends: %s", os.getpid(), error)
        except BaseException:
            log.exception("process %d ends", os.getpid())
        finally:
            os._exit(1)

    def _be_child(self, parent: int) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: os._exit(0))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the call of prctl
            os._exit(0)
        self._reporter.close()

    def _be_slot(self) -> None:
        run_slot(self._config, self._host(), self._redis_url)

    def _be_cleanup(self) -> None:
        os.nice(LOWEST_PRIORITY)
        cleanup.clean(self._host())

    def _host(self) -> Host:
        engine = Engine()
        return Host(
            runner_id=self._runner_id,
            directory=self._config.runner_dir,
            server_url=self._server_url,
            token=self._token,
            settings=self._config.runner,
            reporter=Reporter(self._server_url, self._token),
            engine=engine,
            network=engine.network(self._config.runner.network),
        )

    def _report(self) -> None:
        if not self._heartbeat.due():
            return
        inventory = self._gpus.inventory
        self._info |= {
            "load": os.getloadavg()[0],
            "free_disk_bytes": free_disk(self._config.runner_dir),
            "driver_version": inventory.driver_version,
            "gpus": [asdict(gpu) for gpu in inventory.gpus],
            "problems": [*inventory.problems, *self._problems()],
        }
        self._heartbeat.send(self._config.runner.slots, self._info)

    def _problems(self) -> list[str]:
        directory = self._config.runner_dir
        firewall = [problem] if (problem := firewall_problem(directory)) else []
        return [*firewall, *quarantine.problems(directory), *self._slot_problems()]

    def _slot_problems(self) -> list[str]:
        dying = sum(slot.wait_s >= LONGEST_WAIT_S for slot in self._slots)
        return [f"{dying} of {len(self._slots)} slots end as soon as they start; the runner's log says why"] * (
            dying > 0
        )

    def _end_slots(self) -> None:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(slot.pid for slot in self._slots) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        log.info("runner %s stopped; running containers keep running", self._config.runner.name)

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)


def _info(config: Config) -> dict[str, Any]:
    """Return the facts about this machine that do not change while the runner runs.

    Raises PushmillError without Docker.
    """
    engine = Engine()
    network = engine.network(config.runner.network)  # here, so that the slots do not race to create it
    if problem := protect(config.runner_dir, network, config.runner):
        log.warning("%s", problem)
    facts: dict[str, Any] = {
        "version": importlib.metadata.version("pushmill"),
        "docker_version": engine.version,
        "cpu_count": os.cpu_count(),
        "memory_bytes": memory_bytes(),
    }
    engine.close()
    return facts


def _why_no_gpus(uuid: str) -> str:
    engine = Engine()
    try:
        return engine.gpus.why_none(uuid)
    finally:
        engine.close()


def _credential(given: str, path: Path, key: str) -> str:
    if given:
        return given
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigError(f"{key} is not set, and there is no {path}; `pushmill up` writes it on the server") from None


def _runner_id(path: Path) -> str:
    """The id of this runner in the labels of its containers. Created at the first start."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(str(uuid.uuid4()))
    except FileExistsError:
        pass
    return path.read_text(encoding="utf-8").strip()

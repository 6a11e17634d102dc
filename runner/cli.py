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
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
from redis.exceptions import RedisError

from core import supervision
from core.config import Config, load
from core.errors import ConfigError, PushmillError
from core.supervision import Backoff, Forked, Supervised, unblock_stop_signals
from runner import cleanup, quarantine, sandbox
from runner.containers import mounts
from runner.containers.engine import Engine
from runner.containers.gpus import GpuWatch
from runner.heartbeat import Heartbeat
from runner.host import Host, get_free_disk, get_memory_bytes, protect, read_firewall_problem
from runner.sandbox import ReadySandbox
from runner.server_client import Reporter
from runner.slot import run_slot

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TICK_S = 0.2
CLEANUP_S = 600.0  # time from one cleanup to the next; a cleanup that takes longer is killed
LOWEST_PRIORITY = 19
STOP_S = 4.0  # time for the slots to exit before they are killed
BACKOFF = Backoff(young_s=1.0, settled_s=0.0, first_s=1.0, longest_s=4.0)  # Docker or Redis may be back soon
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@click.command("runner")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration file.")
def command(data: Path | None, config_path: Path | None) -> None:
    """Run executions on this machine until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        Supervisor(load(data, config_path)).run()
    except PushmillError as error:
        raise click.ClickException(str(error)) from None


def fork(body: Callable[[], None]) -> Forked:
    """Start a child that runs `body` and exits. It also exits when this process dies."""
    parent = os.getpid()

    def run() -> None:
        _outlive_nobody(parent)
        try:
            body()
        except (PushmillError, RedisError) as error:
            log.error("process %d ends: %s", os.getpid(), error)
        except BaseException:
            log.exception("process %d ends", os.getpid())

    return Forked(run)


def _outlive_nobody(parent: int) -> None:
    """Make this new process exit at a stop signal, and when its parent dies."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    unblock_stop_signals()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before the call of prctl
        os._exit(0)


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
        self._gpus = GpuWatch(config.runner_dir, _why_no_gpus)
        self._slots: list[Supervised] = []
        self._stopping = False
        self._heartbeat = Heartbeat(self._reporter, config.runner.name, config.runner_dir / "executions")
        self._cleanup = Supervised(lambda: fork(self._be_cleanup), BACKOFF)
        self._cleanup_at = 0.0

    def run(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        self._gpus.first()
        gc.collect()
        gc.freeze()
        log.info("runner %s: %d slots for %s", self._config.runner.name, self._config.runner.slots, self._server_url)
        while not self._stopping:
            self._gpus.poll()
            self._tend_slots()
            self._clean()
            self._report()
            time.sleep(TICK_S)
        supervision.stop(self._slots, STOP_S)
        self._remove_sandboxes()
        log.info("runner %s stopped; running containers keep running", self._config.runner.name)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True

    def _tend_slots(self) -> None:
        """Keep one process per configured slot (executions without a GPU) and one per GPU.

        The processes of lost GPUs stay idle.
        """
        for slot in self._slots:
            if slot.restart_if_due():
                log.warning("a slot ended; the next one starts in %.0f s", slot.pause_s)
        while len(self._slots) < self._config.runner.slots + len(self._gpus.inventory.gpus):
            self._slots.append(Supervised(lambda: fork(self._be_slot), BACKOFF))
            self._slots[-1].start()

    def _clean(self) -> None:
        """Run the cleanup in a child process of low priority, at the start and every ten minutes."""
        running = self._cleanup.pid
        if time.monotonic() < self._cleanup_at:
            return
        if running:
            log.warning("the cleanup takes more than %.0f s and is killed", CLEANUP_S)
            self._cleanup.send(signal.SIGKILL)
        else:
            self._cleanup.start()
            self._cleanup_at = time.monotonic() + CLEANUP_S

    def _be_slot(self) -> None:
        self._reporter.close()
        host = self._host()
        if self._config.runner.network_sandbox and host.engine.sandboxes.available:
            ready = ReadySandbox(host.engine, host.runner_id, host.directory, host.network)
            host = replace(host, ready_sandbox=ready)
        run_slot(self._config, host, self._redis_url)

    def _be_cleanup(self) -> None:
        self._reporter.close()
        os.nice(LOWEST_PRIORITY)
        cleanup.clean(self._host())

    def _remove_sandboxes(self) -> None:
        try:
            sandbox.remove_strays(Engine(), self._runner_id, self._config.runner_dir)
        except PushmillError as error:
            log.warning("network sandboxes of the slots remain until the next start: %s", error)

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
            "free_disk_bytes": get_free_disk(self._config.runner_dir),
            "driver_version": inventory.driver_version,
            "gpus": [asdict(gpu) for gpu in inventory.gpus],
            "problems": [*inventory.problems, *self._problems()],
        }
        self._heartbeat.send(self._config.runner.slots, self._info)

    def _problems(self) -> list[str]:
        directory = self._config.runner_dir
        firewall = [problem] if (problem := read_firewall_problem(directory)) else []
        return [*firewall, *quarantine.list_problems(directory), *self._slot_problems()]

    def _slot_problems(self) -> list[str]:
        dying = sum(slot.pause_s >= BACKOFF.longest_s for slot in self._slots)
        return [f"{dying} of {len(self._slots)} slots end as soon as they start; the runner's log says why"] * (
            dying > 0
        )


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
        "memory_bytes": get_memory_bytes(),
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

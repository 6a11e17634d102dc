"""Adopts executions: before a slot takes jobs, it finishes those on this machine whose process died.

The supervisor replaces a killed slot within 5 s: the new slot continues from the acknowledged offset, and the GPUs stay
allocated. If the whole runner is killed, the same happens at its next start; until then containers print into their
spools. An execution without a container returns to the queue within 15 s. A restart of Docker without `--live-restore`
ends the containers: their executions end with `error: interrupted` and the outputs written so far, and the containers
are removed when Docker is back.
"""

from __future__ import annotations

import logging
from pathlib import Path

from core.errors import PushmillError
from runner import cleanup, quarantine, sandbox
from runner.execution.claim import claim
from runner.execution.conclude import concluded, discard
from runner.execution.container import ensure_started, open_relay
from runner.execution.context import ExecutionContext
from runner.execution.stages import execute
from runner.execution.upload import upload
from runner.execution.wait import wait_for_end
from runner.host import Host
from runner.state_dir import locked, read_json

log = logging.getLogger(__name__)


def recover(host: Host) -> None:
    """Finish or discard every execution in the runner's directory that no process holds."""
    host.executions.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in sorted(host.executions.iterdir()):
        try:
            _recover_or_move_aside(host, directory)
        except (PushmillError, OSError):
            log.exception("execution %s cannot be resumed", directory.name)


def recover_one(host: Host, execution: str) -> bool:
    """Finish or discard one execution if it has a directory here.

    Returns False if it cannot be adopted and was moved to the quarantine.
    """
    directory = host.executions / execution
    return _recover_or_move_aside(host, directory) if directory.exists() else True


def _recover_or_move_aside(host: Host, directory: Path) -> bool:
    """Recover one execution; quarantine it after an unexpected error, which would occur again.

    PushmillError and OSError are raised: Docker, the disk or the server may have recovered at the next start.
    """
    try:
        _recover(host, directory)
    except (PushmillError, OSError):
        raise
    except Exception:
        log.exception("execution %s cannot be adopted", directory.name)
        with locked(directory) as ours:
            if ours:
                cleanup.remove_containers(host, directory.name)
                quarantine.move(host.directory, directory)
        return False
    return True


def _recover(host: Host, directory: Path) -> None:
    with locked(directory) as ours:
        if not ours:
            return
        state = read_json(directory / "state.json")
        if not state or not (directory / "spool").exists():
            discard(host, directory)
            return
        if (directory / "container.json").exists() and not _cannot_start(host, directory):
            adopt(host, directory, state["attempt"], state["claimed_at"])
            return
        cleanup.remove_containers(host, directory.name)
        sandbox.give_up(host.engine, directory)
    execute(host, directory.name, state["attempt"], resume=True)


def _cannot_start(host: Host, directory: Path) -> bool:
    """Whether the container was never started and its network sandbox has ended since it was created."""
    joined = sandbox.load_sandbox(directory)
    if joined is None or host.engine.sandboxes.is_running(joined.name):
        return False
    return host.engine.is_new(read_json(directory / "container.json"))


def adopt(host: Host, directory: Path, attempt: int, claimed_at: float) -> None:
    """Adopt the container of an execution whose process died, until its end. The caller holds the lock."""
    claimed = claim(host, directory, attempt, resume=True)
    if claimed is None:
        return
    with ExecutionContext(host, claimed, directory, claimed_at) as run, concluded(run):
        run.container_id = read_json(directory / "container.json")
        run.status(f"Runner {host.settings.name} resumed it")
        open_relay(run, {})
        ensure_started(run)
        report = wait_for_end(run)
        run.report = upload(run, report)
    discard(host, directory)

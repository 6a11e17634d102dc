"""The stages of one execution: claim, checkout and image, inputs, documents, container, log, outputs, report."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import Conflict, Denied, ExecutionFailed, NotFound
from core.states import FailureReason, State
from core.wire import ExecutionSpec, FinalReport
from runner import checkout, cleanup, quarantine
from runner.clock import steady
from runner.containers import gpus, images, mounts
from runner.containers.engine import OverlayUnavailable, can_overlay
from runner.containers.specs import ContainerSpec
from runner.execution import config_files, relay, step_controls
from runner.execution.context import AWAY_S, BackgroundCall, Cancelled, ExecutionContext, over_restarts
from runner.execution.outcome import failed, stopped
from runner.execution.relay import input_requests
from runner.execution.upload import upload
from runner.execution.wait import keep
from runner.formats import duration_text, size_text
from runner.host import Host, free_disk, protect, runtime
from runner.inputs import fetch
from runner.inputs.datums import Datums
from runner.server_client import Unavailable
from runner.sources import Sources
from runner.state_dir import locked, make, read_json, write_json

log = logging.getLogger(__name__)

HEARTBEAT_WAIT_S = 1.0


def execute(host: Host, execution: str, attempt: int, *, resume: bool = False) -> None:
    """Run one execution; its failure is reported to the server, not raised. `resume` if this runner has claimed it."""
    directory = host.executions / execution
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(directory) as ours:
        if not ours:
            log.info("execution %s is kept by another process", execution)
            return
        claimed_at = _note_attempt(host, directory, attempt)
        spec = claim(host, directory, attempt, resume=resume)
        if spec is None:
            return
        offsets = acknowledged_offsets(host, spec) if resume or attempt > 1 else {}
        make(host.directory, directory, spec.script, offsets)
        with ExecutionContext(host, spec, directory, claimed_at, offsets) as run:
            conclude(run, lambda: upload(run, keep(launch(run, prepare(run)))))


def claim(host: Host, directory: Path, attempt: int, *, resume: bool) -> ExecutionSpec | None:
    """Claim an execution and return its spec.

    Returns None if the execution does not belong to this runner; its container and directory are then removed.
    """
    try:
        if not resume:
            with contextlib.suppress(Conflict):  # may still be ours, if the response to an earlier try was lost
                return host.reporter.claim(directory.name, attempt)
        return host.reporter.claim(directory.name, attempt, resume=True)
    except (Conflict, NotFound) as refusal:
        log.info("execution %s is not ours: %s", directory.name, refusal)
        discard(host, directory)
        return None


def acknowledged_offsets(host: Host, spec: ExecutionSpec) -> Mapping[str, int]:
    """Return how many spool bytes of each stream the server has. Retries until the server answers."""
    while True:
        try:
            return host.reporter.heartbeat(spec.uuid, spec.attempt).acknowledged
        except (Unavailable, Denied) as error:
            log.warning("%s; trying again", error)
            time.sleep(HEARTBEAT_WAIT_S)


def check_out(run: ExecutionContext) -> Path:
    """Return the commit's tree. Retries an internal failure once, when the server answers again.

    The server may have been unreachable, or may have rejected the token.
    """
    host, spec = run.host, run.spec
    origin = (host.cache, host.server_url, host.token, spec.project_name, spec.commit_identifier)
    with Sources(run) as sources:
        try:
            tree = checkout.prepare(*origin, sources.complete)
        except ExecutionFailed as failure:
            if failure.reason is not FailureReason.INTERNAL:
                raise
            log.warning("%s; trying again", failure)
            acknowledged_offsets(host, spec)
            tree = checkout.prepare(*origin, sources.complete)
    for note in checkout.notes(tree):
        run.status(note)
    return tree


@dataclass(frozen=True)
class Prepared:
    """Input of `launch` besides the execution's directory. `tree` is complete once `checkout` is done."""

    tree: Path
    checkout: BackgroundCall[Path]
    image: images.Image


def prepare(run: ExecutionContext) -> Prepared:
    """Fetch commit, image and inputs in parallel and write the documents; returns before the checkout is complete.

    Raises ExecutionFailed and Cancelled.
    """
    host, spec = run.host, run.spec
    _check_disk(run)
    wanted = step_controls.read(spec.environment_variables)
    for note in wanted.notes:
        run.status(note)
    run.status(f"Preparing commit {spec.commit_identifier[:12]} on image {spec.image}")
    protected = BackgroundCall(lambda: protect(host.directory, host.network, host.settings))
    image = BackgroundCall(lambda: _image(run, wanted.pull_image or spec.pull == "always"))
    commit = (spec.project_name, spec.commit_identifier)
    tree = checkout.tree_of(host.cache, *commit)
    checkout.use(host.cache, tree, run.directory / "tree")
    checked_out = BackgroundCall(lambda: check_out(run))
    # in a thread, so that a server that never answers does not delay a stop
    fetched = BackgroundCall(lambda: fetch_inputs(run, ignore_cache=wanted.refetch_inputs)).result(run)
    run.check()
    api = open_relay(run, input_requests(fetched))
    config_files.write(run.directory / "config", spec, fetched, api, runtime(host))
    protected.result(run)
    return Prepared(tree, checked_out, image.result(run))


def fetch_inputs(run: ExecutionContext, *, ignore_cache: bool) -> list[fetch.FetchedInput]:
    """Fetch the inputs into the execution's directory. Raises ExecutionFailed."""
    host, spec = run.host, run.spec
    reporter = host.reporter.with_give_up(run.lease.cancelled)
    try:
        return fetch.fetch(
            spec.input_specs(),
            run.directory / "inputs",
            host.cache,
            datums=Datums(reporter, spec),
            allow_hosts=host.settings.allow_input_hosts,
            ignore_cache=ignore_cache,
            status=run.status,
            cancelled=run.lease.cancelled,
            limit=free_disk(host.directory) - host.settings.min_free_disk,
        )
    finally:
        reporter.close()


def _image(run: ExecutionContext, always_pull: bool) -> images.Image:
    host, name = run.host, run.spec.image
    images.record_intended_use(host.directory, name)
    image = over_restarts(
        run,
        lambda: host.engine.image(
            name,
            always_pull=always_pull,
            allow_registries=host.settings.allow_registries,
            status=run.status,
            cancelled=run.lease.cancelled,
        ),
    )
    images.record_use(host.directory, name, image)
    return image


def launch(run: ExecutionContext, prepared: Prepared) -> ExecutionContext:
    """Start the container on an overlay of the commit's tree, or on a copy if overlays are not available."""
    if run.host.engine.overlay and can_overlay(prepared.tree, run.directory):
        try:
            _start(run, prepared, prepared.tree)
        except OverlayUnavailable as error:
            log.warning("commits are copied from now on: %s", error)
        else:
            return run
    _copy(prepared.checkout.result(run), run.directory)
    _start(run, prepared, None)
    return run


def conclude(run: ExecutionContext, body: Callable[[], FinalReport]) -> None:
    """Run `body`, send its result or failure as the final report once the log is stored, and remove the execution."""
    report = _report(run, body)
    if report is not None and not run.lease.lost:
        outcome = f"{report.state}, {report.failure_reason}: {report.message}" if report.message else report.state
        run.status(f"Finished in {run.seconds:.1f} s: {outcome}")
        run.follower.settle()
        if run.follower.error is not None and report.state == State.COMPLETE:
            report = failed(report.attempt, FailureReason.INTERNAL, f"The log cannot be stored: {run.follower.error}")
        run.lease.close()
        try:
            run.reporter.final(run.spec.uuid, report)
        except (Conflict, NotFound) as refusal:
            log.info("execution %s ended without us: %s", run.spec.uuid, refusal)
    discard(run.host, run.directory)


def discard(host: Host, directory: Path) -> None:
    """Remove an execution's container and directory from this machine, once Docker answers.

    The directory is removed last: if the process is killed before, the next slot finds it and removes the container.
    """
    if container_id := read_json(directory / "container.json"):
        while not host.engine.remove(container_id):
            time.sleep(AWAY_S)
    quarantine.remove(host.directory, directory)


def open_relay(run: ExecutionContext, input_requests: Mapping[str, Any]) -> dict[str, Any]:
    """Start the relay, at the port of an earlier one if there was one; returns the content of api.json.

    Returns {} if the container has no network or the relay cannot listen.
    """
    address = run.host.network.gateway
    if not address or not _has_network(run.spec):
        return {}
    path = run.directory / "relay.json"
    state = read_json(path) or {"port": None, "token": secrets.token_urlsafe(32), "inputs": dict(input_requests)}

    def set_detail(text: str) -> None:
        run.reporter.detail(run.spec.uuid, run.spec.attempt, text)

    try:
        ports = [state["port"]] if state["port"] else relay.ports(run.host.settings.relay_port_range)
        run.relay = relay.Relay(address, ports, state["token"], state["inputs"], set_detail)
    except OSError as error:
        log.warning("containers cannot reach this runner at %s: %s", address, error)
        return {}
    write_json(path, state | {"port": run.relay.port})
    return run.relay.api()


def _report(run: ExecutionContext, body: Callable[[], FinalReport]) -> FinalReport | None:
    attempt = run.spec.attempt
    try:
        return body()
    except Conflict as conflict:
        log.warning("execution %s was given away: %s", run.spec.uuid, conflict)
        return None
    except (Cancelled, ExecutionFailed) as end:
        if run.lease.stop:
            return stopped(attempt)
        if run.lease.expired():
            limit = duration_text(run.limits.time_s)
            message = f"Its time limit of {limit} passed before the container started"
            return failed(attempt, FailureReason.TIME_LIMIT, message)
        if isinstance(end, ExecutionFailed):
            return failed(attempt, end.reason, str(end))
        return None  # the lease is lost
    except Exception as error:
        log.exception("execution %s", run.spec.uuid)
        return failed(attempt, FailureReason.INTERNAL, f"{type(error).__name__}: {error}")


def _note_attempt(host: Host, directory: Path, attempt: int) -> float:
    """Record the attempt in state.json, after removing files of other attempts; returns its start by `steady()`."""
    state = read_json(directory / "state.json")
    if state and state["attempt"] == attempt:
        return float(state["claimed_at"])
    quarantine.remove(host.directory, directory / "spool")
    for name in ("container.json", "relay.json"):
        (directory / name).unlink(missing_ok=True)
    now = steady()
    write_json(directory / "state.json", {"attempt": attempt, "claimed_at": now})
    return now


def _check_disk(run: ExecutionContext) -> None:
    host, least = run.host, run.host.settings.min_free_disk
    if free_disk(host.directory) < least:
        BackgroundCall(lambda: cleanup.make_room(host)).result(run)
    free = free_disk(host.directory)
    if free < least:
        message = f"The runner has {size_text(free)} of free disk; [runner] min_free_disk asks for {size_text(least)}"
        raise ExecutionFailed(FailureReason.DISK, message)


def _has_network(spec: ExecutionSpec) -> bool:
    return spec.network == "open"


def _start(run: ExecutionContext, prepared: Prepared, tree: Path | None) -> None:
    host, spec, settings = run.host, run.spec, run.host.settings
    wanted = step_controls.read(spec.environment_variables)
    run.check()
    container = ContainerSpec(
        runner=host.runner_id,
        execution=spec.uuid,
        attempt=spec.attempt,
        image=prepared.image.id,
        environment=config_files.environment(spec),
        directory=run.directory,
        tree=tree,
        network=settings.network if _has_network(spec) else "none",
        mounts=tuple(mounts.allowed(spec.mounts, settings.mounts, host.directory.parent, run.status)),
        memory=run.limits.memory,
        cpus=run.limits.cpus,
        cpuset=wanted.cpuset,
        pids=run.limits.pids,
        shm=settings.shm,
    )
    devices = _create(run, container)
    try:
        prepared.checkout.result(run)  # only the start mounts the tree, so the container is created meanwhile
        write_json(run.directory / "container.json", run.container_id)
        run.reporter.container(spec.uuid, spec.attempt, run.container_id, prepared.image.digest, devices)
        start_container(run)
    except BaseException:
        host.engine.remove(run.container_id)
        raise


def _create(run: ExecutionContext, container: ContainerSpec) -> list[str]:
    """Create the run's container with the devices that it requests; returns their UUIDs."""
    host, engine = run.host, run.host.engine
    run.container_id, devices = over_restarts(
        run,
        lambda: gpus.create(
            run.spec.gpus,
            host.directory,
            holders=engine.gpus.holders,
            make=lambda uuids: engine.create(replace(container, gpus=tuple(uuids))),
            status=run.status,
            check=run.check,
        ),
        lambda: cleanup.remove_containers(host, run.spec.uuid),  # it may have been created nevertheless
    )
    if devices:
        found = {gpu.uuid: gpu for gpu in gpus.known(host.directory)}
        config_files.put(
            run.directory / "config", "runtime", runtime(host, [found[uuid] for uuid in devices if uuid in found])
        )
    return devices


def start_container(run: ExecutionContext) -> None:
    """Start the run's container unless it was started before, and open the relay to it. Idempotent.

    The process that created it, or Docker, may have died at any point.
    """
    engine, container = run.host.engine, run.container_id
    over_restarts(run, lambda: engine.start_if_new(container))
    if run.relay is not None:
        run.relay.serve_only(over_restarts(run, lambda: engine.addresses(container)))


def _copy(tree: Path, directory: Path) -> None:
    """Copy the tree to the place of the overlay's upper layer."""
    upper = directory / "repository" / "upper"
    shutil.copytree(tree, upper, symlinks=True, dirs_exist_ok=True)
    upper.chmod(0o777)

"""Creates and starts the container of an execution, and its relay."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import ExecutionFailed
from runner import cleanup, sandbox
from runner.containers import gpus, mounts
from runner.containers.engine import Engine, EngineAway, OverlayUnavailable, can_overlay
from runner.containers.images import Image
from runner.containers.sandboxes import Sandbox
from runner.containers.specs import ContainerSpec
from runner.execution import config_files, relay
from runner.execution.context import BackgroundCall, ExecutionContext, retry_over_restarts
from runner.host import describe_runtime
from runner.state_dir import read_json, write_json

log = logging.getLogger(__name__)


def open_relay(run: ExecutionContext, input_requests: Mapping[str, Any]) -> dict[str, Any]:
    """Start the relay, at the port of an earlier one if there was one; returns the content of api.json.

    Returns {} if the container has no network or the relay cannot listen.
    """
    address = run.host.network.gateway
    if not address or run.spec.network != "open":
        return {}
    path = run.directory / "relay.json"
    state = read_json(path) or {"port": None, "token": secrets.token_urlsafe(32), "inputs": dict(input_requests)}

    def set_detail(text: str) -> None:
        run.reporter.detail(run.spec.uuid, run.spec.attempt, text)

    try:
        ports = [state["port"]] if state["port"] else relay.shuffle_ports(run.host.settings.relay_port_range)
        run.relay = relay.Relay(address, ports, state["token"], state["inputs"], set_detail)
    except OSError as error:
        log.warning("containers cannot reach this runner at %s: %s", address, error)
        return {}
    if run.relay.port != state["port"]:
        with contextlib.suppress(OSError):  # on a full disk: only the next slot would need it
            write_json(path, state | {"port": run.relay.port})
    return run.relay.api()


def start_container(run: ExecutionContext, image: Image, tree: Path, checkout: BackgroundCall[Path]) -> None:
    """Start the container on an overlay of the commit's tree, or on a copy if overlays are not available.

    The tree is complete once `checkout` is done. Raises ExecutionFailed and Cancelled.
    """
    if run.host.engine.overlay and can_overlay(tree, run.directory):
        try:
            _start_on(run, image, checkout, tree)
        except OverlayUnavailable as error:
            log.warning("commits are copied from now on: %s", error)
        else:
            return
    upper = run.directory / "repository" / "upper"
    shutil.copytree(checkout.result(), upper, symlinks=True, dirs_exist_ok=True)
    upper.chmod(0o777)
    _start_on(run, image, checkout, None)


def _start_on(run: ExecutionContext, image: Image, checkout: BackgroundCall[Path], tree: Path | None) -> None:
    container = _container(run, image, tree)
    joined = _sandbox(run)
    if joined is not None:
        try:
            joining = replace(container, network=f"container:{joined.name}", etc=run.directory / sandbox.ETC)
            return _start(run, image, checkout, joining)
        except ExecutionFailed:
            if run.host.engine.sandboxes.is_running(joined.name):
                raise
            log.warning("the network sandbox %s is gone: the container gets a network of its own", joined.name)
            sandbox.give_up(run.host.engine, run.directory)
    return _start(run, image, checkout, container)


def _sandbox(run: ExecutionContext) -> Sandbox | None:
    """Return the network sandbox that this execution has or gets, or None if it needs none or none is ready."""
    ready = run.host.ready_sandbox
    if ready is None or run.spec.network != "open":
        return None
    return sandbox.load_sandbox(run.directory) or ready.take(run.directory)


def _start(run: ExecutionContext, image: Image, checkout: BackgroundCall[Path], container: ContainerSpec) -> None:
    run.check()
    devices, record = _create(run, container), run.directory / "container.json"
    try:
        checkout.result()  # only the start mounts the tree, so the container is created meanwhile
        run.reporter.container(run.spec.uuid, run.spec.attempt, run.container_id, image.digest, devices, run.stage_s)
        write_json(record, run.container_id)  # now the next slot may adopt it: it does not report it again
        ensure_started(run, is_new=True)
    except BaseException:
        record.unlink(missing_ok=True)  # before the removal: the next slot would report it as interrupted
        if not run.host.engine.remove(run.container_id):
            write_json(record, run.container_id)  # `discard` removes it when Docker is back
        raise


def _container(run: ExecutionContext, image: Image, tree: Path | None) -> ContainerSpec:
    host, spec, settings = run.host, run.spec, run.host.settings
    return ContainerSpec(
        runner=host.runner_id,
        execution=spec.uuid,
        attempt=spec.attempt,
        image=image.id,
        environment=config_files.build_environment(spec),
        directory=run.directory,
        tree=tree,
        network=settings.network if spec.network == "open" else "none",
        mounts=tuple(mounts.filter_allowed(spec.mounts, settings.mounts, host.directory.parent, run.status)),
        memory=run.limits.memory,
        cpus=run.limits.cpus,
        cpuset=run.controls.cpuset,
        pids=run.limits.pids,
        shm=settings.shm,
    )


def _create(run: ExecutionContext, container: ContainerSpec) -> list[str]:
    """Create the run's container with the devices that it requests; returns their UUIDs."""
    host, engine = run.host, run.host.engine
    run.container_id, devices = retry_over_restarts(
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
        found = {gpu.uuid: gpu for gpu in gpus.read_inventory(host.directory)}
        config_files.put(
            run.directory / "config",
            "runtime",
            describe_runtime(host, [found[uuid] for uuid in devices if uuid in found]),
        )
    return devices


def _started(engine: Engine, container_id: str) -> bool:
    """Start a new container; return False if the connection to Docker broke, which may have started it."""
    try:
        engine.start(container_id)
    except EngineAway as away:
        log.warning("%s", away)
        return False
    return True


def ensure_started(run: ExecutionContext, *, is_new: bool = False) -> None:
    """Start the run's container unless it was started before, and open the relay to it. Idempotent.

    The process that created it, or Docker, may have died at any point. `is_new` if this process has just created it.
    """
    engine, container = run.host.engine, run.container_id
    if not (is_new and _started(engine, container)):
        retry_over_restarts(run, lambda: engine.start_if_new(container))
    _admit(run)
    if run.host.ready_sandbox is not None:
        run.host.ready_sandbox.prepare_soon()


def _admit(run: ExecutionContext) -> None:
    """Let the container use its relay, from the addresses that it has.

    They are asked for in a thread: about a container that has just ended, Docker answers late.
    """
    relay, joined = run.relay, sandbox.load_sandbox(run.directory)
    if relay is None:
        return
    if joined is not None:
        relay.serve_only(joined.addresses)
        return

    def admit() -> None:
        try:
            relay.serve_only(retry_over_restarts(run, lambda: run.host.engine.addresses(run.container_id)))
        except ExecutionFailed as error:
            log.warning("execution %s cannot use its relay: %s", run.spec.uuid, error)

    BackgroundCall(run, admit)

"""Prepares the start of a container: free disk, commit, image and inputs."""

from __future__ import annotations

import logging
from pathlib import Path

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.units import format_size
from runner import checkout, cleanup
from runner.containers import images
from runner.execution import conclude
from runner.execution.claim import fetch_orders
from runner.execution.context import BackgroundCall, ExecutionContext, retry_over_restarts
from runner.host import get_free_disk
from runner.inputs.cache import Cache
from runner.inputs.datums import Datums
from runner.inputs.fetch import FetchedInput, InputFetcher
from runner.sources import Sources

log = logging.getLogger(__name__)


def check_disk(run: ExecutionContext) -> None:
    """Make room if the disk is nearly full. Raises ExecutionFailed if too little is free even then."""
    host, least = run.host, run.host.settings.min_free_disk
    if get_free_disk(host.directory) < least:
        BackgroundCall(run, conclude.finish_discards).result()
        BackgroundCall(run, lambda: cleanup.make_room(host)).result()
    free = get_free_disk(host.directory)
    if free < least:
        message = (
            f"The runner has {format_size(free)} of free disk; [runner] min_free_disk asks for {format_size(least)}"
        )
        raise ExecutionFailed(FailureReason.DISK, message)


def announce(run: ExecutionContext) -> None:
    for note in run.controls.notes:
        run.status(note)


def find_image(run: ExecutionContext) -> images.Image:
    """Return the image, pulled if it is missing or has to be pulled each time. Raises ExecutionFailed."""
    host, name = run.host, run.spec.image
    images.record_intended_use(host.directory, name)
    image = retry_over_restarts(
        run,
        lambda: host.engine.image(
            name,
            always_pull=run.controls.pull_image or run.spec.pull == "always",
            allow_registries=host.settings.allow_registries,
            status=run.status,
            cancelled=run.lease.cancelled,
        ),
    )
    images.record_use(host.directory, name, image)
    return image


def use_tree(run: ExecutionContext) -> Path:
    """Return the path of the commit's tree, protected from the cleanup; `check_out` fills it."""
    tree = checkout.get_tree_path(run.host.cache, run.spec.project_name, run.spec.commit_identifier)
    checkout.mark_used(run.host.cache, tree, run.directory / "tree")
    return tree


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
            fetch_orders(host, spec.uuid, spec.attempt)
            tree = checkout.prepare(*origin, sources.complete)
    for note in checkout.read_notes(tree):
        run.status(note)
    return tree


def fetch_inputs(run: ExecutionContext) -> list[FetchedInput]:
    """Fetch the inputs into the execution's directory. Raises ExecutionFailed."""
    host, spec = run.host, run.spec
    reporter = host.reporter.with_give_up(run.lease.cancelled)
    try:
        fetcher = InputFetcher(
            cache=Cache(host.cache / "inputs", ignore=run.controls.refetch_inputs),
            datums=Datums(reporter, spec),
            allow_hosts=host.settings.allow_input_hosts,
            status=run.status,
            cancelled=run.lease.cancelled,
            limit=get_free_disk(host.directory) - host.settings.min_free_disk,
        )
        return fetcher.fetch(spec.input_specs(), run.directory / "inputs")
    finally:
        reporter.close()

"""One execution from claim to final report: its stages, in the order in which they happen."""

from __future__ import annotations

import logging

from runner import state_dir
from runner.execution import config_files, prepare
from runner.execution.claim import claim, start_attempt
from runner.execution.conclude import concluded, discard_in_background
from runner.execution.container import open_relay, start_container
from runner.execution.context import BackgroundCall, ExecutionContext
from runner.execution.relay import map_input_requests
from runner.execution.upload import upload
from runner.execution.wait import wait_for_end
from runner.host import Host, describe_runtime, protect
from runner.sandbox import lending
from runner.state_dir import locked

log = logging.getLogger(__name__)


def execute(host: Host, execution: str, attempt: int, *, resume: bool = False) -> None:
    """Run one execution; its failure is reported to the server, not raised. `resume` if this runner has claimed it."""
    directory = host.executions / execution
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(directory) as ours:
        if not ours:
            log.info("execution %s is held by another process", execution)
            return
        claimed_at = start_attempt(host, directory, attempt)
        claimed = claim(host, directory, attempt, resume=resume)
        if claimed is None:
            return
        spec, _, orders = claimed
        state_dir.make(host.directory, directory, spec.script, orders.acknowledged)
        run = ExecutionContext(host, claimed, directory, claimed_at)
        with lending(host.ready_sandbox, directory), run, concluded(run):
            prepare.check_disk(run)
            prepare.announce(run)
            firewall = BackgroundCall(run, lambda: protect(host.directory, host.network, host.settings))
            image = BackgroundCall(run, lambda: prepare.find_image(run), "pull")
            tree = prepare.use_tree(run)
            checkout = BackgroundCall(run, lambda: prepare.check_out(run), "checkout")
            # in a thread, so that a server that never answers does not delay a stop
            inputs = BackgroundCall(run, lambda: prepare.fetch_inputs(run), "inputs").result()
            api = open_relay(run, map_input_requests(inputs))
            config_files.write(run.directory / "config", spec, inputs, api, describe_runtime(host))
            firewall.result()
            start_container(run, image.result(), tree, checkout)
            run.report = upload(run, wait_for_end(run))
    discard_in_background(host, directory)

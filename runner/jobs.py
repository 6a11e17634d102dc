"""The RQ contract: the server enqueues `execute` by name, and it is the only function that a slot runs.

Each worker accepts exactly one function and rejects jobs with callbacks. Arguments are ids, encoded as JSON.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from runner.execution.adopt import recover_one
from runner.execution.stages import execute as run_execution
from runner.host import Host

log = logging.getLogger(__name__)

_bound: Final[list[Host]] = []  # set once per process, because RQ passes only ids


def bind(host: Host) -> None:
    """Set the host for every later job of this process."""
    _bound[:] = [host]


def close() -> None:
    """Finish what may not be interrupted, before this process exits. May be called by a signal handler."""
    if _bound[0].ready_sandbox is not None:
        _bound[0].ready_sandbox.close()


def execute(execution: str, attempt: int) -> None:
    """Run one attempt of an execution. Redis stores this function's name, so it and the arguments must never change.

    The result of the execution goes to the server; raises only if this process cannot run any execution.
    """
    try:
        name, number = str(uuid.UUID(execution)), int(attempt)
    except ValueError:
        log.error("a job names %r, attempt %r, which is not an execution", execution, attempt)
        return
    if recover_one(_bound[0], name):  # this may be a second job of an execution whose first slot was killed
        run_execution(_bound[0], name, number)

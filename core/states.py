"""States of an execution, and the reasons why it ended in `error`."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """State of an execution. A stop request is a field of the execution, not a state."""

    CREATED = "created"  # waits for quota
    QUEUED = "queued"  # waits for a runner with capacity
    STARTED = "started"  # a runner holds its lease
    COMPLETE = "complete"  # every command returned 0 and the outputs are stored
    ERROR = "error"  # ended otherwise; a FailureReason says how
    STOPPED = "stopped"  # ended by a stop request


class FailureReason(StrEnum):
    """Why an execution ended in `error`."""

    COMMAND_FAILED = "command_failed"  # a command of the step returned non-zero
    OUT_OF_MEMORY = "out_of_memory"  # the kernel killed it at its memory limit
    TIME_LIMIT = "time_limit"  # it ran longer than the step's time-limit
    NO_OUTPUT = "no_output"  # it printed nothing for the step's no-output-timeout
    ENVIRONMENT = "environment"  # its project may not use the environment
    IMAGE = "image"  # the image cannot be pulled or has no shell
    INPUT = "input"  # an input, a submodule or a Git LFS file cannot be fetched
    OUTPUT = "output"  # an output cannot be stored
    PIDS = "pids"  # it reached the process limit
    DISK = "disk"  # the runner has too little free disk
    INTERRUPTED = "interrupted"  # the container was ended by a signal that pushmill did not send
    RUNNER_LOST = "runner_lost"  # its runner was silent for too long
    INTERNAL = "internal"  # a bug in pushmill


FINAL = frozenset({State.COMPLETE, State.ERROR, State.STOPPED})
UNFINISHED = frozenset(State) - FINAL
WAITING = frozenset({State.CREATED, State.QUEUED})  # not claimed by a runner
OCCUPYING = frozenset({State.QUEUED, State.STARTED})  # counts against limits and capacity
UNFINISHED_GROUP = frozenset({State.CREATED, State.STARTED})  # states of tasks, pipelines and nodes, which do not queue
MACHINE_LOST = frozenset({FailureReason.RUNNER_LOST, FailureReason.INTERRUPTED})

"""An execution, a task or a pipeline in one line: the metric that matters most and how long it took, or what is with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.groups import Pipeline, Task
from core.model import Execution
from core.states import UNFINISHED, State
from web.config.metadata import number
from web.services.presentation import formats
from web.services.presentation.execution_status import FAILURES, seconds

# Words in the name of a key, the most telling first: what is better the larger it is, then what a training makes small.
SCORES = ("accuracy", "acc", "score", "f1", "auc", "map", "iou", "miou", "dice", "bleu", "rouge", "r2", "reward")
LOSSES = ("loss", "error", "err", "wer", "cer", "perplexity", "rmse", "mse", "mae")
PARTS = ("test", "val", "valid", "validation", "eval")  # of the data that were not trained on, the most telling first
COUNTERS = frozenset(
    {"epoch", "epochs", "step", "steps", "iteration", "iter", "batch", "time", "seconds", "lr", "rate"}
)
STAGES = 10  # of what many executions have done, so that what is said of them changes rarely
BORDER = re.compile(r"[^0-9A-Za-z]+|(?<=[a-z][a-z])(?=[A-Z])")  # val_loss, valLoss, but mAP


def line(execution: Execution, latest: Mapping[str, Any], stopped_by: str = "") -> str:
    """Such as "accuracy 0.942 · 3 m 12 s"."""
    if execution.state is State.CREATED:
        return "waits for its turn"
    if execution.state is State.QUEUED:
        return "waits for a runner"
    if execution.state is State.STARTED:
        return f"running since {formats.absolute(execution.started_at or execution.created_at)[:16]} UTC"
    if execution.state is State.COMPLETE:
        return _joined(metric(latest) or "complete", duration(execution))
    if execution.state is State.STOPPED:
        return _joined(f"stopped by {stopped_by}" if stopped_by else "stopped", duration(execution))
    reason = FAILURES[execution.failure_reason] if execution.failure_reason else "failed"
    said = f"{reason}: {execution.failure_message}" if execution.failure_message else reason
    return _joined(said, duration(execution))


def task_line(task: Task, ended: int, failed: int, best: str) -> str:
    """Such as "12 executions, 1 failed · best accuracy 0.942 (#31) · 14 m"; `best` is the middle of it, after "best"."""
    if task.state is State.CREATED:
        return f"{_many(task.planned, 'execution')} to run"
    best = f"best {best}" if best else ""
    if task.state is State.STARTED:
        return _joined(done(ended, task.planned), best)
    return _joined(_end(task, failed, _many(ended, "execution")), best, duration(task))


def pipeline_line(pipeline: Pipeline, nodes: int, ended: int, failed: int, waiting: Sequence[str]) -> str:
    """Such as "5 nodes · 14 m"; `waiting` are the nodes that wait for somebody's approval."""
    if pipeline.state is State.CREATED and not waiting:
        return f"{_many(nodes, 'node')} to run"
    if pipeline.state in UNFINISHED:
        return _joined(done(ended, nodes, "nodes "), f"waits for approval of {', '.join(waiting)}" if waiting else "")
    return _joined(_end(pipeline, failed, _many(nodes, "node")), duration(pipeline))


def done(ended: int, planned: int, of: str = "") -> str:
    """Such as "7 of 10 done"; of many it is not said each time, but as "100+ of 1000 done"."""
    shown, stage = staged(ended, planned), _stage(planned)
    if stage == 1 or shown == planned:
        return f"{shown} of {planned} {of}done"
    return f"{shown}+ of {planned} {of}done" if shown else f"less than {stage} of {planned} {of}done"


def staged(ended: int, planned: int) -> int:
    """How many of those that have ended are told of: each of a few, and of many each tenth part of them."""
    return ended - ended % _stage(planned)


def metric(latest: Mapping[str, Any]) -> str:
    """The metric that stands for an execution, with its value; "" when it printed no number."""
    key = choose(latest)
    return f"{key} {formats.number(latest[key])}" if key is not None else ""


def choose(latest: Mapping[str, Any]) -> str | None:
    """The key of the most telling number, None when there is no number."""
    return next(iter(ranked(latest)), None)


def ranked(latest: Mapping[str, Any]) -> list[str]:
    """The keys of numbers, the most telling first: scores, losses, others, counters such as epochs."""
    keys = [key for key, value in latest.items() if not isinstance(value, str) and number(value) is not None]
    return sorted(keys, key=_rank)


def less_is_better(key: str) -> bool:
    """Whether a key's name says that training makes it small: losses and errors, unless it is a score as well."""
    return _rank(key)[0] == 1


def is_counter(key: str) -> bool:
    """Whether a key's name says that it counts, such as an epoch, rather than measures."""
    return _rank(key)[:2] == (2, 1)


def duration(ran_by: Execution | Task | Pipeline) -> str:
    """How long it ran, such as "3 m 12 s"; "" when it never started."""
    ran = seconds(ran_by)
    return formats.duration(ran).replace(" min", " m") if ran is not None else ""


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _end(group: Task | Pipeline, failed: int, many: str) -> str:
    """What became of a task or a pipeline that is over; `many` are its parts. Mostly it says so itself."""
    if group.message:
        return group.message
    if group.state is State.COMPLETE:
        return f"{many}, {failed} failed" if failed else many
    return "stopped" if group.state is State.STOPPED else f"{failed} of {many} failed"


def _stage(planned: int) -> int:
    return max(1, -(-planned // STAGES))


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def _rank(key: str) -> tuple[int, int, int]:
    """Less is more telling; equals stay in the order in which they were first printed."""
    words = [word.lower() for word in BORDER.split(key)]
    words += [word.rstrip("0123456789") for word in words]  # mAP50
    part = min((PARTS.index(word) for word in words if word in PARTS), default=len(PARTS))
    for kind, names in enumerate((SCORES, LOSSES)):
        if places := [names.index(word) for word in words if word in names]:
            return kind, min(places), part
    return 2, int(bool(COUNTERS.intersection(words))), 0

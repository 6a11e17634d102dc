"""Summarise an execution, task or pipeline in one line: its main metric and duration, or its state."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.groups import Pipeline, Task
from core.model import Execution
from core.states import UNFINISHED, State
from core.units import format_duration
from web.config.metadata import to_number
from web.services.presentation import formats
from web.services.presentation.execution_status import FAILURES, compute_run_seconds

# Words in metadata keys, most important first: SCORES are better when larger, LOSSES when smaller.
SCORES = ("accuracy", "acc", "score", "f1", "auc", "map", "iou", "miou", "dice", "bleu", "rouge", "r2", "reward")
LOSSES = ("loss", "error", "err", "wer", "cer", "perplexity", "rmse", "mse", "mae")
PARTS = ("test", "val", "valid", "validation", "eval")  # data sets not used for training, most important first
COUNTERS = frozenset(
    {"epoch", "epochs", "step", "steps", "iteration", "iter", "batch", "time", "seconds", "lr", "rate"}
)
STAGES = 10  # steps of the progress of many executions, so that a posted status changes rarely
BORDER = re.compile(r"[^0-9A-Za-z]+|(?<=[a-z][a-z])(?=[A-Z])")  # val_loss, valLoss, but mAP


def summarize_execution(execution: Execution, latest: Mapping[str, Any], stopped_by: str = "") -> str:
    """Summarise an execution, such as "accuracy 0.942 · 3 m 12 s"."""
    if execution.state is State.CREATED:
        return "waiting (limit)"
    if execution.state is State.QUEUED:
        return "queued"
    if execution.state is State.STARTED:
        return f"running since {formats.format_time(execution.started_at or execution.created_at)[:16]} UTC"
    if execution.state is State.COMPLETE:
        return _joined(format_main_metric(latest) or "succeeded", format_run_duration(execution))
    if execution.state is State.STOPPED:
        return _joined(f"stopped by {stopped_by}" if stopped_by else "stopped", format_run_duration(execution))
    reason = FAILURES[execution.failure_reason] if execution.failure_reason else "failed"
    ending = f"{reason}: {execution.failure_message}" if execution.failure_message else reason
    return _joined(ending, format_run_duration(execution))


def summarize_task(task: Task, ended: int, failed: int, best: str) -> str:
    """Summarise a task, such as "12 executions, 1 failed · best accuracy 0.942 (#31) · 14 m".

    `best` is the text after "best".
    """
    if task.state is State.CREATED:
        return f"{_many(task.planned, 'execution')} to run"
    best = f"best {best}" if best else ""
    if task.state is State.STARTED:
        return _joined(format_progress(ended, task.planned), best)
    return _joined(_end(task, failed, _many(ended, "execution")), best, format_run_duration(task))


def summarize_pipeline(pipeline: Pipeline, nodes: int, ended: int, failed: int, waiting: Sequence[str]) -> str:
    """Summarise a pipeline, such as "5 nodes · 14 m"; `waiting` are the nodes that wait for approval."""
    if pipeline.state is State.CREATED and not waiting:
        return f"{_many(nodes, 'node')} to run"
    if pipeline.state in UNFINISHED:
        return _joined(
            format_progress(ended, nodes, "nodes "), f"waiting for approval of {', '.join(waiting)}" if waiting else ""
        )
    return _joined(_end(pipeline, failed, _many(nodes, "node")), format_run_duration(pipeline))


def format_progress(ended: int, planned: int, of: str = "") -> str:
    """Format progress, such as "7 of 10 finished"; large numbers change in stages, such as "100+ of 1000 finished"."""
    shown, stage = round_to_stage(ended, planned), _stage(planned)
    if stage == 1 or shown == planned:
        return f"{shown} of {planned} {of}finished"
    return f"{shown}+ of {planned} {of}finished" if shown else f"fewer than {stage} of {planned} {of}finished"


def round_to_stage(ended: int, planned: int) -> int:
    """Round the number of ended ones down to the stage that is shown: a tenth of `planned`, or 1 for few."""
    return ended - ended % _stage(planned)


def format_main_metric(latest: Mapping[str, Any]) -> str:
    """Return the main metric of an execution with its value; "" if it printed no number."""
    key = choose(latest)
    return f"{key} {formats.format_number(latest[key])}" if key is not None else ""


def choose(latest: Mapping[str, Any]) -> str | None:
    """Return the key of the most important number, None if there is no number."""
    return next(iter(rank_keys(latest)), None)


def rank_keys(latest: Mapping[str, Any]) -> list[str]:
    """Return the keys of numbers by importance: scores, losses, others, then counters such as epochs."""
    keys = [key for key, value in latest.items() if not isinstance(value, str) and to_number(value) is not None]
    return sorted(keys, key=_rank)


def less_is_better(key: str) -> bool:
    """Return whether a key names a loss or an error, unless it also names a score."""
    return _rank(key)[0] == 1


def is_counter(key: str) -> bool:
    """Return whether a key names a counter, such as an epoch, rather than a measurement."""
    return _rank(key)[:2] == (2, 1)


def format_run_duration(ran_by: Execution | Task | Pipeline) -> str:
    """Format how long it ran, such as "3 m 12 s"; "" if it never started."""
    ran = compute_run_seconds(ran_by)
    return format_duration(ran).replace(" min", " m") if ran is not None else ""


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _end(group: Task | Pipeline, failed: int, many: str) -> str:
    """Describe the result of an ended task or pipeline: its message if it has one; `many` counts its parts."""
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
    """Return a sort key by importance; equal keys stay in the order in which they were first printed."""
    words = [word.lower() for word in BORDER.split(key)]
    words += [word.rstrip("0123456789") for word in words]  # mAP50
    part = min((PARTS.index(word) for word in words if word in PARTS), default=len(PARTS))
    for kind, names in enumerate((SCORES, LOSSES)):
        if places := [names.index(word) for word in words if word in names]:
            return kind, min(places), part
    return 2, int(bool(COUNTERS.intersection(words))), 0

"""An execution in one line: the metric that matters most and how long it took, or why it does not run or failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.metadata import number
from core.model import Execution
from core.states import State
from web.services.presentation import formats
from web.services.presentation.standing import FAILURES, seconds

# Words in the name of a key, the most telling first: what is better the larger it is, then what a training makes small.
SCORES = ("accuracy", "acc", "score", "f1", "auc", "map", "iou", "miou", "dice", "bleu", "rouge", "r2", "reward")
LOSSES = ("loss", "error", "err", "wer", "cer", "perplexity", "rmse", "mse", "mae")
PARTS = ("test", "val", "valid", "validation", "eval")  # of the data that were not trained on, the most telling first
COUNTERS = frozenset(
    {"epoch", "epochs", "step", "steps", "iteration", "iter", "batch", "time", "seconds", "lr", "rate"}
)
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
        return _joined(metric(latest) or "complete", execution)
    if execution.state is State.STOPPED:
        return _joined(f"stopped by {stopped_by}" if stopped_by else "stopped", execution)
    reason = FAILURES[execution.failure_reason] if execution.failure_reason else "failed"
    return _joined(f"{reason}: {execution.failure_message}" if execution.failure_message else reason, execution)


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


def duration(execution: Execution) -> str:
    """How long it ran, such as "3 m 12 s"; "" when it never started."""
    ran = seconds(execution)
    return formats.duration(ran).replace(" min", " m") if ran is not None else ""


def _joined(text: str, execution: Execution) -> str:
    return " · ".join(filter(None, (text, duration(execution))))


def _rank(key: str) -> tuple[int, int, int]:
    """Less is more telling; equals stay in the order in which they were first printed."""
    words = [word.lower() for word in BORDER.split(key)]
    words += [word.rstrip("0123456789") for word in words]  # mAP50
    part = min((PARTS.index(word) for word in words if word in PARTS), default=len(PARTS))
    for kind, names in enumerate((SCORES, LOSSES)):
        if places := [names.index(word) for word in words if word in names]:
            return kind, min(places), part
    return 2, int(bool(COUNTERS.intersection(words))), 0

"""Status lines about the progress of a pull; no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from core.errors import PushmillError
from core.units import format_size

LINE_INTERVAL_S = 1.0


def iterate_pull_lines(events: Iterator[dict[str, Any]], cancelled: Callable[[], bool]) -> Iterator[str]:
    """Yield at most one line per second, about the layer of the latest event.

    Raises PushmillError with the daemon's error message.
    """
    told_at = time.monotonic()
    for event in events:
        if cancelled():
            return
        if error := event.get("error"):
            raise PushmillError(str(error))
        if time.monotonic() - told_at >= LINE_INTERVAL_S:
            told_at = time.monotonic()
            layer, state = event.get("id", ""), event.get("status", "")
            yield " ".join(part for part in (layer, state, _amount(event.get("progressDetail") or {})) if part)


def _amount(detail: dict[str, Any]) -> str:
    current, total = detail.get("current"), detail.get("total")
    if not isinstance(current, int) or not isinstance(total, int):
        return ""
    return f"{format_size(current)} of {format_size(total)}"

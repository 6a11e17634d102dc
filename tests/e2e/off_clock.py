"""`pushmill runner` on a machine whose clock is wrong: `off_clock.py SECONDS --data DIRECTORY`.

Every reading of the clock and every file time that this process and its children see or set is shifted, as a wrong clock
shifts both; clocks that count from the start of the machine are not. Containers, which have the machine's clock, and
the kernel's own stamps are what a real wrong clock would make them: shifted when looked at from here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

OFF_S = float(sys.argv.pop(1))
FILE_TIMES_S = ("st_atime", "st_mtime", "st_ctime")


class Shifted:
    """A stat result with other times."""

    def __init__(self, found: os.stat_result) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._found, name)
        if name in FILE_TIMES_S:
            return value + OFF_S
        return value + int(OFF_S * 1e9) if name.removesuffix("_ns") in FILE_TIMES_S else value

    def __getitem__(self, index: int) -> Any:
        return self._found[index]


def shifted(call: Callable[..., os.stat_result]) -> Callable[..., Any]:
    return lambda *args, **named: Shifted(call(*args, **named))


def setting(call: Callable[..., None]) -> Callable[..., None]:
    def utime(path: Any, times: tuple[float, float] | None = None, **named: Any) -> None:
        call(path, times and (times[0] - OFF_S, times[1] - OFF_S), **named)

    return utime


real_time, real_time_ns = time.time, time.time_ns
time.time = lambda: real_time() + OFF_S
time.time_ns = lambda: real_time_ns() + int(OFF_S * 1e9)
os.fstat, os.stat, os.lstat = shifted(os.fstat), shifted(os.stat), shifted(os.lstat)  # type: ignore[assignment]
os.utime = setting(os.utime)  # type: ignore[assignment]

from runner.cli import command  # noqa: E402  after the clock was set

command()

"""Format sizes and durations for people."""

from __future__ import annotations

import math

UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def format_size(count: int) -> str:
    """Format bytes in IEC units with three significant digits, such as "1.25 MiB"."""
    if count < 1024:
        return f"{max(0, count)} B"
    power = min(int(math.log(count, 1024) + 0.001), len(UNITS))  # 1023.99 of a unit is shown as 1 of the next
    amount = count / 1024**power
    return f"{amount:.{max(0, 2 - int(math.log10(amount)))}f} {UNITS[power - 1]}"


def format_duration(seconds: float) -> str:
    """Format a measured duration in at most two units: "0.4 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def format_limit(seconds: float) -> str:
    """Format a configured duration without rounding, in the units of the configuration: "0.5 s", "1 h 30 min"."""
    if seconds < 60:
        return f"{seconds:g} s"
    parts, rest = [], round(seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)

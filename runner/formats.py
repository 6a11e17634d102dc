"""Formats sizes and durations for people."""

from __future__ import annotations


def size_text(size: float) -> str:
    """Format bytes as `28.9 kB`: powers of 1000, as in the status lines of Valohai's platform."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float) -> str:
    """Format seconds as `1 h 30 min`, in the units of the configuration; as `2.5 s` below a minute."""
    if seconds < 60:
        return f"{seconds:g} s"
    parts, rest = [], round(seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)

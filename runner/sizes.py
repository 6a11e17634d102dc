"""Sizes for people, in the units of the platform's own status lines."""

from __future__ import annotations


def size_text(size: float) -> str:
    """`28.9 kB`: powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"

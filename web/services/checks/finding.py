"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`level` is ok, warn, fail or skip; `advice` says how to fix a warning or failure."""

    check: str
    level: str
    message: str
    advice: str = ""

"""Conditions that a valohai.yaml writes on values: `loss < 0.1`, `metadata.accuracy >= 0.9`. The only user of leval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def problem(expression: str) -> str:
    """Why it is no condition, "" when it is one."""
    raise NotImplementedError


def holds(expression: str, values: Mapping[str, Any]) -> bool:
    """Whether it is true of the values, by their names, which may have dots. Not while a value it names is missing.

    Raises nothing, whatever is written or given, and takes no long time.
    """
    raise NotImplementedError

"""Texts of a secret value to search logs for: the server warns about them, the runner masks them. Pure functions."""

from __future__ import annotations

import re

MIN_CHARACTERS = 6  # shorter texts appear in any log by chance
LINE_ENDS = re.compile(r"[\r\n]+")  # as the runner splits lines


def strip_secret(value: str) -> str:
    """Return the value without surrounding blanks, which programs strip; "" if it is too short to be masked."""
    return _enough(value.strip())


def split_secret(value: str) -> list[str]:
    """Return the lines of a multi-line value, each without surrounding blanks; lines that are too short are omitted."""
    return [line for part in LINE_ENDS.split(value.strip()) if (line := _enough(part.strip()))]


def is_masked(value: str) -> bool:
    """Return False if the value, or a line of it with letters or digits, is too short to be masked."""
    parts = [part.strip() for part in LINE_ENDS.split(value.strip())]
    return all(_enough(part) for part in parts if any(map(str.isalnum, part)) or len(parts) == 1)


def _enough(text: str) -> str:
    return text if len(text) >= MIN_CHARACTERS else ""

"""What of a secret value a log can be searched for: the server warns by it, the runner masks by it; pure."""

from __future__ import annotations

import re

MIN_CHARACTERS = 6  # what is shorter stands in any log by chance
LINE_ENDS = re.compile(r"[\r\n]+")  # as the runner reads lines


def whole(value: str) -> str:
    """The value without blanks around it, which programs strip; "" when too little is left to be masked."""
    return _enough(value.strip())


def lines(value: str) -> list[str]:
    """The lines of a multi-line value, each without blanks around it; those that are too short are left out."""
    return [line for part in LINE_ENDS.split(value.strip()) if (line := _enough(part.strip()))]


def is_masked(value: str) -> bool:
    """False when the value, or a line of it that has letters or digits, is too short to be masked."""
    parts = [part.strip() for part in LINE_ENDS.split(value.strip())]
    return all(_enough(part) for part in parts if any(map(str.isalnum, part)) or len(parts) == 1)


def _enough(text: str) -> str:
    return text if len(text) >= MIN_CHARACTERS else ""

"""Format values for pages: times, numbers, and untrusted text without invisible characters."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core import clock
from core.units import UNITS

SHOWN_CHARS = 200
SIGNIFICANT = 4
EXACT_DIGITS = 9  # whole numbers of up to this many digits are shown in full
TINY = 1e-4

# Characters that reorder, hide or fake text: zero-width characters, bidirectional controls, line separators, tags.
INVISIBLE = (
    *range(0x7F, 0xA0), 0xAD, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070),
    0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080),
)  # fmt: skip
CONTROL_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)}
VISIBLE = CONTROL_PICTURES | {code: f"⟨U+{code:04X}⟩" for code in INVISIBLE} | {0x7F: "\u2421"}
VISIBLE_LINE = VISIBLE | {0x09: "\u2409", 0x0A: "\u2424"}


def format_forge_name(forge: str) -> str:
    """Return the display name of a forge."""
    return {"github": "GitHub", "gitlab": "GitLab"}.get(forge, forge.capitalize())


def to_visible_text(text: str) -> str:
    """Replace control and invisible characters, except newline and tab, by visible symbols."""
    return text if text.isprintable() else text.translate(VISIBLE)


def to_one_line(text: str) -> str:
    """Replace control and invisible characters by visible symbols, including newline and tab; for untrusted names."""
    return text if text.isprintable() else text.translate(VISIBLE_LINE)


def extract_subject(message: str) -> str:
    """Return the first line of a commit message."""
    return message.strip().split("\n")[0] or "(no message)"


def format_exact_size(count: int) -> str:
    """Format bytes exactly, in the largest unit with a whole number, to be parsed again: "64 GiB", "1500", "0"."""
    for power in range(len(UNITS), 0, -1):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power} {UNITS[power - 1]}"
    return str(count)


def format_age(moment: str, now: datetime | None = None) -> str:
    """Format how long ago a time of core.clock was; after 30 days, its date."""
    seconds = ((now or datetime.now(UTC)) - clock.parse(moment)).total_seconds()
    if seconds < 10:
        return "just now"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago" if seconds < 30 * 86400 else moment[:10]
    return ""


def format_time(moment: str) -> str:
    """Format a time of core.clock to the second, with its time zone."""
    return f"{moment[:10]} {moment[11:19]} UTC"


def format_difference(value: float) -> str:
    """Format a difference of numbers with its sign."""
    sign = "+" if value > 0 else "\u2212" if value < 0 else "±"
    return sign + format_number(abs(value))


def format_number(value: float) -> str:
    """Format a number with at most four significant digits.

    Whole numbers are shown in full; scientific notation is used below 1e-4 and from 1e9 on.
    """
    if isinstance(value, int) and abs(value) < 10**EXACT_DIGITS:
        return str(value)
    if isinstance(value, int):
        return _scientific(Decimal(value))  # which may be too large for a float
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if value.is_integer() and abs(value) < 10**EXACT_DIGITS:
        return str(int(value))
    if abs(value) < TINY or abs(value) >= 10**EXACT_DIGITS:
        return _scientific(value)
    digits = max(0, SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))
    return _trimmed(f"{value:.{digits}f}")


def _scientific(value: float | Decimal) -> str:
    mantissa, _, exponent = f"{value:.{SIGNIFICANT - 1}e}".partition("e")
    return f"{_trimmed(mantissa)}e{int(exponent)}"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def format_value(given: Any) -> str:
    """Format a parameter or metadata value in at most SHOWN_CHARS characters."""
    if isinstance(given, bool) or given is None:
        return json.dumps(given)
    if isinstance(given, int | float):
        return format_number(given)
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def format_full_value(given: Any) -> str:
    """Format a parameter or metadata value in full, for the `title` attribute and for copying."""
    if isinstance(given, str):
        return given
    is_plain = type(given) is int or (type(given) is float and math.isfinite(given))
    return repr(given) if is_plain else json.dumps(given, ensure_ascii=False)

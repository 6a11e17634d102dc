"""Conversion of times: aware UTC datetimes in code, ISO 8601 text with six decimals and `Z` in tables and JSON.

The order of such texts is the order of the times.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    return datetime.now(UTC).strftime(FORMAT)


def format_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(FORMAT)


def add_to_now(seconds: float) -> str:
    """Return the time `seconds` from now. Raises OverflowError for a time after the year 9999."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(FORMAT)


def is_ahead(moment: str | None, most_s: float) -> bool:
    """Return whether a time is still to come. One more than `most_s` away was stored while the clock was wrong: False."""
    return moment is not None and now() < moment < add_to_now(most_s)


def parse(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def count_seconds_between(start: str, end: str) -> float:
    return (parse(end) - parse(start)).total_seconds()

"""Times of a schedule: five cron fields in a time zone."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from croniter.croniter import CroniterError

# croniter accepts more: seconds, @daily, and R for "at random", which would give another time at each call
NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
FIELD = re.compile(rf"(?:\d{{1,4}}|[*,/-]|{NAMES})+", re.IGNORECASE)
MINUTE = timedelta(minutes=1)


def find_problem(text: str, timezone: str) -> str:
    """Return why this is not a valid schedule; "" if it is."""
    fields = text.split()
    if len(fields) != 5 or not all(FIELD.fullmatch(field) for field in fields):
        return 'five fields of cron are expected (minute, hour, day, month, weekday), such as "0 3 * * *"'
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f'unknown time zone {timezone!r}; use a name such as "UTC" or "Europe/Helsinki"'
    try:
        compute_latest_time(text, timezone, datetime(2024, 1, 1, tzinfo=UTC))
    except (CroniterError, ValueError) as error:
        return f"it is not a valid cron expression: {error}"
    return ""


def compute_latest_time(text: str, timezone: str, now: datetime) -> datetime:
    """Return the latest planned time at or before `now`."""
    return _latest(text, timezone, now.astimezone(UTC).replace(second=0, microsecond=0))


def compute_next_time(text: str, timezone: str, now: datetime) -> datetime:
    """Return the next planned time after `now`."""
    times = croniter(text, now.astimezone(ZoneInfo(timezone)))
    found: datetime = times.get_next(datetime)
    while _is_repeated(text, found):
        found = times.get_next(datetime)
    return found.astimezone(UTC)


@functools.lru_cache(maxsize=1024)
def _latest(text: str, timezone: str, minute: datetime) -> datetime:
    found: datetime = croniter(text, (minute + MINUTE).astimezone(ZoneInfo(timezone))).get_prev(datetime)
    return (found.replace(fold=0) if _is_repeated(text, found) else found).astimezone(UTC)


def _is_repeated(text: str, found: datetime) -> bool:
    """Return whether the clock shows this time again because it was set back. A schedule that names hours runs once."""
    return found.fold == 1 and "*" not in text.split()[1]

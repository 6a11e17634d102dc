"""The address of an output file that is here, for use as an input: `datum://<uuid>`."""

from __future__ import annotations

import re

SCHEME = "datum"
URL = re.compile(SCHEME + r"://([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


def url_of(uuid: str) -> str:
    return f"{SCHEME}://{uuid}"


def uuid_of(url: str) -> str | None:
    """The uuid that an address of an output names; None for any other text."""
    found = URL.fullmatch(url)
    return found.group(1).lower() if found else None

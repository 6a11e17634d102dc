"""Names of output files, and their address for use as an input: `datum://<uuid>`."""

from __future__ import annotations

import re
from collections.abc import Container
from urllib.parse import quote_plus

SCHEME = "datum"
URL = re.compile(SCHEME + r"://([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)

NAME_CHARACTERS = 1024
SIDECAR = ".metadata.json"  # behind the name of another output
SIDECAR_OF_ALL = "valohai.metadata.jsonl"
NAME_ENCODED = 7000  # in a URL, where servers and proxies accept about 8,000 bytes


def name_problem(name: str) -> str:
    """Why an output cannot have this name, "" when it can: it is data and never a path here, but clients make paths of it."""
    if not 0 < len(name) <= NAME_CHARACTERS or len(quote_plus(name, errors="surrogateescape")) > NAME_ENCODED:
        return f"its path has {len(name):,} characters; 1 to {NAME_CHARACTERS:,} are possible"
    if "\0" in name or name.startswith("/") or ".." in name.split("/"):
        return "its path does not stay below /valohai/outputs"
    return ""


def is_sidecar(name: str, names: Container[str]) -> bool:
    """Whether an output only describes others, by the rules of Valohai; `names` are those of the execution's outputs."""
    return name == SIDECAR_OF_ALL or (name.endswith(SIDECAR) and name.removesuffix(SIDECAR) in names)


def url_of(uuid: str) -> str:
    return f"{SCHEME}://{uuid}"


def uuid_of(url: str) -> str | None:
    """The uuid that an address of an output names; None for any other text."""
    found = URL.fullmatch(url)
    return found.group(1).lower() if found else None

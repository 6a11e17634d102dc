"""Names of output files, and the URLs of outputs used as inputs: `datum://<uuid>` and `datum://<alias>`."""

from __future__ import annotations

import re
from collections.abc import Container
from urllib.parse import quote_plus

SCHEME = "datum"
URL = re.compile(SCHEME + r"://([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

NAME_CHARACTERS = 1024
SIDECAR = ".metadata.json"  # suffix to the name of another output
SIDECAR_OF_ALL = "valohai.metadata.jsonl"
NAME_ENCODED = 7000  # longest encoded name: servers and proxies accept URLs of about 8,000 bytes


def find_alias_problem(name: str) -> str:
    """Return why an alias cannot have this name, "" if it can. A UUID would hide the file that has it."""
    if not ALIAS.fullmatch(name) or URL.fullmatch(f"{SCHEME}://{name}"):
        return "use 1 to 128 letters, digits, '.', '_' and '-', a letter or digit first, and no UUID"
    return ""


def find_name_problem(name: str) -> str:
    """Return why an output cannot have this name, "" if it can.

    The server never uses the name as a path, but clients create files from it.
    """
    if not 0 < len(name) <= NAME_CHARACTERS or len(quote_plus(name, errors="surrogateescape")) > NAME_ENCODED:
        return f"its path has {len(name):,} characters; 1 to {NAME_CHARACTERS:,} are allowed"
    if "\0" in name or name.startswith("/") or ".." in name.split("/"):
        return "its path leads out of /valohai/outputs"
    return ""


def is_sidecar(name: str, names: Container[str]) -> bool:
    """Return whether an output only describes others, by Valohai's rules; `names` are all outputs of the execution."""
    return name == SIDECAR_OF_ALL or (name.endswith(SIDECAR) and name.removesuffix(SIDECAR) in names)


def make_datum_url(uuid: str) -> str:
    return f"{SCHEME}://{uuid}"


def parse_alias_url(url: str) -> str | None:
    """Return the alias in a `datum://` URL; None for a URL with a uuid, and for any other text."""
    scheme, separator, name = url.partition("://")
    return name if separator and scheme.lower() == SCHEME and not find_alias_problem(name) else None


def parse_datum_url(url: str) -> str | None:
    """Return the uuid in a `datum://` URL; None for any other text."""
    found = URL.fullmatch(url)
    return found.group(1).lower() if found else None

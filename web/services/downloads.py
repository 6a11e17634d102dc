"""Addresses by which a browser or a client without credentials may fetch one output file for a while."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from core.model import Datum
from web.services.vault import Vault

LIFETIME_S = 3600
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def path(vault: Vault, datum: Datum) -> str:
    """The path and query of an address of `datum` that is good for an hour.

    The last part of the path only names the file for who reads it: the uuid and the signature decide.
    """
    name = UNSAFE.sub("_", datum.name.rpartition("/")[2]).lstrip(".") or "output"
    query = urlencode({"signature": vault.sign(_what(datum.uuid), LIFETIME_S)})
    return f"/data/{datum.uuid}/{name}?{query}"


def allowed(vault: Vault, datum_uuid: str, signature: str) -> bool:
    return vault.check(_what(datum_uuid), signature)


def _what(datum_uuid: str) -> str:
    return f"download {datum_uuid}"

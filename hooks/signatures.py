"""HMAC-SHA256 over raw bytes, with which forges and our own hook sign their deliveries."""

from __future__ import annotations

import hashlib
import hmac
import re

BLOCK_BYTES = 64
PREFIX = "sha256="
HEX = re.compile(r"[0-9a-f]{64}")


def sign(body: bytes, secret: bytes, prefix: str = PREFIX) -> str:
    """Return the header value `sha256=<hex>`, or with another prefix."""
    return prefix + hmac.digest(secret, body, hashlib.sha256).hex()


def verify(given: str | None, body: bytes, secret: bytes, prefix: str = PREFIX) -> bool:
    """Return True if `given` signs `body`, compared in constant time. An empty secret verifies nothing."""
    if not secret or not given:
        return False
    return is_equal(given, sign(body, secret, prefix).encode())


def is_well_formed(given: str | None, prefix: str = PREFIX) -> bool:
    """Return whether `given` has the form of a signature: a cheap check that needs no body."""
    return given is not None and given.startswith(prefix) and HEX.fullmatch(given, len(prefix)) is not None


def is_equal(given: str | None, secret: bytes) -> bool:
    """Return True if `given` is the secret itself, compared in constant time. An empty secret matches nothing."""
    if not secret or not given:
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret)


def compute_hmac_pads(secret: bytes) -> tuple[bytes, bytes]:
    """Return the inner and the outer key block of RFC 2104: HMAC is H(outer + H(inner + body)).

    With them a shell script can sign by plain hashing, and the secret never appears on a command line.
    """
    key = hashlib.sha256(secret).digest() if len(secret) > BLOCK_BYTES else secret
    block = key.ljust(BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)

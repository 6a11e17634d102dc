"""Image registries: which ones a step may name, and how a failed pull is explained.

Docker connects to the registry from this machine. An image name must not make it call services that only the machine
can reach, and a registry's answer is never shown: it may be the answer of such a service.
"""

from __future__ import annotations

import re
import socket

from core.errors import PushmillError
from runner.inputs import address_policy

# (pattern in the daemon's message, explanation); the first match wins
EXPLANATIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        ("no space left on device", "no space left on the runner's disk"),
        ("invalid reference format", "this is not a valid image name"),
        ("no matching manifest", "the image does not exist for this machine's platform"),
        ("toomanyrequests|too many requests|429", "the registry's rate limit is reached; `docker login` raises it"),
        ("x509|certificate|tls:|HTTP response to HTTPS", "the TLS connection to the registry failed"),
        ("no such host|server misbehaving|name resolution", "the registry's host name cannot be resolved"),
        ("connection refused", "the registry refused the connection"),
        ("no route to host|network is unreachable", "there is no route to the registry"),
        ("timeout|timed out|deadline exceeded|awaiting headers", "the registry did not answer in time"),
        ("manifest unknown|manifest for .+ not found", "the registry has no such image or tag"),
        (
            "denied|unauthorized|authentication|credentials|40[13]",
            "the registry has no such image, or it needs a `docker login` on the runner",
        ),
        ("EOF|connection reset|broken pipe", "the connection to the registry broke"),
    )
)
UNKNOWN = "the pull failed; the runner's log has the answer"


def check(image: str, allow: tuple[str, ...]) -> None:
    """Raise PushmillError if the image's registry is an address that steps may not reach; `allow` lists exceptions.

    An entry of `allow` is a host or host:port. Docker resolves the name again, so this does not stop a name server that
    changes its answer in between. Names that cannot be resolved pass: Docker reports them.
    """
    registry = parse_registry(image)
    host, port = _split(registry)
    if not registry or registry.lower() in {item.lower() for item in allow}:
        return
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return
    for address in dict.fromkeys(str(entry[4][0]) for entry in found):
        why = address_policy.explain_refusal_here(address)
        if why and not address_policy.is_allowed(host, address, allow):
            raise PushmillError(
                f"its registry {registry} has the address {address}, {why}; "
                "[runner] allow_registries of this runner allows registries there"
            )


def parse_registry(image: str) -> str:
    """The host (and port) in an image's name, "" for Docker Hub, by the rule of github.com/distribution/reference."""
    first, slash, _ = image.partition("/")
    named = any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()
    return first if slash and named else ""


def explain_failure(message: str) -> str:
    """Explain a failed pull without quoting the daemon's message."""
    return next((text for pattern, text in EXPLANATIONS if pattern.search(message)), UNKNOWN)


def _split(registry: str) -> tuple[str, str]:
    if registry.startswith("["):
        host, _, port = registry[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = registry.partition(":")
    return host, port

"""The interface between the server and every source of pushes.

Header names are in lower case. `has_proof` is called before the body is read, then `verify` on the received bytes; the
other methods may assume that both returned true, but not that the body is well-formed. Forges do not depend on each
other.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from core.model import PullRequestEvent, PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.payload import Headers, Ignored

HEADER_CHARS = 200  # longer than any event name or GUID


class Forge(ABC):
    PUSHER_READS_ANSWER = False  # whether the answer is shown to the person who pushed, and is worth a short wait
    KEPT_HEADERS: frozenset[str]  # to store: those that `parse` reads or people want to see; they contain no secret
    SIGNATURE: str  # headers
    EVENT: str
    DELIVERY: str
    # paths below the page of a repository, "" for none: to add a webhook, the list of webhooks with their deliveries, to
    # add a deploy key, the changes between two commits, and the folder of commits
    NEW_WEBHOOK: str
    WEBHOOKS, DEPLOY_KEYS = "/settings/hooks", "/settings/keys"
    CHANGES, COMMITS = "/compare/{before}...{after}", "/commit"
    FULL_NAME = ("repository", "full_name")  # keys of the payload
    PREFIX = signatures.PREFIX  # of the signature; without one it is bare hexadecimal digits

    def header(self, headers: Headers, name: str) -> str:
        """Return a header's value, cut to what may be stored and shown; "" if it is missing."""
        return headers.get(name, "")[:HEADER_CHARS]

    def has_proof(self, headers: Headers) -> bool:
        """Return whether the headers contain a signature or token of this forge's form. Checks nothing else."""
        return signatures.is_well_formed(self.header(headers, self.SIGNATURE), self.PREFIX)

    def verify(self, headers: Headers, body: bytes, secret: bytes) -> bool:
        """Return True if the delivery was signed with `secret`; in constant time."""
        signed = self.signed(headers, body)
        return signatures.verify(self.header(headers, self.SIGNATURE), signed, secret, self.PREFIX)

    def signed(self, headers: Headers, body: bytes) -> bytes:  # noqa: ARG002
        """Return what the forge signs; by default the raw body, whatever its content type."""
        return body

    def event(self, headers: Headers) -> str:
        """Return the forge's name of the event, for the list of deliveries."""
        return self.header(headers, self.EVENT)

    def delivery_id(self, headers: Headers, body: bytes) -> str:
        """Return the id of the delivery, which stays the same when it is sent again. Raises InvalidDelivery."""
        return self.header(headers, self.DELIVERY) or hashlib.sha256(body).hexdigest()

    def full_name(self, headers: Headers, body: bytes) -> str | None:
        """Return the repository, with its owners, that the payload names; None if none. Raises InvalidDelivery."""
        repository, key = self.FULL_NAME
        name = payload.get_mapping(payload.read(headers, body), repository).get(key)
        return name if isinstance(name, str) and name else None

    @abstractmethod
    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        """Return every ref update, in order; or the pull request that was opened, changed or closed.

        Raises InvalidDelivery and nothing else. A pull request of unclear origin counts as one from a fork, since those
        of the repository itself run with its secrets.
        """

    @abstractmethod
    def serves(self, host: str) -> bool:
        """Return whether a host's name indicates this forge."""

"""The seam between the server and everything that may tell it of a push.

A forge is a module with the functions of `Forge`. Header names are in lower case. `verify` comes first, on the bytes as
they came; everything else may assume that it was true, but not that the body is well-formed. No forge knows another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core import names
from core.errors import InvalidDelivery, InvalidInput
from core.model import PushEvent

Headers = Mapping[str, str]
MAX_OPTIONS = 32
OPTION_CHARS = 1000
MESSAGE_CHARS = 64 * 1024
NO_COMMIT = "0" * 40  # where a ref did not exist before or does not exist any more


@dataclass(frozen=True)
class Ignored:
    """A delivery that is well-formed and asks for nothing."""

    reason: str


class Forge(Protocol):
    @property
    def PUSHER_READS_ANSWER(self) -> bool:  # noqa: N802
        """Whether the answer to a delivery reaches the person who pushed, and is worth a short wait."""

    @property
    def KEPT_HEADERS(self) -> frozenset[str]:  # noqa: N802
        """What is stored of a delivery's headers: those that `parse` reads and people want to see. No secret."""

    def verify(self, headers: Headers, body: bytes, secret: bytes) -> bool:
        """True when the delivery was signed with `secret`; in constant time."""

    def event(self, headers: Headers) -> str:
        """What the forge calls the event, for the list of deliveries."""

    def delivery_id(self, headers: Headers, body: bytes) -> str:
        """The name of the delivery: the same when it is sent again. Raises InvalidDelivery."""

    def full_name(self, headers: Headers, body: bytes) -> str | None:
        """The repository that the payload speaks of; None when it names none. Raises InvalidDelivery."""

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | Ignored:
        """Every moved ref, in order. Raises InvalidDelivery and nothing else."""

    def serves(self, host: str) -> bool:
        """Whether a host's name says that it runs this forge."""

    def webhook_page(self, page: str) -> str:
        """Where a person enters the webhook's URL and secret, for the repository whose own page is `page`; "" for nowhere."""

    def deploy_key_page(self, page: str) -> str:
        """The same for the public half of a key that may fetch the repository."""


def push_event(
    *,
    ref: str,
    before: str,
    after: str,
    identity: str = "",
    pusher: str = "",
    message: str = "",
    options: tuple[str, ...] = (),
) -> PushEvent:
    """A PushEvent whose names are such that git accepts. Without an identity, the three names are it."""
    try:
        names.check_ref(ref)
        names.check_sha(before)
        names.check_sha(after)
    except InvalidInput as error:
        raise InvalidDelivery(str(error)) from None
    return PushEvent(
        ref=ref,
        before=before,
        after=after,
        pusher=pusher[:OPTION_CHARS],
        message=message[:MESSAGE_CHARS],
        options=tuple(option[:OPTION_CHARS] for option in options[:MAX_OPTIONS]),
        identity=identity or hashlib.sha256(f"{ref}\n{before}\n{after}".encode("utf-8", "replace")).hexdigest(),
    )

"""The seam between the server and everything that may tell it of a push.

A forge is a module with the functions of `Forge`. Header names are in lower case. `has_proof` is asked before the body is
read, then `verify`, on the bytes as they came; the other functions may assume that both were true, but not that the body is
well-formed. No forge knows another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from core import names
from core.errors import InvalidDelivery, InvalidInput
from core.model import PullRequestEvent, PushEvent, is_zero

Headers = Mapping[str, str]
MAX_OPTIONS, OPTION_CHARS = 32, 1000  # one more of each is kept, so that reaching a limit can be reported
PUSHER_CHARS = 1000
MESSAGE_CHARS = 64 * 1024
NO_COMMIT = "0" * 40  # where a ref did not exist before or does not exist any more
SHA_BEGINNING = re.compile(r"[0-9a-f]{12,64}")  # Bitbucket tells no more than twelve digits of a pull request's head
WEB_ADDRESS = re.compile(r"https?://[!-~]{1,2000}")
TITLE_CHARS, AUTHOR_CHARS = 500, 200
MAX_NUMBER = 2**31 - 1


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

    def has_proof(self, headers: Headers) -> bool:
        """Whether the headers carry a proof of the form that this forge sends. Looks at nothing else."""

    def verify(self, headers: Headers, body: bytes, secret: bytes) -> bool:
        """True when the delivery was signed with `secret`; in constant time."""

    def event(self, headers: Headers) -> str:
        """What the forge calls the event, for the list of deliveries."""

    def delivery_id(self, headers: Headers, body: bytes) -> str:
        """The name of the delivery: the same when it is sent again. Raises InvalidDelivery."""

    def full_name(self, headers: Headers, body: bytes) -> str | None:
        """The repository that the payload speaks of; None when it names none. Raises InvalidDelivery."""

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        """Every moved ref, in order; or the pull request that was opened, changed or closed.

        Raises InvalidDelivery and nothing else. A pull request whose origin is in doubt comes from a fork: what the
        repository's own people wrote runs with its secrets.
        """

    def serves(self, host: str) -> bool:
        """Whether a host's name says that it runs this forge."""

    def webhook_page(self, page: str) -> str:
        """Where a person enters the webhook's URL and secret, for the repository whose own page is `page`; "" for nowhere."""

    def webhooks_page(self, page: str) -> str:
        """Where a person finds the webhooks that there are, with what became of their deliveries; "" for nowhere."""

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
        pusher=pusher[:PUSHER_CHARS],
        message=message[:MESSAGE_CHARS],
        options=tuple(option[: OPTION_CHARS + 1] for option in options[: MAX_OPTIONS + 1]),
        identity=identity or hashlib.sha256(f"{ref}\n{before}\n{after}".encode("utf-8", "replace")).hexdigest(),
    )


def pull_request_event(
    *,
    number: object,
    sha: str,
    title: str,
    author: str,
    url: str,
    head_branch: str,
    base_branch: str,
    from_fork: bool,
    closed: bool,
    fetch_ref: str = "",
    fetch_url: str = "",
) -> PullRequestEvent:
    """A PullRequestEvent whose names are such that git accepts. One that is closed may name no commit."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MAX_NUMBER:
        raise InvalidDelivery(f"a pull request's number must be from 1 to {MAX_NUMBER}, got {str(number)[:80]!r}")
    if not (SHA_BEGINNING.fullmatch(sha) and not is_zero(sha)) and not (closed and not sha):
        raise InvalidDelivery(f"pull request {number}: {sha[:80]!r} is no commit name")
    try:
        for branch in (head_branch, base_branch):
            names.check_ref(f"refs/heads/{branch}")
        if fetch_ref:
            names.check_ref(fetch_ref)
    except InvalidInput as error:
        raise InvalidDelivery(f"pull request {number}: {error}") from None
    for address in (url, fetch_url):
        if address and not WEB_ADDRESS.fullmatch(address):
            raise InvalidDelivery(f"pull request {number}: {address[:200]!r} is no web address")
    return PullRequestEvent(
        number=number,
        sha=sha,
        title=title[:TITLE_CHARS],
        author=author[:AUTHOR_CHARS],
        url=url,
        head_branch=head_branch,
        base_branch=base_branch,
        from_fork=from_fork,
        closed=closed,
        fetch_ref=fetch_ref,
        fetch_url=fetch_url,
    )

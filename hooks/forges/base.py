"""The interface between the server and every source of pushes.

A forge is a module with the functions of `Forge`. Header names are in lower case. `has_proof` is called before the body
is read, then `verify` on the received bytes; the other functions may assume that both returned true, but not that the
body is well-formed. Forges do not depend on each other.
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
MAX_OPTIONS, OPTION_CHARS = 32, 1000  # one more of each is kept, so that exceeding a limit can be reported
PUSHER_CHARS = 1000
MESSAGE_CHARS = 64 * 1024
NO_COMMIT = "0" * 40  # the ref did not exist before, or does not exist afterwards
SHA_BEGINNING = re.compile(r"[0-9a-f]{12,64}")  # Bitbucket sends only twelve digits of a pull request's head
WEB_ADDRESS = re.compile(r"https?://[!-~]{1,2000}")
TITLE_CHARS, AUTHOR_CHARS = 500, 200
MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Ignored:
    """A well-formed delivery that requires no action."""

    reason: str


class Forge(Protocol):
    @property
    def PUSHER_READS_ANSWER(self) -> bool:  # noqa: N802
        """Whether the answer to a delivery is shown to the person who pushed, and is worth a short wait."""

    @property
    def KEPT_HEADERS(self) -> frozenset[str]:  # noqa: N802
        """Headers of a delivery to store: those that `parse` reads or people want to see. They contain no secret."""

    def has_proof(self, headers: Headers) -> bool:
        """Return whether the headers contain a signature or token of this forge's form. Checks nothing else."""

    def verify(self, headers: Headers, body: bytes, secret: bytes) -> bool:
        """Return True if the delivery was signed with `secret`; in constant time."""

    def event(self, headers: Headers) -> str:
        """Return the forge's name of the event, for the list of deliveries."""

    def delivery_id(self, headers: Headers, body: bytes) -> str:
        """Return the id of the delivery, which stays the same when it is sent again. Raises InvalidDelivery."""

    def full_name(self, headers: Headers, body: bytes) -> str | None:
        """Return the repository that the payload names; None if it names none. Raises InvalidDelivery."""

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        """Return every ref update, in order; or the pull request that was opened, changed or closed.

        Raises InvalidDelivery and nothing else. A pull request of unclear origin counts as one from a fork, since those
        of the repository itself run with its secrets.
        """

    def serves(self, host: str) -> bool:
        """Return whether a host's name indicates this forge."""

    def webhook_page(self, page: str) -> str:
        """Return where to enter the webhook's URL and secret for the repository with page `page`; "" for nowhere."""

    def webhooks_page(self, page: str) -> str:
        """Return the page with the existing webhooks and the results of their deliveries; "" for none."""

    def deploy_key_page(self, page: str) -> str:
        """Return the page for entering the public half of a deploy key; "" for none."""


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
    """Create a PushEvent with names that git accepts. The default identity is made of the three names."""
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
    """Create a PullRequestEvent with names that git accepts. A closed one may lack the commit."""
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

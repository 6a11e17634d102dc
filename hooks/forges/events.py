"""What deliveries report: ref updates and pull requests, with names that git accepts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

from core import names
from core.errors import InvalidDelivery, InvalidInput
from core.model import PullRequestEvent, PushEvent, is_zero

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


def checked_pull_request(event: PullRequestEvent) -> PullRequestEvent:
    """Check a pull request's names and addresses, and cut its texts. A closed one may lack the commit."""
    number: Any = event.number  # as the forge sent it
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MAX_NUMBER:
        raise InvalidDelivery(f"a pull request's number must be from 1 to {MAX_NUMBER}, got {str(number)[:80]!r}")
    if not (SHA_BEGINNING.fullmatch(event.sha) and not is_zero(event.sha)) and not (event.closed and not event.sha):
        raise InvalidDelivery(f"pull request {number}: {event.sha[:80]!r} is not a commit name")
    try:
        for branch in (event.head_branch, event.base_branch):
            names.check_ref(f"refs/heads/{branch}")
        if event.fetch_ref:
            names.check_ref(event.fetch_ref)
    except InvalidInput as error:
        raise InvalidDelivery(f"pull request {number}: {error}") from None
    for address in (event.url, event.fetch_url):
        if address and not WEB_ADDRESS.fullmatch(address):
            raise InvalidDelivery(f"pull request {number}: {address[:200]!r} is not a web address")
    return replace(event, title=event.title[:TITLE_CHARS], author=event.author[:AUTHOR_CHARS])

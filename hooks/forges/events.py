"""What deliveries report: ref updates and pull requests, with names that git accepts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

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
        raise InvalidDelivery(f"pull request {number}: {sha[:80]!r} is not a commit name")
    try:
        for branch in (head_branch, base_branch):
            names.check_ref(f"refs/heads/{branch}")
        if fetch_ref:
            names.check_ref(fetch_ref)
    except InvalidInput as error:
        raise InvalidDelivery(f"pull request {number}: {error}") from None
    for address in (url, fetch_url):
        if address and not WEB_ADDRESS.fullmatch(address):
            raise InvalidDelivery(f"pull request {number}: {address[:200]!r} is not a web address")
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

"""What deliveries report: ref updates and pull requests, with names that git accepts, read from unvalidated JSON.

Reading raises InvalidDelivery and nothing else.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from core import names
from core.errors import InvalidDelivery, InvalidInput
from core.model import PullRequestEvent, PushEvent, is_zero

FORM = "application/x-www-form-urlencoded"
FORM_FIELDS = 10
ACTIONS = frozenset(
    {"opened", "reopened", "edited", "synchronize", "synchronized", "closed"}
)  # the last but one is of Gitea
MAX_OPTIONS, OPTION_CHARS = 32, 1000  # one more of each is kept, so that exceeding a limit can be reported
PUSHER_CHARS = 1000
MESSAGE_CHARS = 64 * 1024
NO_COMMIT = "0" * 40  # the ref did not exist before, or does not exist afterwards
SHA_BEGINNING = re.compile(r"[0-9a-f]{12,64}")  # Bitbucket sends only twelve digits of a pull request's head
WEB_ADDRESS = re.compile(r"https?://[!-~]{1,2000}")
TITLE_CHARS, AUTHOR_CHARS = 500, 200
MAX_NUMBER = 2**31 - 1
Headers = Mapping[str, str]
Json = dict[str, Any]


@dataclass(frozen=True)
class Ignored:
    """A well-formed delivery that requires no action."""

    reason: str


def is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").lower().startswith(FORM)


def extract_json_text(headers: Headers, body: bytes) -> bytes:
    """Return the JSON as the forge wrote it: the body, or the field `payload` of a form; b"" if that is missing.

    Anyone can send a form, since Gitea and Gogs sign the JSON in it: decoding takes a few times its size in memory and
    some milliseconds. `urllib.parse` takes 80 times its size and a second for 5 MiB.
    """
    if not is_form(headers):
        return body
    for field in body.split(b"&", FORM_FIELDS)[:FORM_FIELDS]:
        name, _, value = field.partition(b"=")
        if name == b"payload":
            return _decoded(value)
    return b""


def _decoded(value: bytes) -> bytes:
    """Decode a form field, in C: `%41` is `=41` in quoted-printable.

    A malformed escape is decoded differently than by `urllib.parse`. No forge sends one, so its signature is wrong
    anyway.
    """
    return binascii.a2b_qp(value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"="))


def read(headers: Headers, body: bytes) -> Json:
    try:
        found = orjson.loads(extract_json_text(headers, body))
    except ValueError as error:
        raise InvalidDelivery(f"the body is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise InvalidDelivery(f"the body must be a JSON object, got {type(found).__name__}")
    return found


def get_text(found: Json, key: str, default: str | None = None) -> str:
    """Return a text; `default` if it is null or missing. Without a default it is required."""
    value = found.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvalidDelivery(f"{key} must be text, got {str(value)[:80]!r}")
    return value


def get_mapping(found: Json, key: str) -> Json:
    """Return an object inside another; {} if it is null, missing or something else."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def get_mappings(found: Json, key: str) -> list[Json]:
    """Return the objects of a list; [] if it is null, missing or something else."""
    value = found.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def parse_push(
    found: Json, *, commit: object, message: str, pusher: str, options: tuple[str, ...] = ()
) -> list[PushEvent] | Ignored:
    """Return the one ref update of a payload with `ref`, `before` and `after`: all forges except Bitbucket send these.

    For an annotated tag `after` is the tag; then `commit`, if valid, is the commit behind it. The identity is made of
    the sent values, so a forge that reports the tag in another event as well reports the same push.
    """
    ref, before, after = (get_text(found, key) for key in ("ref", "before", "after"))
    if before == after:
        return Ignored(f"{ref} has not changed")
    event = PushEvent(ref=ref, before=before, after=after, pusher=pusher, message=message, options=options)
    sent = check_push(event)
    if ref.startswith("refs/tags/") and not sent.deleted and isinstance(commit, str) and names.is_sha(commit):
        return [replace(sent, after=commit)]
    return [sent]


def parse_pull_request(found: Json) -> PullRequestEvent | Ignored:
    """Parse a pull request of GitHub, whose format Gitea uses too.

    Its head may not be a branch; Gitea then gives the ref that we would fetch. Either the branch was deleted, or a
    person without write access pushed the head without a fork (AGit), and the head's repository is ours.
    """
    action = get_text(found, "action", "")
    if action not in ACTIONS:
        return ignore_action(action)
    request, number = get_mapping(found, "pull_request"), found.get("number", 0)
    head, base = get_mapping(request, "head"), get_mapping(request, "base")
    branch = get_text(head, "ref")
    is_branch = not branch.startswith("refs/")
    return check_pull_request(
        PullRequestEvent(
            number=number,
            sha=get_text(head, "sha"),
            title=get_text(request, "title", ""),
            author=get_text(get_mapping(request, "user"), "login", ""),
            url=get_text(request, "html_url", ""),
            head_branch=branch,
            base_branch=get_text(base, "ref"),
            from_fork=not (
                is_branch and is_same(get_mapping(head, "repo").get("id"), get_mapping(base, "repo").get("id"))
            ),
            closed=action == "closed" or get_text(request, "state", "open") != "open",
            fetch_ref=f"refs/pull/{number}/head",
        )
    )


def is_same(one: object, other: object) -> bool:
    """Return whether two ids or names of repositories are present and equal."""
    return one is not None and type(one) is type(other) and one == other


def ignore_action(action: str) -> Ignored:
    return Ignored(f"pull request: {action[:80]!r} has no new commit")


def explain_ignored_event(event: str) -> str:
    return f"event {event!r}: only pushes and pull requests are used"


def check_push(event: PushEvent) -> PushEvent:
    """Check that git accepts a push's names, and cut its texts. The default identity is made of the three names."""
    ref, before, after = event.ref, event.before, event.after
    try:
        names.check_ref(ref)
        names.check_sha(before)
        names.check_sha(after)
    except InvalidInput as error:
        raise InvalidDelivery(str(error)) from None
    return replace(
        event,
        pusher=event.pusher[:PUSHER_CHARS],
        message=event.message[:MESSAGE_CHARS],
        options=tuple(option[: OPTION_CHARS + 1] for option in event.options[: MAX_OPTIONS + 1]),
        identity=event.identity or hashlib.sha256(f"{ref}\n{before}\n{after}".encode("utf-8", "replace")).hexdigest(),
    )


def check_pull_request(event: PullRequestEvent) -> PullRequestEvent:
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

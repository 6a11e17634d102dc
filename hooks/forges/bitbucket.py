"""The webhooks of Bitbucket Cloud: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads"""

from __future__ import annotations

import re

from core.errors import InvalidDelivery
from core.model import PullRequestEvent, PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.base import NO_COMMIT, Headers, Ignored, pull_request_event, push_event

PUSHER_READS_ANSWER = False
SIGNATURE = "x-hub-signature"  # SHA-256 here, where GitHub sends SHA-1 under this name
EVENT = "x-event-key"
DELIVERY = "x-request-uuid"
KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY, "x-hook-uuid", "x-attempt-number"})
FOLDERS = {"branch": "refs/heads/", "tag": "refs/tags/", "annotated_tag": "refs/tags/"}
MAX_REFS = 10_000
SITE = "https://bitbucket.org"
FULL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
OPEN, CLOSED = ("pullrequest:created", "pullrequest:updated"), ("pullrequest:fulfilled", "pullrequest:rejected")


def has_proof(headers: Headers) -> bool:
    return signatures.well_formed(headers.get(SIGNATURE))


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    return signatures.verify(headers.get(SIGNATURE), body, secret)


def event(headers: Headers) -> str:
    return payload.header(headers, EVENT)


def delivery_id(headers: Headers, body: bytes) -> str:
    """Return a UUID. If a retry has another one, its refs are recognised anyway."""
    return payload.header(headers, DELIVERY) or payload.named_by_itself(body)


def full_name(headers: Headers, body: bytes) -> str | None:
    return payload.full_name(headers, body)


def parse(headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
    """Return one event per ref update of a push; or that of a pull request."""
    kind = event(headers)
    if kind in OPEN or kind in CLOSED:
        return _pull_request(payload.read(headers, body), closed=kind in CLOSED)
    if kind != "repo:push":
        return Ignored(payload.no_use(kind) if kind else f"no {EVENT} header")
    found = payload.read(headers, body)
    changes = payload.parts(payload.part(found, "push"), "changes")
    if len(changes) > MAX_REFS:
        raise InvalidDelivery(f"{len(changes):,} refs in one push; at most {MAX_REFS:,} are taken")
    actor = payload.part(found, "actor")
    pusher = payload.text(actor, "nickname", "") or payload.text(actor, "display_name", "")
    events = [_moved(change, pusher) for change in changes]
    return [event for event in events if event is not None] or Ignored("no branch or tag was moved")


def serves(host: str) -> bool:
    return host == "bitbucket.org"


def webhook_page(page: str) -> str:
    return f"{page}/admin/webhooks"


def webhooks_page(page: str) -> str:
    return f"{page}/admin/webhooks"


def deploy_key_page(page: str) -> str:
    return f"{page}/admin/access-keys/"


def _moved(change: payload.Json, pusher: str) -> PushEvent | None:
    """Parse a change: `old` is null for a new ref, `new` for a deleted one.

    None if it is neither branch nor tag, or did not move.
    """
    old, new = payload.part(change, "old"), payload.part(change, "new")
    folder = FOLDERS.get(payload.text(new or old, "type", ""))
    before, after = (payload.text(payload.part(side, "target"), "hash") if side else NO_COMMIT for side in (old, new))
    if folder is None or before == after:
        return None
    return push_event(
        ref=folder + payload.text(new or old, "name"),
        before=before,
        after=after,
        pusher=pusher,
        message=payload.text(payload.part(new, "target"), "message", ""),
    )


def _pull_request(found: payload.Json, *, closed: bool) -> PullRequestEvent | Ignored:
    """Parse a pull request.

    Its head has no ref: it is a branch of the fork or, without one, of the repository itself.
    """
    request = payload.part(found, "pullrequest")
    source, destination = payload.part(request, "source"), payload.part(request, "destination")
    home, author = payload.part(destination, "repository"), payload.part(request, "author")
    fork = payload.part(source, "repository")  # null if the fork was deleted
    same = payload.is_same(fork.get("full_name"), home.get("full_name"))
    commit = payload.part(source, "commit")
    if not commit and not closed:
        return Ignored("pull request: its branch is gone")
    return pull_request_event(
        number=request.get("id"),
        sha=payload.text(commit, "hash", ""),
        title=payload.text(request, "title", ""),
        author=payload.text(author, "nickname", "") or payload.text(author, "display_name", ""),
        url=_page(request),
        head_branch=payload.text(payload.part(source, "branch"), "name"),
        base_branch=payload.text(payload.part(destination, "branch"), "name"),
        from_fork=not same,
        closed=closed or payload.text(request, "state", "OPEN") != "OPEN",
        fetch_url="" if same or not fork else _address(home, payload.text(fork, "full_name")),
    )


def _page(found: payload.Json) -> str:
    return payload.text(payload.part(payload.part(found, "links"), "html"), "href", "")


def _address(home: payload.Json, fork: str) -> str:
    """Return the clone URL of a fork.

    Payloads do not contain it, only the page of the repository that was forked.
    """
    if not FULL_NAME.fullmatch(fork):
        raise InvalidDelivery(f"{fork[:200]!r} names no repository")
    page, name = _page(home), payload.text(home, "full_name", "")
    site = page.removesuffix(f"/{name}") if name and page.endswith(f"/{name}") else SITE
    return f"{site}/{fork}.git"

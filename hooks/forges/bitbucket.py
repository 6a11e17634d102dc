"""The webhooks of Bitbucket Cloud: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads"""

from __future__ import annotations

import re

from core.errors import InvalidDelivery
from core.model import PullRequestEvent, PushEvent
from hooks.forges import payload
from hooks.forges.base import Forge
from hooks.forges.payload import NO_COMMIT, Headers, Ignored, check_pull_request, check_push

FOLDERS = {"branch": "refs/heads/", "tag": "refs/tags/", "annotated_tag": "refs/tags/"}
MAX_REFS = 10_000
SITE = "https://bitbucket.org"
FULL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
OPEN, CLOSED = ("pullrequest:created", "pullrequest:updated"), ("pullrequest:fulfilled", "pullrequest:rejected")


class Bitbucket(Forge):
    SIGNATURE = "x-hub-signature"  # SHA-256 here, where GitHub sends SHA-1 under this name
    EVENT = "x-event-key"
    DELIVERY = "x-request-uuid"  # if a retry has another one, its refs are recognised anyway
    KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY, "x-hook-uuid", "x-attempt-number"})
    NEW_WEBHOOK = WEBHOOKS = "/admin/webhooks"
    COMMITS = "/commits"
    DEPLOY_KEYS = "/admin/access-keys/"
    CHANGES = "/branches/compare/{after}..{before}"

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        """Return one event per ref update of a push; or that of a pull request."""
        kind = self.event(headers)
        if kind in OPEN or kind in CLOSED:
            return _pull_request(payload.read(headers, body), closed=kind in CLOSED)
        if kind != "repo:push":
            return Ignored(payload.explain_ignored_event(kind) if kind else f"no {self.EVENT} header")
        found = payload.read(headers, body)
        changes = payload.get_mappings(payload.get_mapping(found, "push"), "changes")
        if len(changes) > MAX_REFS:
            raise InvalidDelivery(f"{len(changes):,} refs in one push; at most {MAX_REFS:,} are allowed")
        actor = payload.get_mapping(found, "actor")
        pusher = payload.get_text(actor, "nickname", "") or payload.get_text(actor, "display_name", "")
        events = [_moved(change, pusher) for change in changes]
        return [event for event in events if event is not None] or Ignored("no branch or tag has changed")

    def serves(self, host: str) -> bool:
        return host == "bitbucket.org"


def _moved(change: payload.Json, pusher: str) -> PushEvent | None:
    """Parse a change: `old` is null for a new ref, `new` for a deleted one.

    None if it is neither branch nor tag, or did not move.
    """
    old, new = payload.get_mapping(change, "old"), payload.get_mapping(change, "new")
    folder = FOLDERS.get(payload.get_text(new or old, "type", ""))
    before, after = (
        payload.get_text(payload.get_mapping(side, "target"), "hash") if side else NO_COMMIT for side in (old, new)
    )
    if folder is None or before == after:
        return None
    return check_push(
        PushEvent(
            ref=folder + payload.get_text(new or old, "name"),
            before=before,
            after=after,
            pusher=pusher,
            message=payload.get_text(payload.get_mapping(new, "target"), "message", ""),
        )
    )


def _pull_request(found: payload.Json, *, closed: bool) -> PullRequestEvent | Ignored:
    """Parse a pull request.

    Its head has no ref: it is a branch of the fork or, without one, of the repository itself.
    """
    request = payload.get_mapping(found, "pullrequest")
    source, destination = payload.get_mapping(request, "source"), payload.get_mapping(request, "destination")
    home, author = payload.get_mapping(destination, "repository"), payload.get_mapping(request, "author")
    fork = payload.get_mapping(source, "repository")  # null if the fork was deleted
    same = payload.is_same(fork.get("full_name"), home.get("full_name"))
    commit = payload.get_mapping(source, "commit")
    if not commit and not closed:
        return Ignored("pull request: its branch was deleted")
    return check_pull_request(
        PullRequestEvent(
            number=request.get("id", 0),
            sha=payload.get_text(commit, "hash", ""),
            title=payload.get_text(request, "title", ""),
            author=payload.get_text(author, "nickname", "") or payload.get_text(author, "display_name", ""),
            url=_page(request),
            head_branch=payload.get_text(payload.get_mapping(source, "branch"), "name"),
            base_branch=payload.get_text(payload.get_mapping(destination, "branch"), "name"),
            from_fork=not same,
            closed=closed or payload.get_text(request, "state", "OPEN") != "OPEN",
            fetch_url="" if same or not fork else _address(home, payload.get_text(fork, "full_name")),
        )
    )


def _page(found: payload.Json) -> str:
    return payload.get_text(payload.get_mapping(payload.get_mapping(found, "links"), "html"), "href", "")


def _address(home: payload.Json, fork: str) -> str:
    """Return the clone URL of a fork.

    Payloads do not contain it, only the page of the repository that was forked.
    """
    if not FULL_NAME.fullmatch(fork):
        raise InvalidDelivery(f"{fork[:200]!r} does not name a repository")
    page, name = _page(home), payload.get_text(home, "full_name", "")
    site = page.removesuffix(f"/{name}") if name and page.endswith(f"/{name}") else SITE
    return f"{site}/{fork}.git"

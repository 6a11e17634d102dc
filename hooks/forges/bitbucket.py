"""The webhooks of Bitbucket Cloud: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push"""

from __future__ import annotations

from core.errors import InvalidDelivery
from core.model import PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.base import NO_COMMIT, Headers, Ignored, push_event

PUSHER_READS_ANSWER = False
SIGNATURE = "x-hub-signature"  # SHA-256 here, where GitHub sends SHA-1 under this name
EVENT = "x-event-key"
DELIVERY = "x-request-uuid"
KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY, "x-hook-uuid", "x-attempt-number"})
FOLDERS = {"branch": "refs/heads/", "tag": "refs/tags/", "annotated_tag": "refs/tags/"}
MAX_REFS = 10_000


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    return signatures.verify(headers.get(SIGNATURE), body, secret)


def event(headers: Headers) -> str:
    return payload.header(headers, EVENT)


def delivery_id(headers: Headers, body: bytes) -> str:
    """A UUID. Should another attempt have another one, its refs are known all the same."""
    return payload.header(headers, DELIVERY) or payload.named_by_itself(body)


def full_name(headers: Headers, body: bytes) -> str | None:
    return payload.full_name(headers, body)


def parse(headers: Headers, body: bytes) -> list[PushEvent] | Ignored:
    """One event for each of the refs that a push moved."""
    kind = event(headers)
    if kind != "repo:push":
        return Ignored(f"event {kind!r}: only pushes are acted upon" if kind else f"no {EVENT} header")
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


def deploy_key_page(page: str) -> str:
    return f"{page}/admin/access-keys/"


def _moved(change: payload.Json, pusher: str) -> PushEvent | None:
    """`old` is null for a new ref and `new` for a deleted one. None for what is neither branch nor tag, or did not move."""
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

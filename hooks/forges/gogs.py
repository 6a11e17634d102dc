"""The webhooks of Gogs: https://gogs.io/docs/features/webhook"""

from __future__ import annotations

from core.model import PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.base import NO_COMMIT, Headers, Ignored, push_event

PUSHER_READS_ANSWER = False
SIGNATURE = "x-gogs-signature"
EVENT = "x-gogs-event"
DELIVERY = "x-gogs-delivery"
KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY})


def has_proof(headers: Headers) -> bool:
    return signatures.well_formed(headers.get(SIGNATURE), prefix="")


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    """Gogs signs the JSON, even if it was sent as a form; the signature is bare hexadecimal digits."""
    return signatures.verify(headers.get(SIGNATURE), payload.json_text(headers, body), secret, prefix="")


def event(headers: Headers) -> str:
    return payload.get_header(headers, EVENT)


def delivery_id(headers: Headers, body: bytes) -> str:
    """Return a UUID, which a redelivery keeps."""
    return payload.get_header(headers, DELIVERY) or payload.delivery_hash(body)


def full_name(headers: Headers, body: bytes) -> str | None:
    return payload.full_name(headers, body)


def parse(headers: Headers, body: bytes) -> list[PushEvent] | Ignored:
    """Return pushes of branches, and `create` of tags, which Gogs sends instead of a push."""
    kind = event(headers)
    if kind == "create":
        return _created(payload.read(headers, body))
    if kind != "push":
        return Ignored(f"event {kind!r}: only pushes are acted upon" if kind else f"no {EVENT} header")
    found = payload.read(headers, body)
    commits = payload.get_mappings(found, "commits")
    head = commits[0] if commits else {}  # newest first
    moved = payload.pushed_ref(
        found, commit=head.get("id"), message=payload.get_text(head, "message", ""), pusher=_pusher(found, "pusher")
    )
    return Ignored(f"test delivery: the webhook works; {moved.reason}") if isinstance(moved, Ignored) else moved


def serves(host: str) -> bool:
    return "gogs" in host


def webhook_page(page: str) -> str:
    return f"{page}/settings/hooks/gogs/new"


def webhooks_page(page: str) -> str:
    return f"{page}/settings/hooks"


def deploy_key_page(page: str) -> str:
    return f"{page}/settings/keys"


def _created(found: payload.Json) -> list[PushEvent] | Ignored:
    ref, kind, sha = (payload.get_text(found, key, "") for key in ("ref", "ref_type", "sha"))
    if kind != "tag":
        return Ignored(f"{kind or 'ref'} {ref} was created: its push is acted upon")
    if not sha:
        return Ignored(f"tag {ref} was created, and this Gogs does not say at which commit")
    return [push_event(ref=f"refs/tags/{ref}", before=NO_COMMIT, after=sha, pusher=_pusher(found, "sender"))]


def _pusher(found: payload.Json, key: str) -> str:
    person = payload.get_mapping(found, key)
    return payload.get_text(person, "login", "") or payload.get_text(person, "username", "")

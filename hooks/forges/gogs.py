"""The webhooks of Gogs: https://gogs.io/docs/features/webhook"""

from __future__ import annotations

from core.model import PushEvent
from hooks.forges import payload
from hooks.forges.base import Forge
from hooks.forges.payload import NO_COMMIT, Headers, Ignored, check_push


class Gogs(Forge):
    SIGNATURE = "x-gogs-signature"
    EVENT = "x-gogs-event"
    DELIVERY = "x-gogs-delivery"
    KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY})
    PREFIX = ""
    NEW_WEBHOOK = "/settings/hooks/gogs/new"

    def signed(self, headers: Headers, body: bytes) -> bytes:
        """Gogs signs the JSON, even if it was sent as a form."""
        return payload.extract_json_text(headers, body)

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | Ignored:
        """Return pushes of branches, and `create` of tags, which Gogs sends instead of a push."""
        kind = self.event(headers)
        if kind == "create":
            return _created(payload.read(headers, body))
        if kind != "push":
            return Ignored(f"event {kind!r}: only push events are used" if kind else f"no {self.EVENT} header")
        found = payload.read(headers, body)
        commits = payload.get_mappings(found, "commits")
        head = commits[0] if commits else {}  # newest first
        moved = payload.parse_push(
            found, commit=head.get("id"), message=payload.get_text(head, "message", ""), pusher=_pusher(found, "pusher")
        )
        return Ignored(f"test delivery: the webhook works; {moved.reason}") if isinstance(moved, Ignored) else moved

    def serves(self, host: str) -> bool:
        return "gogs" in host


def _created(found: payload.Json) -> list[PushEvent] | Ignored:
    ref, kind, sha = (payload.get_text(found, key, "") for key in ("ref", "ref_type", "sha"))
    if kind != "tag":
        return Ignored(f"{kind or 'ref'} {ref} was created: its push event is used")
    if not sha:
        return Ignored(f"tag {ref} was created, but this Gogs does not report its commit")
    return [check_push(PushEvent(ref=f"refs/tags/{ref}", before=NO_COMMIT, after=sha, pusher=_pusher(found, "sender")))]


def _pusher(found: payload.Json, key: str) -> str:
    person = payload.get_mapping(found, key)
    return payload.get_text(person, "login", "") or payload.get_text(person, "username", "")

"""Webhooks of Gitea and Forgejo.

https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks

Forgejo sends each of Gitea's headers, and its own of the same name with the same value.
"""

from __future__ import annotations

from core.model import PullRequestEvent, PushEvent
from hooks.forges import payload
from hooks.forges.base import Forge
from hooks.forges.payload import NO_COMMIT, Headers, Ignored, check_push

FAMILY = ("x-forgejo-", "x-gitea-")


class Gitea(Forge):
    KEPT_HEADERS = frozenset(
        family + name for family in FAMILY for name in ("event", "event-type", "delivery", "signature")
    )
    SIGNATURE, EVENT, DELIVERY = "signature", "event", "delivery"  # behind FAMILY; "redeliver" sends another id
    PREFIX = ""
    NEW_WEBHOOK = "/settings/hooks/gitea/new"  # Forgejo also has the webhook type named Gitea, and it is the same

    def header(self, headers: Headers, name: str) -> str:
        return next((value for family in FAMILY if (value := Forge.header(self, headers, family + name))), "")

    def signed(self, headers: Headers, body: bytes) -> bytes:
        """Gitea signs the JSON, even if it was sent as a form."""
        return payload.extract_json_text(headers, body)

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        """Only `delete` reports a deleted branch; a push reports everything else of `create` and `delete`."""
        kind = self.event(headers)
        if kind == "create":
            return Ignored(f"event {kind!r}: the push event of the same ref is used")
        if kind == "delete":
            return _deleted(payload.read(headers, body), self.delivery_id(headers, body))
        if kind == "pull_request":
            return payload.parse_pull_request(payload.read(headers, body))
        if kind != "push":
            return Ignored(payload.explain_ignored_event(kind) if kind else "no x-gitea-event header")
        found = payload.read(headers, body)
        commits = payload.get_mappings(found, "commits")
        head = payload.get_mapping(found, "head_commit") or (commits[0] if commits else {})  # newest first
        pusher = payload.get_mapping(found, "pusher")
        moved = payload.parse_push(
            found,
            commit=head.get("id"),
            message=payload.get_text(head, "message", ""),
            pusher=payload.get_text(pusher, "login", "") or payload.get_text(pusher, "username", ""),
        )
        return Ignored(f"test delivery: the webhook works; {moved.reason}") if isinstance(moved, Ignored) else moved

    def serves(self, host: str) -> bool:
        return host == "codeberg.org" or "gitea" in host or "forgejo" in host


def _deleted(found: payload.Json, delivery: str) -> list[PushEvent] | Ignored:
    """The payload lacks the branch's old commit, so only the delivery id distinguishes deletions of the same name."""
    ref, kind = (payload.get_text(found, key, "") for key in ("ref", "ref_type"))
    if kind != "branch":
        return Ignored(f"{kind or 'ref'} {ref} was deleted: its push event is used")
    sender = payload.get_mapping(found, "sender")
    return [
        check_push(
            PushEvent(
                ref=f"refs/heads/{ref.removeprefix('refs/heads/')}",
                before=NO_COMMIT,
                after=NO_COMMIT,
                identity=f"deleted {delivery}",
                pusher=payload.get_text(sender, "login", "") or payload.get_text(sender, "username", ""),
            )
        )
    ]

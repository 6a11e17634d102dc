"""GitHub's webhooks: https://docs.github.com/webhooks/webhook-events-and-payloads#push"""

from __future__ import annotations

from core.model import PullRequestEvent, PushEvent
from hooks.forges import payload
from hooks.forges.base import Forge
from hooks.forges.payload import Headers, Ignored


class GitHub(Forge):
    SIGNATURE = "x-hub-signature-256"
    EVENT = "x-github-event"
    DELIVERY = "x-github-delivery"
    KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY, "x-github-hook-id"})
    NEW_WEBHOOK = "/settings/hooks/new"
    DEPLOY_KEYS = "/settings/keys/new"

    def parse(self, headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
        kind = self.event(headers)
        if kind == "ping":
            return Ignored("ping: the webhook works")
        if kind == "pull_request":
            return payload.parse_pull_request(payload.read(headers, body))
        if kind != "push":
            return Ignored(payload.explain_ignored_event(kind) if kind else f"no {self.EVENT} header")
        found = payload.read(headers, body)
        head = payload.get_mapping(found, "head_commit")
        return payload.parse_push(
            found,
            commit=head.get("id"),
            message=payload.get_text(head, "message", ""),
            pusher=payload.get_text(payload.get_mapping(found, "pusher"), "name", ""),
        )

    def serves(self, host: str) -> bool:
        return "github" in host

"""GitHub's webhooks: https://docs.github.com/webhooks/webhook-events-and-payloads#push"""

from __future__ import annotations

from core.model import PullRequestEvent, PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.base import Headers, Ignored

PUSHER_READS_ANSWER = False
SIGNATURE = "x-hub-signature-256"
EVENT = "x-github-event"
DELIVERY = "x-github-delivery"
KEPT_HEADERS = frozenset({SIGNATURE, EVENT, DELIVERY, "x-github-hook-id"})


def has_proof(headers: Headers) -> bool:
    return signatures.well_formed(headers.get(SIGNATURE))


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    """GitHub signs the raw body, whatever its content type."""
    return signatures.verify(headers.get(SIGNATURE), body, secret)


def event(headers: Headers) -> str:
    return payload.get_header(headers, EVENT)


def delivery_id(headers: Headers, body: bytes) -> str:
    """Return GitHub's GUID, which a redelivery keeps."""
    return payload.get_header(headers, DELIVERY) or payload.delivery_hash(body)


def full_name(headers: Headers, body: bytes) -> str | None:
    return payload.full_name(headers, body)


def parse(headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
    kind = event(headers)
    if kind == "ping":
        return Ignored("ping: the webhook works")
    if kind == "pull_request":
        return payload.pull_request(payload.read(headers, body))
    if kind != "push":
        return Ignored(payload.ignored_reason(kind) if kind else f"no {EVENT} header")
    found = payload.read(headers, body)
    head = payload.get_mapping(found, "head_commit")
    return payload.pushed_ref(
        found,
        commit=head.get("id"),
        message=payload.get_text(head, "message", ""),
        pusher=payload.get_text(payload.get_mapping(found, "pusher"), "name", ""),
    )


def serves(host: str) -> bool:
    return "github" in host


def webhook_page(page: str) -> str:
    return f"{page}/settings/hooks/new"


def webhooks_page(page: str) -> str:
    return f"{page}/settings/hooks"


def deploy_key_page(page: str) -> str:
    return f"{page}/settings/keys/new"

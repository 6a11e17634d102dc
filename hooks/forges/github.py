"""GitHub's webhooks: https://docs.github.com/webhooks/webhook-events-and-payloads#push"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs

import orjson

from core import names
from core.errors import InvalidDelivery
from core.model import PushEvent
from hooks import signatures
from hooks.forges.base import Headers, Ignored, push_event

PUSHER_READS_ANSWER = False
SIGNATURE = "x-hub-signature-256"
EVENT = "x-github-event"
DELIVERY = "x-github-delivery"
FORM = "application/x-www-form-urlencoded"
ID_CHARS = 200


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    """The raw body is signed, whatever its content type."""
    return signatures.verify(headers.get(SIGNATURE), body, secret)


def event(headers: Headers) -> str:
    return headers.get(EVENT, "")[:ID_CHARS]


def delivery_id(headers: Headers, body: bytes) -> str:
    """GitHub's GUID, which a redelivery keeps; without one, the body names itself."""
    return headers.get(DELIVERY, "")[:ID_CHARS] or hashlib.sha256(body).hexdigest()


def full_name(headers: Headers, body: bytes) -> str | None:
    repository = _payload(headers, body).get("repository")
    name = repository.get("full_name") if isinstance(repository, dict) else None
    return name if isinstance(name, str) and name else None


def parse(headers: Headers, body: bytes) -> list[PushEvent] | Ignored:
    kind = event(headers)
    if kind == "ping":
        return Ignored("ping: the webhook works")
    if kind != "push":
        return Ignored(f"event {kind!r}: only pushes are acted upon" if kind else f"no {EVENT} header")
    payload = _payload(headers, body)
    ref, before, after = (_text(payload, key) for key in ("ref", "before", "after"))
    head, pusher = payload.get("head_commit"), payload.get("pusher")
    head = head if isinstance(head, dict) else {}
    pusher = pusher if isinstance(pusher, dict) else {}
    if before == after:
        return Ignored(f"{ref} did not move")
    sent = push_event(ref=ref, before=before, after=after)
    return [
        push_event(
            ref=ref,
            before=before,
            after=_commit(ref, after, head),
            identity=sent.identity,
            pusher=_text(pusher, "name", ""),
            message=_text(head, "message", ""),
        )
    ]


def _commit(ref: str, after: str, head: dict[str, Any]) -> str:
    """For an annotated tag `after` names the tag; the commit is in head_commit."""
    commit = head.get("id")
    is_sha = isinstance(commit, str) and names.SHA.fullmatch(commit) is not None
    return str(commit) if ref.startswith("refs/tags/") and is_sha else after


def _payload(headers: Headers, body: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(_form_field(body) if headers.get("content-type", "").startswith(FORM) else body)
    except ValueError as error:
        raise InvalidDelivery(f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(payload, dict):
        raise InvalidDelivery(f"the body must be a JSON object, got {type(payload).__name__}")
    return payload


def _form_field(body: bytes) -> str:
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    if "payload" not in fields:
        raise ValueError("the form has no field payload")
    return fields["payload"][0]


def _text(payload: dict[str, Any], key: str, default: str | None = None) -> str:
    value = payload.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvalidDelivery(f"{key} must be text, got {str(value)[:80]!r}")
    return value

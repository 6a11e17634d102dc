"""GitLab's webhooks: https://docs.gitlab.com/user/project/integrations/webhooks/

A webhook has a secret token, which GitLab sends along, or a signing token that it made itself (`whsec_…`), by which it
signs as https://www.standardwebhooks.com says. Which one the repository's secret is tells its beginning.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time

from core.model import PullRequestEvent, PushEvent
from hooks import signatures
from hooks.forges import payload
from hooks.forges.base import Headers, Ignored, pull_request_event

PUSHER_READS_ANSWER = False
TOKEN = "x-gitlab-token"  # noqa: S105  (the header's name)
EVENT = "x-gitlab-event"
DELIVERY = "idempotency-key"
SIGNATURE, SIGNED_ID, SIGNED_AT = "webhook-signature", "webhook-id", "webhook-timestamp"
KEPT_HEADERS = frozenset({EVENT, DELIVERY, SIGNATURE, SIGNED_ID, SIGNED_AT, "x-gitlab-instance", "x-gitlab-event-uuid"})
SIGNING = b"whsec_"
WINDOW_S = 300  # Standard Webhooks' own: longer than clocks differ, too short for a replay to be of use
SIGNATURES = 8  # while keys are exchanged there are two
ONE_TOKEN = re.compile(r"[!-~]{1,500}")
ONE_TIME = re.compile(r"[0-9]{1,12}")
NO_KEY = secrets.token_bytes(32)  # hashed with when the secret is not a signing token, so that the answer takes as long
PUSHES = ("Push Hook", "Tag Push Hook")
MERGE_REQUEST = "Merge Request Hook"
ACTIONS = frozenset({"open", "reopen", "update", "close", "merge", ""})  # none: what *Test* sends


def has_proof(headers: Headers) -> bool:
    if SIGNATURE in headers:
        return bool(headers.get(SIGNED_ID)) and ONE_TIME.fullmatch(headers.get(SIGNED_AT, "")) is not None
    return ONE_TOKEN.fullmatch(headers.get(TOKEN, "")) is not None


def verify(headers: Headers, body: bytes, secret: bytes) -> bool:
    """By the signature when there is one or must be one; then never by the token."""
    if SIGNATURE in headers or secret.startswith(SIGNING):
        return _verify_signed(headers, body, _key(secret))
    return signatures.same(headers.get(TOKEN), secret)


def event(headers: Headers) -> str:
    return payload.header(headers, EVENT)


def delivery_id(headers: Headers, body: bytes) -> str:
    """The same for each try and for "Resend". With a signature it is the id that was signed."""
    signed = payload.header(headers, SIGNED_ID) if SIGNATURE in headers else ""
    return signed or payload.header(headers, DELIVERY) or payload.named_by_itself(body)


def full_name(headers: Headers, body: bytes) -> str | None:
    return payload.full_name(headers, body, "path_with_namespace", of="project")


def parse(headers: Headers, body: bytes) -> list[PushEvent] | PullRequestEvent | Ignored:
    kind = event(headers)
    if kind == "System Hook":
        return Ignored("system hook: add the webhook to the project, where it tells of pushes")
    if kind == MERGE_REQUEST:
        return _merge_request(payload.read(headers, body))
    if kind not in PUSHES:
        return Ignored(payload.no_use(kind) if kind else f"no {EVENT} header")
    found = payload.read(headers, body)
    commit = found.get("checkout_sha")
    head = next((made for made in payload.parts(found, "commits") if made.get("id") == commit), {})
    return payload.pushed_ref(
        found,
        commit=commit,
        message=payload.text(head, "message", ""),
        pusher=payload.text(found, "user_username", "") or payload.text(found, "user_name", ""),
        options=_options(found),
    )


def serves(host: str) -> bool:
    return "gitlab" in host


def webhook_page(page: str) -> str:
    return f"{page}/-/hooks"


def webhooks_page(page: str) -> str:
    return f"{page}/-/hooks"


def deploy_key_page(page: str) -> str:
    return f"{page}/-/settings/repository"


def _verify_signed(headers: Headers, body: bytes, key: bytes) -> bool:
    identifier, at = headers.get(SIGNED_ID, ""), headers.get(SIGNED_AT, "")
    if not identifier or not ONE_TIME.fullmatch(at):
        return False
    if abs(time.time() - int(at)) > WINDOW_S:
        return False
    signed = f"{identifier}.{at}.".encode("utf-8", "replace") + body
    expected = b"v1," + base64.b64encode(hmac.digest(key or NO_KEY, signed, hashlib.sha256))
    given = headers.get(SIGNATURE, "").split(" ", SIGNATURES)[:SIGNATURES]
    return any(signatures.same(one, expected) for one in given) and bool(key)


def _key(secret: bytes) -> bytes:
    """The key in a signing token; b"" when it is none."""
    if not secret.startswith(SIGNING):
        return b""
    try:
        return binascii.a2b_base64(secret.removeprefix(SIGNING), strict_mode=True)
    except binascii.Error:
        return b""


def _merge_request(found: payload.Json) -> PullRequestEvent | Ignored:
    """`update` is also said of a title or a label: whether the head is new is for others to know."""
    request, person = payload.part(found, "object_attributes"), payload.part(found, "user")
    action = payload.text(request, "action", "")
    if action not in ACTIONS:
        return payload.no_new_head(action)
    commit = payload.part(request, "last_commit")
    closed = action in ("close", "merge") or payload.text(request, "state", "opened") != "opened"
    if not commit and not closed:
        return Ignored("merge request: it has no commit yet")
    is_author = payload.is_same(person.get("id"), request.get("author_id"))
    return pull_request_event(
        number=request.get("iid"),
        sha=payload.text(commit, "id", ""),
        title=payload.text(request, "title", ""),
        author=payload.text(person, "username", "") if is_author else "",  # of others only the number is told
        url=payload.text(request, "url", ""),
        head_branch=payload.text(request, "source_branch"),
        base_branch=payload.text(request, "target_branch"),
        from_fork=not payload.is_same(request.get("source_project_id"), request.get("target_project_id")),
        closed=closed,
        fetch_ref=f"refs/merge-requests/{request.get('iid')}/head",
    )


def _options(found: payload.Json) -> tuple[str, ...]:
    """Push options, which GitLab sends as `{"ci": {"skip": true, "variable": {"LR=0.1": 1}}}`, as they were typed."""
    options = []
    for namespace, given in payload.part(found, "push_options").items():
        for key, value in (given if isinstance(given, dict) else {}).items():
            values = list(value) if isinstance(value, dict) else [value]
            options += [f"{namespace}.{key}" if one is True else f"{namespace}.{key}={one}" for one in values]
    if "integrations.skip_ci" in options:  # "no integration shall run anything": what ci.skip says to us
        options.append("ci.skip")
    return tuple(options)

"""What a delivery's body says, as JSON that nobody has checked: reading it raises InvalidDelivery and nothing else."""

from __future__ import annotations

import binascii
import hashlib
from typing import Any

import orjson

from core import names
from core.errors import InvalidDelivery
from core.model import PullRequestEvent, PushEvent
from hooks.forges.base import Headers, Ignored, pull_request_event, push_event

FORM = "application/x-www-form-urlencoded"
FORM_FIELDS = 10
HEADER_CHARS = 200  # an event's name or a GUID has fewer
ACTIONS = frozenset(
    {"opened", "reopened", "edited", "synchronize", "synchronized", "closed"}
)  # the last but one is Gitea's
Json = dict[str, Any]


def header(headers: Headers, name: str) -> str:
    """A header's value, "" without it, cut to what may be stored and shown."""
    return headers.get(name, "")[:HEADER_CHARS]


def named_by_itself(body: bytes) -> str:
    """The id of a delivery that came without one."""
    return hashlib.sha256(body).hexdigest()


def is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").lower().startswith(FORM)


def json_text(headers: Headers, body: bytes) -> bytes:
    """The JSON as the forge wrote it: the body, or of a form its field `payload`; b"" when that is missing.

    A form may come from anybody, since Gitea and Gogs sign the JSON in it: decoding it costs a few times its size in memory
    and some milliseconds. `urllib.parse` takes 80 times its size and a second for 5 MiB.
    """
    if not is_form(headers):
        return body
    for field in body.split(b"&", FORM_FIELDS)[:FORM_FIELDS]:
        name, _, value = field.partition(b"=")
        if name == b"payload":
            return _decoded(value)
    return b""


def _decoded(value: bytes) -> bytes:
    """Decode a field of a form, in C: `%41` is `=41` in quoted-printable.

    A malformed escape is decoded to something else than by `urllib.parse`. No forge sends one, so its signature is wrong.
    """
    return binascii.a2b_qp(value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"="))


def read(headers: Headers, body: bytes) -> Json:
    try:
        found = orjson.loads(json_text(headers, body))
    except ValueError as error:
        raise InvalidDelivery(f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise InvalidDelivery(f"the body must be a JSON object, got {type(found).__name__}")
    return found


def text(found: Json, key: str, default: str | None = None) -> str:
    """A text; `default` when it is null or missing, and without a default it must be there."""
    value = found.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvalidDelivery(f"{key} must be text, got {str(value)[:80]!r}")
    return value


def part(found: Json, key: str) -> Json:
    """An object inside of another; {} when it is null, missing or something else."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def parts(found: Json, key: str) -> list[Json]:
    """The objects of a list; [] when it is null, missing or something else."""
    value = found.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def full_name(headers: Headers, body: bytes, key: str = "full_name", of: str = "repository") -> str | None:
    """The repository's name with those of its owners; None when the payload names none."""
    name = part(read(headers, body), of).get(key)
    return name if isinstance(name, str) and name else None


def is_commit(value: object) -> bool:
    return isinstance(value, str) and names.SHA.fullmatch(value) is not None


def pushed_ref(
    found: Json, *, commit: object, message: str, pusher: str, options: tuple[str, ...] = ()
) -> list[PushEvent] | Ignored:
    """The one moved ref of a payload with `ref`, `before` and `after`: all forges but Bitbucket send these.

    For an annotated tag `after` names the tag; then `commit`, if it is one, is what it leads to. The push is known by
    what was sent, so a forge that announces the tag by another event as well tells of the same push.
    """
    ref, before, after = (text(found, key) for key in ("ref", "before", "after"))
    if before == after:
        return Ignored(f"{ref} did not move")
    sent = push_event(ref=ref, before=before, after=after)
    leads_to = str(commit) if ref.startswith("refs/tags/") and not sent.deleted and is_commit(commit) else after
    return [
        push_event(
            ref=ref,
            before=before,
            after=leads_to,
            identity=sent.identity,
            pusher=pusher,
            message=message,
            options=options,
        )
    ]


def pull_request(found: Json) -> PullRequestEvent | Ignored:
    """What GitHub sends of a pull request, whose form Gitea has taken over.

    Its head may be no branch, which Gitea names by the ref that we would fetch: the branch is gone, or a stranger has
    pushed the head right there, without a fork (AGit), and then the head's repository is ours.
    """
    action = text(found, "action", "")
    if action not in ACTIONS:
        return no_new_head(action)
    request, number = part(found, "pull_request"), found.get("number")
    head, base = part(request, "head"), part(request, "base")
    branch = text(head, "ref")
    is_branch = not branch.startswith("refs/")
    return pull_request_event(
        number=number,
        sha=text(head, "sha"),
        title=text(request, "title", ""),
        author=text(part(request, "user"), "login", ""),
        url=text(request, "html_url", ""),
        head_branch=branch,
        base_branch=text(base, "ref"),
        from_fork=not (is_branch and is_same(part(head, "repo").get("id"), part(base, "repo").get("id"))),
        closed=action == "closed" or text(request, "state", "open") != "open",
        fetch_ref=f"refs/pull/{number}/head",
    )


def is_same(one: object, other: object) -> bool:
    """Whether two ids or names of repositories are there and the same."""
    return one is not None and type(one) is type(other) and one == other


def no_new_head(action: str) -> Ignored:
    return Ignored(f"pull request: {action[:80]!r} brings no new commit")


def no_use(event: str) -> str:
    return f"event {event!r}: only pushes and pull requests are acted upon"

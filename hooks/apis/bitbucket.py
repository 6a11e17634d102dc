"""The API of Bitbucket Cloud: https://developer.atlassian.com/cloud/bitbucket/rest/"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from hooks.apis.base import (
    PER_PAGE,
    Call,
    Comment,
    CommitStatus,
    Described,
    Verdict,
    Webhook,
    items,
    lacking,
    part,
    says,
    segments,
    text,
    texts,
)

STATES: Mapping[Verdict, str] = {
    Verdict.WAITING: "INPROGRESS",
    Verdict.RUNNING: "INPROGRESS",
    Verdict.SUCCESS: "SUCCESSFUL",
    Verdict.FAILURE: "FAILED",
    Verdict.ERROR: "FAILED",
    Verdict.STOPPED: "STOPPED",
}
NESTED = False
RIGHTS = "Repositories: write, Pull requests: write, and Webhooks: read and write"
DESCRIPTION_CHARS = 255
EVENTS = {
    "repo:push": "Repository push",
    "pullrequest:created": "Pull request: Created",
    "pullrequest:updated": "Pull request: Updated",
    "pullrequest:fulfilled": "Pull request: Merged",
    "pullrequest:rejected": "Pull request: Declined",
}
TEST_IS_A_PUSH = False
KEY_CHARS = 40  # the length of a hexadecimal SHA-1


def api_url(origin: str) -> str:  # noqa: ARG001
    return "https://api.bitbucket.org/2.0"


def headers(token: str) -> Mapping[str, str]:
    """Authenticate with an access token of the repository, or with user:password.

    The latter is for API tokens of a person, whose user is their email address.
    """
    if ":" in token:
        return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}", "Accept": "application/json"}
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def git_login(token: str) -> tuple[str, str]:
    user, colon, password = token.partition(":")
    if not colon:
        return "x-token-auth", token
    return "x-bitbucket-api-token-auth" if "@" in user else user, password


def repository(name: str) -> Call:
    return Call(method="GET", path=_repository(name))


def described(answer: Any) -> Described:
    return Described(
        full_name=text(answer, "full_name"),
        default_branch=text(part(answer, "mainbranch"), "name"),
        is_public=says(answer, "is_private", False),
    )


def post_status(name: str, sha: str, status: CommitStatus) -> Call:
    """Posting the same key again overwrites the status."""
    body = {
        "key": key(status.context),
        "name": status.context,
        "state": STATES[status.state],
        "description": status.description,
        "url": status.url,
        "refname": status.ref,
    }
    return Call(method="POST", path=f"{_repository(name)}/commit/{sha}/statuses/build", json=body)


def key(context: str) -> str:
    """Return the context, or its SHA-1 if it is too long."""
    if len(context) <= KEY_CHARS:
        return context
    return hashlib.sha1(context.encode(), usedforsecurity=False).hexdigest()


def pipeline(answer: Any) -> str:  # noqa: ARG001
    return ""


def takes(shown: Verdict | None, wanted: Verdict) -> bool:  # noqa: ARG001
    return True


def shows_already(status: int, reason: str, wanted: Verdict) -> bool:  # noqa: ARG001
    return False


def webhooks(name: str, page: int) -> Call:
    return Call(method="GET", path=f"{_repository(name)}/hooks?pagelen={PER_PAGE}&page={page}")


def webhooks_of(answer: Any) -> list[Webhook]:
    return [
        Webhook(
            id=text(hook, "uuid"),
            url=text(hook, "url"),
            active=hook.get("active") is True,
            lacks=lacking(sent := texts(hook, "events"), EVENTS),
            pushes="repo:push" in sent,
        )
        for hook in _values(answer)
    ]


def create_webhook(name: str, url: str, secret: str) -> Call:
    body = {
        "description": "pushmill",
        "url": url,
        "active": True,
        "secret": secret,
        "skip_cert_verification": False,
        "events": list(EVENTS),
    }
    return Call(method="POST", path=f"{_repository(name)}/hooks", json=body)


def test_webhook(name: str, hook_id: str) -> Call | None:  # noqa: ARG001
    return None


def comments(name: str, number: int, page: int) -> Call:
    query = f"sort=created_on&pagelen={PER_PAGE}&page={page}"
    return Call(method="GET", path=f"{_repository(name)}/pullrequests/{number}/comments?{query}")


def comments_of(answer: Any) -> list[Comment]:
    """Omits deleted comments, which stay in the list."""
    return [comment_of(comment) for comment in _values(answer) if comment.get("deleted") is not True]


def create_comment(name: str, number: int, body: str) -> Call:
    path = f"{_repository(name)}/pullrequests/{number}/comments"
    return Call(method="POST", path=path, json={"content": {"raw": body}})


def edit_comment(name: str, number: int, comment_id: str, body: str) -> Call:
    path = f"{_repository(name)}/pullrequests/{number}/comments/{comment_id}"
    return Call(method="PUT", path=path, json={"content": {"raw": body}})


def comment_of(answer: Any) -> Comment:
    return Comment(id=text(answer, "id"), body=text(part(answer, "content"), "raw"))


def _repository(name: str) -> str:
    return f"/repositories/{segments(name)}"


def _values(answer: Any) -> list[Mapping[str, Any]]:
    return items(answer.get("values")) if isinstance(answer, dict) else []

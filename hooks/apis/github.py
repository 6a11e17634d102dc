"""GitHub's REST API: https://docs.github.com/en/rest"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

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

# A final state must not be `pending`, which would block the commit from being merged forever.
STATES: Mapping[Verdict, str] = {
    Verdict.WAITING: "pending",
    Verdict.RUNNING: "pending",
    Verdict.SUCCESS: "success",
    Verdict.FAILURE: "failure",
    Verdict.ERROR: "error",
    Verdict.STOPPED: "error",
}
NESTED = False
RIGHTS = "Contents: read, and Commit statuses, Pull requests and Webhooks: read and write (a classic one: repo)"
DESCRIPTION_CHARS = 140  # a longer one is rejected with 422
EVENTS = {"push": "Pushes", "pull_request": "Pull requests"}
TEST_IS_A_PUSH = False
HOSTS = ("https://github.com", "https://www.github.com", "https://ssh.github.com")


def api_url(origin: str) -> str:
    return "https://api.github.com" if origin in HOSTS else f"{origin}/api/v3"


def headers(token: str) -> Mapping[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }


def git_login(token: str) -> tuple[str, str]:
    return "x-access-token", token


def repository(name: str) -> Call:
    return Call(method="GET", path=f"/repos/{segments(name)}")


def described(answer: Any) -> Described:
    public = says(answer, "private", False)  # true for an internal repository
    return Described(
        full_name=text(answer, "full_name"), default_branch=text(answer, "default_branch"), is_public=public
    )


def post_status(name: str, sha: str, status: CommitStatus) -> Call:
    body = {
        "state": STATES[status.state],
        "context": status.context,
        "description": status.description,
        "target_url": status.url,
    }
    return Call(method="POST", path=f"/repos/{segments(name)}/statuses/{sha}", json=body)


def pipeline(answer: Any) -> str:  # noqa: ARG001
    return ""


def takes(shown: Verdict | None, wanted: Verdict) -> bool:  # noqa: ARG001
    return True


def shows_already(status: int, reason: str, wanted: Verdict) -> bool:  # noqa: ARG001
    return False


def webhooks(name: str, page: int) -> Call:
    return Call(method="GET", path=f"/repos/{segments(name)}/hooks?per_page={PER_PAGE}&page={page}")


def webhooks_of(answer: Any) -> list[Webhook]:
    return [
        Webhook(
            id=text(hook, "id"),
            url=text(part(hook, "config"), "url"),
            active=hook.get("active") is True,
            lacks=() if "*" in (sent := texts(hook, "events")) else lacking(sent, EVENTS),
            pushes=bool({"*", "push"}.intersection(sent)),
        )
        for hook in items(answer)
    ]


def create_webhook(name: str, url: str, secret: str) -> Call:
    """A push of a tag is a push."""
    body = {
        "name": "web",
        "active": True,
        "events": list(EVENTS),
        "config": {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"},
    }
    return Call(method="POST", path=f"/repos/{segments(name)}/hooks", json=body)


def test_webhook(name: str, hook_id: str) -> Call | None:
    return Call(method="POST", path=f"/repos/{segments(name)}/hooks/{quote(hook_id, safe='')}/pings")


def comments(name: str, number: int, page: int) -> Call:
    path = f"/repos/{segments(name)}/issues/{number}/comments?per_page={PER_PAGE}&page={page}"
    return Call(method="GET", path=path)


def comments_of(answer: Any) -> list[Comment]:
    return [comment_of(comment) for comment in items(answer)]


def create_comment(name: str, number: int, body: str) -> Call:
    return Call(method="POST", path=f"/repos/{segments(name)}/issues/{number}/comments", json={"body": body})


def edit_comment(name: str, number: int, comment_id: str, body: str) -> Call:  # noqa: ARG001
    return Call(method="PATCH", path=f"/repos/{segments(name)}/issues/comments/{comment_id}", json={"body": body})


def comment_of(answer: Any) -> Comment:
    return Comment(id=text(answer, "id"), body=text(answer, "body"))

"""The API of Gitea and of Forgejo: https://docs.gitea.com/api and https://forgejo.org/docs/latest/user/api-usage/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from hooks.apis.base import (
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
    Verdict.WAITING: "pending",
    Verdict.RUNNING: "pending",
    Verdict.SUCCESS: "success",
    Verdict.FAILURE: "failure",
    Verdict.ERROR: "error",
    Verdict.STOPPED: "error",  # `warning` would count as passed where a status is required
}
NESTED = False
RIGHTS = "the scopes write:repository and write:issue, of an administrator of the repository"
DESCRIPTION_CHARS = 255  # the column takes more, but a line of the page is this long
PER_PAGE = 50  # default of MAX_RESPONSE_ITEMS
# Only `delete` reports a deleted branch. `pull_request` would send every event of pull requests, including each edit of
# our own comment, 16 kB each.
EVENTS = ("push", "delete", "pull_request_only", "pull_request_sync")
# as the API returns them
NEEDED = {"push": "Push", "delete": "Delete", "pull_request": "Pull Request", "pull_request_sync": "Synchronized"}
TEST_IS_A_PUSH = False  # it is a push that moves no ref


def api_url(origin: str) -> str:
    return f"{origin}/api/v1"


def headers(token: str) -> Mapping[str, str]:
    return {"Authorization": f"token {token}", "Accept": "application/json"}


def git_login(token: str) -> tuple[str, str]:
    """Any user name works: the token identifies the user."""
    return "pushmill", token


def repository(name: str) -> Call:
    return Call(method="GET", path=f"/repos/{segments(name)}")


def described(answer: Any) -> Described:
    public = says(answer, "private", False) and not says(answer, "internal", True)
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
    return Call(method="GET", path=f"/repos/{segments(name)}/hooks?limit={PER_PAGE}&page={page}")


def webhooks_of(answer: Any) -> list[Webhook]:
    return [
        Webhook(
            id=text(hook, "id"),
            url=text(part(hook, "config"), "url"),
            active=hook.get("active") is True,
            lacks=lacking(sent := texts(hook, "events"), NEEDED),
            pushes="push" in sent,
        )
        for hook in items(answer)
    ]


def create_webhook(name: str, url: str, secret: str) -> Call:
    """A push of a tag is a push. TLS verification is a setting of the whole forge, on by default."""
    body = {
        "type": "gitea",
        "active": True,
        "events": list(EVENTS),
        "config": {"url": url, "content_type": "json", "http_method": "post", "secret": secret},
    }
    return Call(method="POST", path=f"/repos/{segments(name)}/hooks", json=body)


def test_webhook(name: str, hook_id: str) -> Call | None:
    return Call(method="POST", path=f"/repos/{segments(name)}/hooks/{quote(hook_id, safe='')}/tests")


def comments(name: str, number: int, page: int) -> Call:
    """Every page contains all comments: this API has no paging."""
    path = f"/repos/{segments(name)}/issues/{number}/comments?limit={PER_PAGE}&page={page}"
    return Call(method="GET", path=path)


def comments_of(answer: Any) -> list[Comment]:
    return [comment_of(comment) for comment in items(answer)]


def create_comment(name: str, number: int, body: str) -> Call:
    return Call(method="POST", path=f"/repos/{segments(name)}/issues/{number}/comments", json={"body": body})


def edit_comment(name: str, number: int, comment_id: str, body: str) -> Call:  # noqa: ARG001
    return Call(method="PATCH", path=f"/repos/{segments(name)}/issues/comments/{comment_id}", json={"body": body})


def comment_of(answer: Any) -> Comment:
    return Comment(id=text(answer, "id"), body=text(answer, "body"))

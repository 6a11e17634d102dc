"""GitLab's REST API: https://docs.gitlab.com/api/rest/

GitLab stores a status as a job. An unfinished job is updated; a finished one is followed by another job of the same
name. The first status of a commit creates a pipeline, so two concurrent first ones create two, of which one never ends.
"""

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
    segments,
    text,
)

STATES: Mapping[Verdict, str] = {
    Verdict.WAITING: "pending",
    Verdict.RUNNING: "running",
    Verdict.SUCCESS: "success",
    Verdict.FAILURE: "failed",
    Verdict.ERROR: "failed",
    Verdict.STOPPED: "canceled",
}
NESTED = True
RIGHTS = "the scope api and the role Maintainer"
DESCRIPTION_CHARS = 255
EVENTS = {
    "push_events": "Push events",
    "tag_push_events": "Tag push events",
    "merge_requests_events": "Merge request events",
}
TEST_IS_A_PUSH = True
REPEATED = "Cannot transition status via"
UNFINISHED = (Verdict.WAITING, Verdict.RUNNING)


def api_url(origin: str) -> str:
    return f"{origin.replace('://altssh.gitlab.com', '://gitlab.com')}/api/v4"


def headers(token: str) -> Mapping[str, str]:
    return {"PRIVATE-TOKEN": token, "Accept": "application/json"}


def git_login(token: str) -> tuple[str, str]:
    return "oauth2", token


def repository(name: str) -> Call:
    return Call(method="GET", path=_project(name))


def described(answer: Any) -> Described:
    return Described(
        full_name=text(answer, "path_with_namespace"),
        default_branch=text(answer, "default_branch"),
        is_public=text(answer, "visibility") == "public",
    )


def post_status(name: str, sha: str, status: CommitStatus) -> Call:
    body: dict[str, Any] = {
        "state": STATES[status.state],
        "name": status.context,
        "description": status.description,
        "target_url": status.url,
        "ref": status.ref,
    }
    if status.pipeline.isdecimal():
        body["pipeline_id"] = int(status.pipeline)
    return Call(method="POST", path=f"{_project(name)}/statuses/{sha}", json=body)


def pipeline(answer: Any) -> str:
    return text(answer, "pipeline_id")


def takes(shown: Verdict | None, wanted: Verdict) -> bool:
    """GitLab rejects the same state again, and `pending` after `running`."""
    if shown is None:
        return True
    return STATES[shown] != STATES[wanted] and (shown, wanted) != (Verdict.RUNNING, Verdict.WAITING)


def shows_already(status: int, reason: str, wanted: Verdict) -> bool:
    """GitLab rejects repeating an unfinished state."""
    return status == 400 and REPEATED in reason and wanted in UNFINISHED


def webhooks(name: str, page: int) -> Call:
    return Call(method="GET", path=f"{_project(name)}/hooks?per_page={PER_PAGE}&page={page}")


def webhooks_of(answer: Any) -> list[Webhook]:
    """A webhook that GitLab disabled after failures has an `alert_status`."""
    return [
        Webhook(
            id=text(hook, "id"),
            url=text(hook, "url"),
            active=text(hook, "alert_status") in ("", "executable"),
            lacks=lacking([event for event in EVENTS if hook.get(event) is True], EVENTS),
            pushes=hook.get("push_events") is True,
        )
        for hook in items(answer)
    ]


def create_webhook(name: str, url: str, secret: str) -> Call:
    body = {
        "url": url,
        "token": secret,
        **dict.fromkeys(EVENTS, True),
        "enable_ssl_verification": True,
    }
    return Call(method="POST", path=f"{_project(name)}/hooks", json=body)


def test_webhook(name: str, hook_id: str) -> Call | None:
    return Call(method="POST", path=f"{_project(name)}/hooks/{quote(hook_id, safe='')}/test/push_events")


def comments(name: str, number: int, page: int) -> Call:
    query = f"sort=asc&order_by=created_at&per_page={PER_PAGE}&page={page}"
    return Call(method="GET", path=f"{_project(name)}/merge_requests/{number}/notes?{query}")


def comments_of(answer: Any) -> list[Comment]:
    return [comment_of(comment) for comment in items(answer)]


def create_comment(name: str, number: int, body: str) -> Call:
    return Call(method="POST", path=f"{_project(name)}/merge_requests/{number}/notes", json={"body": body})


def edit_comment(name: str, number: int, comment_id: str, body: str) -> Call:
    path = f"{_project(name)}/merge_requests/{number}/notes/{comment_id}"
    return Call(method="PUT", path=path, json={"body": body})


def comment_of(answer: Any) -> Comment:
    return Comment(id=text(answer, "id"), body=text(answer, "body"))


def _project(name: str) -> str:
    """Encode the whole name, including subgroups, as one path segment."""
    segments(name)
    return f"/projects/{quote(name, safe='')}"

"""GitLab's REST API: https://docs.gitlab.com/api/rest/

GitLab stores a status as a job. An unfinished job is updated; a finished one is followed by another job of the same
name. The first status of a commit creates a pipeline, so two concurrent first ones create two, of which one never ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from core.text import parse_whole_number
from hooks.apis.base import (
    Api,
    Collaborator,
    CommitState,
    CommitStatus,
    DescribedRepository,
    Json,
    Permission,
    Webhook,
    get_text,
    has_value,
    list_missing_events,
    quote_repository_name,
)

REPEATED = "Cannot transition status via"
DEVELOPER, OWNER = 30, 50
UNFINISHED = (CommitState.WAITING, CommitState.RUNNING)


class GitLabApi(Api):
    STATES: Mapping[CommitState, str] = {
        CommitState.WAITING: "pending",
        CommitState.RUNNING: "running",
        CommitState.SUCCESS: "success",
        CommitState.FAILURE: "failed",
        CommitState.ERROR: "failed",
        CommitState.STOPPED: "canceled",
    }
    ROOT = "/api/v4"
    NESTED = True
    RIGHTS = "the scope api and the role Maintainer"
    EVENTS: Mapping[str, str] = {
        "push_events": "Push events",
        "tag_push_events": "Tag push events",
        "merge_requests_events": "Merge request events",
    }
    COMMENTS, OLDEST_FIRST = "merge_requests/{}/notes", "sort=asc&order_by=created_at&"
    EDIT, COMMENT = "PUT", "merge_requests/{}/notes/{}"
    COLLABORATORS = "members/all?"  # with inherited and invited ones
    TEST = "test/push_events"
    TEST_IS_A_PUSH = True

    def api_url(self, origin: str) -> str:
        return super().api_url(origin.replace("://altssh.gitlab.com", "://gitlab.com"))

    def git_login(self, token: str) -> tuple[str, str]:
        return "oauth2", token

    def headers(self, token: str) -> Mapping[str, str]:
        return {"PRIVATE-TOKEN": token, "Accept": "application/json"}

    def path(self, name: str) -> str:
        """Encode the whole name, including subgroups, as one path segment."""
        quote_repository_name(name)
        return f"/projects/{quote(name, safe='')}"

    def parse_repository(self, answer: Any) -> DescribedRepository:
        return DescribedRepository(
            full_name=get_text(answer, "path_with_namespace"),
            default_branch=get_text(answer, "default_branch"),
            is_public=get_text(answer, "visibility") == "public",
        )

    def status_body(self, status: CommitStatus) -> Json:
        number = parse_whole_number(status.pipeline)
        return {
            "state": self.STATES[status.state],
            "name": status.context,
            "description": status.description,
            "target_url": status.url,
            "ref": status.ref,
            **({} if number is None else {"pipeline_id": number}),
        }

    def parse_pipeline(self, answer: Any) -> str:
        return get_text(answer, "pipeline_id")

    def accepts(self, shown: CommitState | None, wanted: CommitState) -> bool:
        """GitLab rejects the same state again, and `pending` after `running`."""
        if shown is None:
            return True
        return self.STATES[shown] != self.STATES[wanted] and (shown, wanted) != (
            CommitState.RUNNING,
            CommitState.WAITING,
        )

    def shows_already(self, status: int, reason: str, wanted: CommitState) -> bool:
        """GitLab rejects repeating an unfinished state."""
        return status == 400 and REPEATED in reason and wanted in UNFINISHED

    def parse_collaborator(self, item: Json) -> Collaborator:
        """Developers (30) and maintainers (40) may push, and only owners (50) may delete the project.

        Access levels are numbers: https://docs.gitlab.com/api/members/. Blocked people stay in the list.
        """
        level = parse_whole_number(get_text(item, "access_level")) or 0
        permission = Permission.ADMIN if level >= OWNER else Permission.PUSH if level >= DEVELOPER else None
        active = get_text(item, "state") == "active"
        return Collaborator(
            id=get_text(item, "id"), name=get_text(item, "username"), permission=permission if active else None
        )

    def parse_webhook(self, hook: Json) -> Webhook:
        """A webhook that GitLab disabled after failures has an `alert_status`."""
        return Webhook(
            id=get_text(hook, "id"),
            url=get_text(hook, "url"),
            active=get_text(hook, "alert_status") in ("", "executable"),
            lacks=list_missing_events([event for event in self.EVENTS if has_value(hook, event, True)], self.EVENTS),
            pushes=has_value(hook, "push_events", True),
        )

    def webhook_body(self, url: str, secret: str) -> Json:
        return {"url": url, "token": secret, **dict.fromkeys(self.EVENTS, True), "enable_ssl_verification": True}

"""The API of Bitbucket Cloud: https://developer.atlassian.com/cloud/bitbucket/rest/"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from hooks.apis.base import (
    Api,
    Call,
    Comment,
    CommitState,
    CommitStatus,
    DescribedRepository,
    Json,
    Webhook,
    get_object,
    get_text,
    has_value,
    list_missing_events,
    list_objects,
    list_texts,
    quote_repository_name,
)

KEY_CHARS = 40  # the length of a hexadecimal SHA-1


class BitbucketApi(Api):
    ROOT = "/2.0"
    STATES: Mapping[CommitState, str] = {
        CommitState.WAITING: "INPROGRESS",
        CommitState.RUNNING: "INPROGRESS",
        CommitState.SUCCESS: "SUCCESSFUL",
        CommitState.FAILURE: "FAILED",
        CommitState.ERROR: "FAILED",
        CommitState.STOPPED: "STOPPED",
    }
    RIGHTS = "Repositories: write, Pull requests: write, and Webhooks: read and write"
    EVENTS: Mapping[str, str] = {
        "repo:push": "Repository push",
        "pullrequest:created": "Pull request: Created",
        "pullrequest:updated": "Pull request: Updated",
        "pullrequest:fulfilled": "Pull request: Merged",
        "pullrequest:rejected": "Pull request: Declined",
    }
    PAGES = "pagelen=100"
    COMMENTS, OLDEST_FIRST = "pullrequests/{}/comments", "sort=created_on&"
    EDIT, COMMENT = "PUT", "pullrequests/{}/comments/{}"

    def api_url(self, origin: str) -> str:  # noqa: ARG002
        return "https://api.bitbucket.org/2.0"

    def git_login(self, token: str) -> tuple[str, str]:
        user, colon, password = token.partition(":")
        if not colon:
            return "x-token-auth", token
        return "x-bitbucket-api-token-auth" if "@" in user else user, password

    def headers(self, token: str) -> Mapping[str, str]:
        """Authenticate with an access token of the repository, or with user:password.

        The latter is for API tokens of a person, whose user is their email address.
        """
        if ":" in token:
            return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}", "Accept": "application/json"}
        return super().headers(token)

    def path(self, name: str) -> str:
        return f"/repositories/{quote_repository_name(name)}"

    def parse_repository(self, answer: Any) -> DescribedRepository:
        return DescribedRepository(
            full_name=get_text(answer, "full_name"),
            default_branch=get_text(get_object(answer, "mainbranch"), "name"),
            is_public=has_value(answer, "is_private", False),
        )

    def list_collaborators(self, name: str, page: int) -> None:  # noqa: ARG002
        """Bitbucket has no OpenID Connect for people."""
        return

    def post_status(self, name: str, sha: str, status: CommitStatus) -> Call:
        """Posting the same key again overwrites the status."""
        path = f"{self.path(name)}/commit/{sha}/statuses/build"
        return Call(method="POST", path=path, json=self.status_body(status))

    def status_body(self, status: CommitStatus) -> Json:
        return {
            "key": shorten_context(status.context),
            "name": status.context,
            "state": self.STATES[status.state],
            "description": status.description,
            "url": status.url,
            "refname": status.ref,
        }

    def parse_webhooks(self, answer: Any) -> list[Webhook]:
        return super().parse_webhooks(_values(answer))

    def parse_webhook(self, hook: Json) -> Webhook:
        return Webhook(
            id=get_text(hook, "uuid"),
            url=get_text(hook, "url"),
            active=has_value(hook, "active", True),
            lacks=list_missing_events(sent := list_texts(hook, "events"), self.EVENTS),
            pushes="repo:push" in sent,
        )

    def webhook_body(self, url: str, secret: str) -> Json:
        return {
            "description": "pushmill",
            "url": url,
            "active": True,
            "secret": secret,
            "skip_cert_verification": False,
            "events": list(self.EVENTS),
        }

    def parse_comments(self, answer: Any) -> list[Comment]:
        """Omits deleted comments, which stay in the list."""
        return [self.parse_comment(comment) for comment in _values(answer) if not has_value(comment, "deleted", True)]

    def comment_body(self, body: str) -> Json:
        return {"content": {"raw": body}}

    def parse_comment(self, answer: Any) -> Comment:
        return Comment(id=get_text(answer, "id"), body=get_text(get_object(answer, "content"), "raw"))


def shorten_context(context: str) -> str:
    """Return the context, or its SHA-1 if it is too long."""
    if len(context) <= KEY_CHARS:
        return context
    return hashlib.sha1(context.encode(), usedforsecurity=False).hexdigest()


def _values(answer: Any) -> list[Json]:
    return list_objects(answer.get("values")) if isinstance(answer, dict) else []

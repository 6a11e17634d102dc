"""The API of Gitea and of Forgejo: https://docs.gitea.com/api and https://forgejo.org/docs/latest/user/api-usage/

Gitea's `warning` would count as passed where a status is required. Each page of comments and of assignees contains all
of them. Its list of collaborators omits the owner and teams, and has no permissions. Assignees are everybody who may
push, and some others; so each one's permission is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from hooks.apis.base import Api, Call, Collaborator, Json

# Only `delete` reports a deleted branch. `pull_request` would send every event of pull requests, including each edit of
# our own comment, 16 kB each.
SENT = ("push", "delete", "pull_request_only", "pull_request_sync")


class GiteaApi(Api):
    ROOT = "/api/v1"
    RIGHTS = "the scopes write:repository and write:issue, of an administrator of the repository"
    # as the API returns them; a push of a tag is a push
    EVENTS: Mapping[str, str] = {
        "push": "Push",
        "delete": "Delete",
        "pull_request": "Pull Request",
        "pull_request_sync": "Synchronized",
    }
    PAGES = "limit=50"  # default of MAX_RESPONSE_ITEMS
    COLLABORATORS = "assignees?"
    TEST = "tests"  # sends a push that moves no ref

    def git_login(self, token: str) -> tuple[str, str]:
        """Any user name works: the token identifies the user."""
        return "pushmill", token

    def headers(self, token: str) -> Mapping[str, str]:
        return {"Authorization": f"token {token}", "Accept": "application/json"}

    def get_permission(self, name: str, person: Collaborator) -> Call:
        return Call(method="GET", path=f"{self.path(name)}/collaborators/{quote(person.name, safe='')}/permission")

    def webhook_body(self, url: str, secret: str) -> Json:
        """TLS verification is a setting of the whole forge, on by default."""
        config = {"url": url, "content_type": "json", "http_method": "post", "secret": secret}
        return {"type": "gitea", "active": True, "events": list(SENT), "config": config}

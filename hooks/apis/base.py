"""The interface between the server and the APIs of forges: calls and answers are values.

APIs do no I/O: they build calls and parse answers; `hooks.apis.client` sends the calls. `name` is a repository's full
name on the forge, owner/name. APIs do not depend on each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from core.errors import InvalidInput

Json = Mapping[str, Any]
MAX_PAGES = 10  # most pages of a list that are read; the searched entries are near its beginning
URL_CHARS = 255  # GitLab's limit for the URL of a status


class CommitState(StrEnum):
    """State that a forge shows for a commit; every forge can express these states in some way."""

    WAITING = "waiting"  # it will run
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"  # caused by the program
    ERROR = "error"  # caused by the machines
    STOPPED = "stopped"  # stopped by a person


class Permission(StrEnum):
    """A person's permission for a repository on its forge, from which the role in a project follows."""

    PUSH = "push"
    ADMIN = "admin"


PERMISSIONS = {"write": Permission.PUSH, "admin": Permission.ADMIN, "owner": Permission.ADMIN}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. `path` is relative to the API's URL, includes the query, and is percent-encoded."""

    method: str
    path: str
    json: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A 2xx response. Header names are in lower case; `json` is None if the body is not JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, kw_only=True)
class CommitStatus:
    """`context` identifies the status on its commit. `ref` is the short name of the branch or tag that was pushed.

    `pipeline` is the pipeline that GitLab's statuses of the commit belong to, "" until it is known.
    """

    context: str
    state: CommitState
    description: str
    url: str
    ref: str
    pipeline: str = ""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """`lacks` are the required events that it does not send, named as in the forge's form; pushes come first."""

    id: str
    url: str
    active: bool
    lacks: tuple[str, ...]
    pushes: bool


@dataclass(frozen=True, kw_only=True)
class Comment:
    id: str
    body: str


@dataclass(frozen=True, kw_only=True)
class DescribedRepository:
    """The forge's description of a repository; missing texts are "". `is_public` is true only if the forge says so."""

    full_name: str
    default_branch: str
    is_public: bool


@dataclass(frozen=True, kw_only=True)
class Collaborator:
    """A person on the forge. `id` never changes, `name` may; `permission` is None for people who may not push."""

    id: str
    name: str
    permission: Permission | None


class Api(ABC):
    """The calls of a forge's API, and the answers that they get. The defaults are GitHub's, which other forges share in part."""

    # A final state must not be `pending`, which would block the commit from being merged forever.
    STATES: Mapping[CommitState, str] = {
        CommitState.WAITING: "pending",
        CommitState.RUNNING: "pending",
        CommitState.SUCCESS: "success",
        CommitState.FAILURE: "failure",
        CommitState.ERROR: "error",
        CommitState.STOPPED: "error",
    }
    ROOT: str  # path of the API below the URL of the forge's pages
    RIGHTS: str  # permissions that a token needs, named as on the forge
    NESTED = False  # whether repository names may have more parts than owner and name
    DESCRIPTION_CHARS = 255  # maximum length of a status description
    EVENTS: Mapping[str, str]  # needed by the webhook, by their names in the forge's form
    PAGES = "per_page=100"  # the maximum of the forges
    COMMENTS = "issues/{}/comments"  # path of the comments on a pull request
    OLDEST_FIRST = ""
    EDIT, COMMENT = "PATCH", "issues/comments/{1}"  # method of the call, and path
    COLLABORATORS = "collaborators?"  # end of the path, with the beginning of the query
    TEST: str | None = None  # end of the path of the call that makes the forge send a test delivery, if there is one
    TEST_IS_A_PUSH = False  # whether the test delivery is an ordinary push of the newest commit

    def api_url(self, origin: str) -> str:
        """Return the API's URL, without a final slash.

        `origin` is the URL of the forge's pages, such as https://example.org.
        """
        return f"{origin}{self.ROOT}"

    def issuer(self, url: str) -> str:
        """Return the issuer of the logins whose subjects are the ids of people in the API at this URL."""
        return url.removesuffix(self.ROOT)

    @abstractmethod
    def git_login(self, token: str) -> tuple[str, str]:
        """Return the user and password with which git fetches over https, given the token."""

    def headers(self, token: str) -> Mapping[str, str]:
        """Return the headers that authenticate a call."""
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def path(self, name: str) -> str:
        """Return the path of a repository. Raises InvalidInput."""
        return f"/repos/{quote_repository_name(name)}"

    def get_repository(self, name: str) -> Call:
        """Build the call that gets a repository; it succeeds if the token has access."""
        return Call(method="GET", path=self.path(name))

    def parse_repository(self, answer: Any) -> DescribedRepository:
        """Parse the answer to `get_repository`."""
        return DescribedRepository(
            full_name=get_text(answer, "full_name"),
            default_branch=get_text(answer, "default_branch"),
            is_public=has_value(answer, "private", False)
            and not has_value(answer, "internal", True),  # the latter is Gitea's
        )

    def post_status(self, name: str, sha: str, status: CommitStatus) -> Call:
        """Build the call that posts a status on a commit."""
        return Call(method="POST", path=f"{self.path(name)}/statuses/{sha}", json=self.status_body(status))

    def status_body(self, status: CommitStatus) -> Json:
        return {
            "state": self.STATES[status.state],
            "context": status.context,
            "description": status.description,
            "target_url": status.url,
        }

    def parse_pipeline(self, answer: Any) -> str:  # noqa: ARG002
        """Parse the answer to `post_status`: the pipeline that later statuses of the commit must name; "" for none."""
        return ""

    def accepts(self, shown: CommitState | None, wanted: CommitState) -> bool:  # noqa: ARG002
        """Return whether the forge accepts `wanted` after the shown state; None means that it is unknown."""
        return True

    def shows_already(self, status: int, reason: str, wanted: CommitState) -> bool:  # noqa: ARG002
        """Return whether a rejected `post_status` only means that the forge already shows `wanted` or an equivalent."""
        return False

    def list_webhooks(self, name: str, page: int) -> Call:
        """Build the call that lists the webhooks of a repository; pages count from 1."""
        return Call(method="GET", path=f"{self.path(name)}/hooks?{self.PAGES}&page={page}")

    def parse_webhooks(self, answer: Any) -> list[Webhook]:
        """Parse the answer to `list_webhooks`."""
        return [self.parse_webhook(hook) for hook in list_objects(answer)]

    def parse_webhook(self, hook: Json) -> Webhook:
        sent = list_texts(hook, "events")
        return Webhook(
            id=get_text(hook, "id"),
            url=get_text(get_object(hook, "config"), "url"),
            active=has_value(hook, "active", True),
            lacks=() if "*" in sent else list_missing_events(sent, self.EVENTS),
            pushes=bool({"*", "push"}.intersection(sent)),
        )

    def create_webhook(self, name: str, url: str, secret: str) -> Call:
        """Build the call that creates a webhook for pushes, tags and pull requests.

        It sends JSON to `url`, signed with `secret`; TLS is verified.
        """
        return Call(method="POST", path=f"{self.path(name)}/hooks", json=self.webhook_body(url, secret))

    @abstractmethod
    def webhook_body(self, url: str, secret: str) -> Json: ...

    def test_webhook(self, name: str, hook_id: str) -> Call | None:
        """Build the call that makes the forge send a test delivery; None if its API has no such call."""
        if self.TEST is None:
            return None
        return Call(method="POST", path=f"{self.path(name)}/hooks/{quote(hook_id, safe='')}/{self.TEST}")

    def list_collaborators(self, name: str, page: int) -> Call | None:
        """Build the call that lists everybody who may push, and maybe others; pages count from 1.

        None if nobody can log in with an account of the forge, so that its people cannot be recognised.
        """
        return Call(method="GET", path=f"{self.path(name)}/{self.COLLABORATORS}{self.PAGES}&page={page}")

    def parse_collaborators(self, answer: Any) -> list[Collaborator]:
        """Parse the answer to `list_collaborators`."""
        return [person for item in list_objects(answer) if (person := self.parse_collaborator(item)).id]

    def parse_collaborator(self, item: Json) -> Collaborator:
        permission = Permission.PUSH if has_value(get_object(item, "permissions"), "push", True) else None
        if has_value(get_object(item, "permissions"), "admin", True):
            permission = Permission.ADMIN
        return Collaborator(id=get_text(item, "id"), name=get_text(item, "login"), permission=permission)

    def get_permission(self, name: str, person: Collaborator) -> Call | None:  # noqa: ARG002
        """Build the call that gets the permission of a person of the list; None if the list contains it."""
        return None

    def parse_permission(self, answer: Any) -> Collaborator:
        """Parse the answer to `get_permission`, in which the person may be another one who has taken over the name."""
        return replace(
            self.parse_collaborator(get_object(answer, "user")),
            permission=PERMISSIONS.get(get_text(answer, "permission")),
        )

    def list_comments(self, name: str, number: int, page: int) -> Call:
        """Build the call that lists the comments on a pull request, oldest first; pages count from 1."""
        path = f"{self.path(name)}/{self.COMMENTS.format(number)}?{self.OLDEST_FIRST}{self.PAGES}&page={page}"
        return Call(method="GET", path=path)

    def parse_comments(self, answer: Any) -> list[Comment]:
        """Parse the answer to `list_comments`."""
        return [self.parse_comment(comment) for comment in list_objects(answer)]

    def create_comment(self, name: str, number: int, body: str) -> Call:
        """Build the call that creates a comment on a pull request."""
        path = f"{self.path(name)}/{self.COMMENTS.format(number)}"
        return Call(method="POST", path=path, json=self.comment_body(body))

    def edit_comment(self, name: str, number: int, comment_id: str, body: str) -> Call:
        """Build the call that replaces the text of a comment."""
        path = f"{self.path(name)}/{self.COMMENT.format(number, comment_id)}"
        return Call(method=self.EDIT, path=path, json=self.comment_body(body))

    def comment_body(self, body: str) -> Json:
        return {"body": body}

    def parse_comment(self, answer: Any) -> Comment:
        """Parse the answer to `create_comment` and `edit_comment`."""
        return Comment(id=get_text(answer, "id"), body=get_text(answer, "body"))


def quote_repository_name(name: str) -> str:
    """Return a repository's name as a URL path. Raises InvalidInput if it would change the call."""
    parts = name.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"{name[:200]!r} is not the name of a repository on a forge: use owner/name")
    return "/".join(quote(part, safe="") for part in parts)


def list_objects(answer: Any) -> list[Json]:
    """Return the objects of a list in an answer."""
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def list_missing_events(sent: Collection[str], needed: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the needed events that are not in `sent`; `needed` maps events to names."""
    return tuple(dict.fromkeys(name for event, name in needed.items() if event not in sent))


def get_object(answer: Any, name: str) -> Json:
    """Return an object inside an object of an answer; empty if there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def list_texts(answer: Any, name: str) -> list[str]:
    """Return the texts of a list inside an object of an answer."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def get_text(answer: Any, name: str) -> str:
    """Return a text, or a number as text, of an object of an answer; "" if there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def has_value(answer: Any, name: str, value: bool) -> bool:
    """Return whether a boolean field of an object of an answer has this value; False if the field is missing."""
    return isinstance(answer, dict) and answer.get(name) is value

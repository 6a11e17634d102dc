"""The seam between the server and the APIs of forges: calls and answers as values.

An API is a module with the functions of `Api`. They do no I/O: they say what to call and read what was answered;
`hooks.apis.client` sends. `name` is a repository as the forge's page calls it, owner/name. No API knows another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import quote

from core.errors import InvalidInput

Json = Mapping[str, Any]
PER_PAGE = 100  # the most that a forge gives at once
MAX_PAGES = 10  # of a list; what we look for stands near its beginning
URL_CHARS = 255  # GitLab's limit of the address behind a status


class Verdict(StrEnum):
    """What a forge shows of a commit, in the words that all of them can tell apart in some way."""

    WAITING = "waiting"  # it will run
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"  # the program is to blame
    ERROR = "error"  # the machines are to blame
    STOPPED = "stopped"  # somebody ended it


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. `path` comes below the API's address, with its query, and is percent-encoded."""

    method: str
    path: str
    json: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A 2xx answer. Header names are in lower case; `json` is None for what is no JSON."""

    status: int
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, kw_only=True)
class CommitStatus:
    """`context` names the status among those of a commit. `ref` is the short name of the branch or tag that brought it.

    `pipeline` is what GitLab's statuses of the commit hang on, "" until it has said so.
    """

    context: str
    state: Verdict
    description: str
    url: str
    ref: str
    pipeline: str = ""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """`lacks` are the events that we need and it does not send, as the forge's form calls them; pushes come first."""

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
class Described:
    """What the forge says of a repository; texts are "" where it says nothing. `is_public` is true only if it says so."""

    full_name: str
    default_branch: str
    is_public: bool


class Api(Protocol):
    @property
    def STATES(self) -> Mapping[Verdict, str]:  # noqa: N802
        """The forge's own word for each verdict."""

    @property
    def NESTED(self) -> bool:  # noqa: N802
        """Whether names may have more parts than owner and name."""

    @property
    def RIGHTS(self) -> str:  # noqa: N802
        """What a token must be allowed, in the words in which the forge asks for it."""

    @property
    def DESCRIPTION_CHARS(self) -> int:  # noqa: N802
        """The longest description that is taken."""

    def api_url(self, origin: str) -> str:
        """Where the API of the forge is whose pages are at `origin`, such as https://example.org; no slash at the end."""

    def headers(self, token: str) -> Mapping[str, str]:
        """What authenticates a call."""

    def git_login(self, token: str) -> tuple[str, str]:
        """User and password by which git fetches over https with the token."""

    def repository(self, name: str) -> Call:
        """Asks for the repository: answered when the token reaches it."""

    def described(self, answer: Any) -> Described:
        """What was answered to `repository`."""

    def post_status(self, name: str, sha: str, status: CommitStatus) -> Call:
        """Shows a status on a commit."""

    def pipeline(self, answer: Any) -> str:
        """What was answered to `post_status`: the pipeline that further statuses of the commit name; "" for none."""

    def takes(self, shown: Verdict | None, wanted: Verdict) -> bool:
        """Whether the forge lets `wanted` follow on what it shows; None when that is not known."""

    def shows_already(self, status: int, reason: str, wanted: Verdict) -> bool:
        """Whether a refusal of `post_status` says no more than that the forge shows `wanted`, or as good as that."""

    def webhooks(self, name: str, page: int) -> Call:
        """Asks for the webhooks of the repository; pages count from 1."""

    def webhooks_of(self, answer: Any) -> list[Webhook]:
        """What was answered to `webhooks`."""

    def create_webhook(self, name: str, url: str, secret: str) -> Call:
        """Has pushes, tags and pull requests told to `url`, as JSON, signed with `secret`; TLS is verified."""

    def test_webhook(self, name: str, hook_id: str) -> Call | None:
        """Has the forge send a test delivery; None where its API cannot."""

    @property
    def TEST_IS_A_PUSH(self) -> bool:  # noqa: N802
        """Whether the test delivery is a push of the newest commit, like any other."""

    def comments(self, name: str, number: int, page: int) -> Call:
        """Asks for the comments on a pull request, the oldest first; pages count from 1."""

    def comments_of(self, answer: Any) -> list[Comment]:
        """What was answered to `comments`."""

    def create_comment(self, name: str, number: int, body: str) -> Call:
        """Puts a comment under a pull request."""

    def edit_comment(self, name: str, number: int, comment_id: str, body: str) -> Call:
        """Replaces the text of a comment."""

    def comment_of(self, answer: Any) -> Comment:
        """What was answered to `create_comment` and `edit_comment`."""


def segments(name: str) -> str:
    """A repository's name as a path. Raises InvalidInput when it would lead to another call."""
    parts = name.split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"{name[:200]!r} is no name of a repository on a forge: it must be owner/name")
    return "/".join(quote(part, safe="") for part in parts)


def items(answer: Any) -> list[Json]:
    """The objects in a list that a forge answered."""
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []


def lacking(sent: Collection[str], needed: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the needed events that are not among those sent; `needed` has names by event."""
    return tuple(dict.fromkeys(name for event, name in needed.items() if event not in sent))


def part(answer: Any, name: str) -> Json:
    """An object in an object that a forge answered; empty when there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def texts(answer: Any, name: str) -> list[str]:
    """The texts of a list in an object that a forge answered."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def text(answer: Any, name: str) -> str:
    """A text, or a number as text, in an object that a forge answered; "" when there is none."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def says(answer: Any, name: str, value: bool) -> bool:
    """Whether a yes-or-no field of an object that a forge answered has this value; False if there is no such field."""
    return isinstance(answer, dict) and answer.get(name) is value

"""Signed deliveries of each forge, in the format of its documentation, with invented people and places."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

ZERO = "0" * 40
ADA = "ada"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A ref that a push moved. `commit` is the commit of an annotated tag."""

    ref: str = "refs/heads/main"
    before: str = ZERO
    after: str = ZERO
    message: str = "work"
    commit: str = ""

    @property
    def head(self) -> str:
        return self.commit or self.after

    @property
    def name(self) -> str:
        return self.ref.split("/", 2)[2]

    @property
    def is_tag(self) -> bool:
        return self.ref.startswith("refs/tags/")

    @property
    def deleted(self) -> bool:
        return self.after == ZERO


@dataclass(frozen=True, kw_only=True)
class Request:
    """A pull request. `fork` is its repository when it is not `repository`; "gone" for one that there is no more."""

    number: int = 7
    sha: str = ZERO
    title: str = "Train longer"
    author: str = ADA
    branch: str = "topic"
    base: str = "main"
    repository: str = "ada/model"
    fork: str = ""
    site: str = "https://forge.example.org"

    @property
    def source(self) -> str:
        return self.fork or self.repository

    def page(self, repository: str) -> str:
        return f"{self.site}/{repository}"


def hex_hmac(body: bytes, secret: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def encoded(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def form(body: bytes) -> bytes:
    return urlencode({"payload": body.decode()}).encode()


class Sender(ABC):
    """One forge. `push` has what one delivery says of refs; most tell of one alone."""

    name: str
    secret = "5ca1ab1e" * 8
    many_refs = False

    @abstractmethod
    def push(self, *moved: Moved, repository: str = "ada/model") -> dict[str, Any]: ...

    @abstractmethod
    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        """All headers of a delivery of `body`, signed."""

    def pull_request(self, request: Request, action: str = "opened", **more: Any) -> tuple[str, dict[str, Any]]:
        """The event's name and what is said; `action` is opened, updated, reopened, edited, closed, merged or labeled."""
        raise NotImplementedError(f"{self.name} tells of none")

    def payloads(self, moved: Sequence[Moved], **more: Any) -> list[dict[str, Any]]:
        """One for all of them, or one for each that is told of."""
        return [self.push(*moved, **more)] if self.many_refs else [self.push(one, **more) for one in moved]

    @property
    def key(self) -> bytes:
        return self.secret.encode()


def commit(moved: Moved) -> dict[str, Any]:
    person = {"name": "Ada", "email": "ada@example.org", "username": ADA}
    return {
        "id": moved.head, "message": moved.message, "timestamp": "2026-11-25T12:00:00Z", "url": "https://example.org/c",
        "author": person, "committer": person, "added": ["a"], "removed": [], "modified": [],
    }  # fmt: skip


def pull_request(request: Request, action: str, **more: Any) -> dict[str, Any]:
    """The pull request in the format of GitHub, which Gitea uses too."""
    ids = {request.repository: 7, request.fork: 8}

    def side(repository: str, branch: str, sha: str) -> dict[str, Any]:
        there = None if repository == "gone" else {"id": ids[repository], "full_name": repository, "fork": True}
        return {"label": f"{repository}:{branch}", "ref": branch, "sha": sha, "repo": there}

    return {
        "action": action, "number": request.number, "sender": {"login": "somebody", "id": 3},
        "repository": {"id": 7, "full_name": request.repository, "default_branch": "main", "private": True},
        "pull_request": {
            "id": 1000 + request.number, "number": request.number, "state": "closed" if action == "closed" else "open",
            "title": request.title, "user": {"login": request.author, "id": 2}, "body": None, "merged": False,
            "html_url": f"{request.page(request.repository)}/pull/{request.number}",
            "head": side(request.source, request.branch, request.sha),
            "base": side(request.repository, request.base, "b" * 40),
        } | more,
    }  # fmt: skip


class GitHub(Sender):
    name = "github"

    def push(self, *moved: Moved, repository: str = "ada/model") -> dict[str, Any]:
        (one,) = moved
        return {
            "ref": one.ref, "before": one.before, "after": one.after, "created": one.before == ZERO,
            "deleted": one.deleted, "forced": False, "base_ref": None, "compare": "https://github.com/ada/model/compare",
            "repository": {"id": 7, "full_name": repository, "default_branch": "main", "private": True},
            "pusher": {"name": ADA, "email": "ada@example.org"}, "sender": {"login": ADA, "id": 1},
            "commits": [] if one.deleted else [commit(one)], "head_commit": None if one.deleted else commit(one),
        }  # fmt: skip

    def pull_request(self, request: Request, action: str = "opened", **more: Any) -> tuple[str, dict[str, Any]]:
        said = {"updated": "synchronize", "merged": "closed"}.get(action, action)
        return "pull_request", pull_request(request, said, **more)

    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        return {
            "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/0000000", "X-GitHub-Delivery": delivery,
            "X-GitHub-Event": event or "push", "X-GitHub-Hook-ID": "1",
            "X-Hub-Signature-256": "sha256=" + hex_hmac(body, self.key),
        }  # fmt: skip


class GitLab(Sender):
    """GitLab with a secret token."""

    name = "gitlab"

    def push(self, *moved: Moved, repository: str = "ada/model", options: Any = ()) -> dict[str, Any]:
        (one,) = moved
        return {
            "object_kind": "tag_push" if one.is_tag else "push", "event_name": "tag_push" if one.is_tag else "push",
            "before": one.before, "after": one.after, "ref": one.ref, "ref_protected": True,
            "checkout_sha": None if one.deleted else one.head, "message": "the tag's" if one.is_tag else None,
            "user_id": 1, "user_name": "Ada L", "user_username": ADA, "user_email": None, "project_id": 7,
            "project": {"id": 7, "name": "Model", "path_with_namespace": repository, "default_branch": "main"},
            "commits": [] if one.deleted else [commit(one)], "total_commits_count": 1, "push_options": options or [],
        }  # fmt: skip

    def pull_request(self, request: Request, action: str = "opened", **more: Any) -> tuple[str, dict[str, Any]]:
        words = {"opened": "open", "updated": "update", "edited": "update", "labeled": "approved", "reopened": "reopen"}
        states = {"closed": "closed", "merged": "merged"}
        source = None if request.fork == "gone" else 8 if request.fork else 7
        return "Merge Request Hook", {
            "object_kind": "merge_request", "event_type": "merge_request",
            "user": {"id": 2, "name": "Ada L", "username": request.author, "email": "[REDACTED]"},
            "project": {"id": 7, "path_with_namespace": request.repository, "default_branch": "main"},
            "object_attributes": {
                "id": 1000 + request.number, "iid": request.number, "author_id": 2, "title": request.title,
                "source_branch": request.branch, "target_branch": request.base, "source_project_id": source,
                "target_project_id": 7, "state": states.get(action, "opened"),
                "action": words.get(action, action.removesuffix("d")),
                "url": f"{request.page(request.repository)}/-/merge_requests/{request.number}",
                "last_commit": {"id": request.sha, "message": "work"},
            } | more,
        }  # fmt: skip

    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        tag = b'"tag_push"' in body
        return {
            "Content-Type": "application/json", "User-Agent": "GitLab/19.0.0", "Idempotency-Key": delivery,
            "X-Gitlab-Event": event or ("Tag Push Hook" if tag else "Push Hook"), "X-Gitlab-Event-UUID": "chain",
            "X-Gitlab-Webhook-UUID": "other each time", "X-Gitlab-Instance": "https://gitlab.example.org",
        } | self.proof(body, delivery)  # fmt: skip

    def proof(self, body: bytes, delivery: str) -> dict[str, str]:
        return {"X-Gitlab-Token": self.secret}


class SigningGitLab(GitLab):
    """GitLab with a signing token, with which it signs as in Standard Webhooks."""

    raw_key = b"a key of thirty-two random bytes"
    secret = "whsec_" + base64.b64encode(raw_key).decode()

    def proof(self, body: bytes, delivery: str) -> dict[str, str]:
        return self.signed(body, delivery, int(time.time()))

    def signed(self, body: bytes, delivery: str, at: int, key: bytes = raw_key) -> dict[str, str]:
        digest = hmac.digest(key, f"{delivery}.{at}.".encode() + body, hashlib.sha256)
        signature = f"v1,{base64.b64encode(digest).decode()}"
        return {"webhook-id": delivery, "webhook-timestamp": str(at), "webhook-signature": signature}


class Gogs(Sender):
    """Gogs, which does not report deleted branches."""

    name = "gogs"
    prefix = "X-Gogs-"

    def payloads(self, moved: Sequence[Moved], **more: Any) -> list[dict[str, Any]]:
        return super().payloads([one for one in moved if one.is_tag or not one.deleted], **more)

    def push(self, *moved: Moved, repository: str = "ada/model") -> dict[str, Any]:
        (one,) = moved
        owner, _, name = repository.rpartition("/")
        ada = {"id": 1, "login": ADA, "full_name": "Ada L", "email": "ada@example.org", "username": ADA}
        return {
            "ref": one.ref, "before": one.before, "after": one.after, "compare_url": "",
            "commits": [] if one.deleted else [commit(one)], "pusher": ada, "sender": ada,
            "repository": {"id": 7, "owner": {"login": owner}, "name": name, "full_name": repository},
        }  # fmt: skip

    def created(self, one: Moved, repository: str = "ada/model") -> dict[str, Any]:
        """The other event that a new ref makes, or the only one."""
        said = self.push(one, repository=repository)
        return {
            "ref": one.name, "ref_type": "tag" if one.is_tag else "branch", "sha": one.after, "default_branch": "main",
            "repository": said["repository"], "sender": said["sender"],
        }  # fmt: skip

    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        return {"Content-Type": "application/json"} | self.named(self.prefix, body, delivery, event or "push")

    def named(self, prefix: str, body: bytes, delivery: str, event: str) -> dict[str, str]:
        signature = hex_hmac(body, self.key)
        return {f"{prefix}Delivery": delivery, f"{prefix}Event": event, f"{prefix}Signature": signature}


class Gitea(Gogs):
    """Gitea, which also sends the headers of Gogs. A deleted branch is an event of its own, without a push."""

    name = "gitea"
    prefixes: Sequence[str] = ("X-Gitea-", "X-Gogs-")

    def payloads(self, moved: Sequence[Moved], **more: Any) -> list[dict[str, Any]]:
        return [self.push(one, **more) for one in moved]

    def push(self, *moved: Moved, repository: str = "ada/model") -> dict[str, Any]:
        (one,) = moved
        said = super().push(one, repository=repository)
        if one.deleted and not one.is_tag:
            deleted = {"ref": one.name, "ref_type": "branch", "pusher_type": "user"}
            return deleted | {key: said[key] for key in ("repository", "sender")}
        return said | {"total_commits": 1, "head_commit": None if one.deleted else commit(one)}

    def pull_request(self, request: Request, action: str = "opened", **more: Any) -> tuple[str, dict[str, Any]]:
        said = {"updated": "synchronized", "merged": "closed", "labeled": "label_updated"}.get(action, action)
        return "pull_request", pull_request(request, said, **more)

    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        event = event or ("delete" if b'"pusher_type"' in body else None)
        found = super().headers(body, delivery, event)
        for prefix in self.prefixes:
            found |= self.named(prefix, body, delivery, event or "push") | {f"{prefix}Event-Type": event or "push"}
        return found | {
            "X-Hub-Signature-256": "sha256=" + hex_hmac(body, self.key), "X-Hub-Signature": "sha1=" + "0" * 40,
            "X-GitHub-Delivery": delivery, "X-GitHub-Event": event or "push",
        }  # fmt: skip


class Forgejo(Gitea):
    name = "forgejo"
    prefixes = ("X-Forgejo-", "X-Gitea-", "X-Gogs-")


class Bitbucket(Sender):
    name = "bitbucket"
    many_refs = True

    def push(self, *moved: Moved, repository: str = "ada/model") -> dict[str, Any]:
        return {
            "push": {"changes": [self._change(one) for one in moved]},
            "actor": {"type": "user", "display_name": "Ada L", "nickname": ADA, "uuid": "{1}"},
            "repository": {"type": "repository", "full_name": repository, "uuid": "{7}", "is_private": True},
        }  # fmt: skip

    def _change(self, one: Moved) -> dict[str, Any]:
        return {
            "old": None if one.before == ZERO else self._side(one, one.before),
            "new": None if one.deleted else self._side(one, one.head),
            "created": one.before == ZERO, "closed": one.deleted, "forced": False, "truncated": False,
            "commits": [] if one.deleted else [{"hash": one.head, "message": one.message}],
        }  # fmt: skip

    def _side(self, one: Moved, sha: str) -> dict[str, Any]:
        kind = "tag" if one.is_tag else "branch"
        return {"type": kind, "name": one.name, "target": {"type": "commit", "hash": sha, "message": one.message}}

    def pull_request(self, request: Request, action: str = "opened", **more: Any) -> tuple[str, dict[str, Any]]:
        """Of commits the first twelve digits are said."""
        words = {
            "opened": "created", "reopened": "updated", "edited": "updated", "closed": "rejected", "merged": "fulfilled",
            "labeled": "approved",
        }  # fmt: skip
        states = {"closed": "DECLINED", "merged": "MERGED"}

        def side(repository: str, branch: str, sha: str) -> dict[str, Any]:
            links = {"html": {"href": request.page(repository)}}
            there = None if repository == "gone" else {"full_name": repository, "uuid": "{8}", "links": links}
            return {"branch": {"name": branch}, "commit": {"hash": sha[:12], "type": "commit"}, "repository": there}

        return f"pullrequest:{words.get(action, action)}", {
            "actor": {"type": "user", "nickname": "somebody"},
            "repository": {"type": "repository", "full_name": request.repository, "uuid": "{7}"},
            "pullrequest": {
                "id": request.number, "title": request.title, "state": states.get(action, "OPEN"),
                "author": {"nickname": request.author, "display_name": "Ada L"},
                "links": {"html": {"href": f"{request.page(request.repository)}/pull-requests/{request.number}"}},
                "source": side(request.source, request.branch, request.sha),
                "destination": side(request.repository, request.base, "b" * 40),
            } | more,
        }  # fmt: skip

    def headers(self, body: bytes, delivery: str, event: str | None = None) -> dict[str, str]:
        return {
            "Content-Type": "application/json", "User-Agent": "Bitbucket-Webhooks/2.0",
            "X-Event-Key": event or "repo:push", "X-Hook-UUID": "hook", "X-Request-UUID": delivery,
            "X-Attempt-Number": "1", "X-Hub-Signature": "sha256=" + hex_hmac(body, self.key),
        }  # fmt: skip


SENDERS: tuple[Sender, ...] = (GitHub(), GitLab(), SigningGitLab(), Gitea(), Forgejo(), Gogs(), Bitbucket())


def label(sender: Sender) -> str:
    return type(sender).__name__

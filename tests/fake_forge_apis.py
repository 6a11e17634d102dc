"""The answers of the forges' APIs in `fake_forge`, and the state that they keep."""

from __future__ import annotations

import base64
import copy
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
from forge_deliveries import SENDERS, Moved, Sender, encoded

TOKEN = "fake-forge-token"
PREFIXES = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1", "forgejo": "/api/v1", "bitbucket": "/2.0"}
STATUS_CAP = 1000  # of a sha and context on GitHub
LEVELS = {"read": 20, "write": 30, "maintain": 40, "admin": 50}  # as GitLab counts them
PIPELINE_S = 0.05  # that GitLab takes to make a pipeline, during which another first status makes another one


@dataclass(kw_only=True)
class Recorded:
    """One call as it came, in the order of arrival; `answered` is 0 while it hangs and when it was dropped."""

    method: str
    path: str
    headers: Mapping[str, str]
    json: Any
    began: float
    ended: float = 0.0
    answered: int = 0


class Refusal(Exception):
    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class ForgeState:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.full_name = "ada/model"
        self.below = ""  # the path of its pages on its host, such as "/git"
        self.renamed = ""  # what the forge calls the repository that it still knows by its old name
        self.token = TOKEN
        self.described: dict[str, Any] = {}  # what else it says of the repository
        self.forbidden: set[str] = set()  # of statuses, hooks, comments, repository: what the token may not
        self.statuses: list[dict[str, Any]] = []  # as posted, in order; GitLab's are jobs
        self.pipelines: list[dict[str, Any]] = []
        self.hooks: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []  # {"id", "number", "body"}
        self.people: list[dict[str, Any]] = []  # {"id", "login", "level": one of LEVELS, "state"}
        self.browser: dict[str, Any] | None = None  # who is logged in there, and consents; None denies
        self.codes: dict[str, dict[str, Any]] = {}  # of logins that were consented to
        self.tokens: dict[str, dict[str, Any]] = {}  # of people
        self.delivers = True  # whether test deliveries get through
        self.hook_secret = ""  # that deliveries are signed with in place of the webhook's own
        self.answers: list[int] = []  # to test deliveries
        self.status_cap = STATUS_CAP
        self.lock = threading.RLock()
        self.while_a_pipeline_is_made: Callable[[], object] = lambda: time.sleep(PIPELINE_S)
        self._ids = iter(range(1000, 10**9))

    def next_id(self) -> int:
        return next(self._ids)


Route = Callable[[ForgeState, Recorded, re.Match[str]], tuple[int, Any]]


def _routed(
    forge: ForgeState, call: Recorded, routes: Mapping[str, tuple[str, Route]], not_found: Any
) -> tuple[int, Any]:
    """What the first route says whose pattern is the whole of "METHOD path" below the API's address."""
    root = forge.below + PREFIXES[forge.kind]
    if not call.path.startswith(root):
        raise Refusal(404, not_found)
    path = call.path.partition("?")[0].removeprefix(root)
    for pattern, (scope, route) in routes.items():
        if match := re.fullmatch(pattern, f"{call.method} {path}"):
            if unquote(match["name"]) != forge.full_name:
                raise Refusal(404, not_found)
            if scope in forge.forbidden:
                raise Refusal(403, {"message": "Resource not accessible by personal access token"})
            with forge.lock:
                return route(forge, call, match)
    raise Refusal(404, not_found)


def _authenticated(forge: ForgeState, given: str | None, wanted: str, refusal: Any) -> None:
    if given != wanted:
        raise Refusal(401, refusal)


def _one_of(value: str, allowed: tuple[str, ...], status: int) -> None:
    if value not in allowed:
        raise Refusal(status, {"message": f"state: {value!r} is not included in the list"})


def _page(call: Recorded, found: list[Any], per_page: str) -> list[Any]:
    asked = parse_qs(call.path.partition("?")[2])
    many, page = int(asked.get(per_page, ["30"])[0]), int(asked.get("page", ["1"])[0])
    return found[(page - 1) * many : page * many]


def github(forge: ForgeState, call: Recorded) -> tuple[int, Any]:
    _authenticated(forge, call.headers.get("authorization"), f"Bearer {forge.token}", {"message": "Bad credentials"})
    name = r"/repos/(?P<name>[^/]+/[^/]+)"
    return _routed(forge, call, {
        rf"GET {name}": ("repository", _repository),
        rf"POST {name}/statuses/(?P<sha>\w+)": ("statuses", _github_status),
        rf"GET {name}/hooks": ("hooks", lambda forge, call, _: (200, _page(call, forge.hooks, "per_page"))),
        rf"POST {name}/hooks": ("hooks", _github_hook),
        rf"POST {name}/hooks/(?P<id>\d+)/pings": ("hooks", _test_hook),
        rf"GET {name}/collaborators": ("members", _github_people),
        rf"GET {name}/issues/(?P<number>\d+)/comments": ("comments", _comments("per_page", _flat)),
        rf"POST {name}/issues/(?P<number>\d+)/comments": ("comments", _comment(_flat, "body")),
        rf"PATCH {name}/issues/comments/(?P<id>\d+)": ("comments", _edit(_flat, "body")),
    }, {"message": "Not Found"})  # fmt: skip


def _github_people(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    """The list of collaborators, with their base permissions; the custom name of a role may be anything."""
    found = [
        {
            "id": one["id"], "login": one["login"], "role_name": "custom",
            "permissions": {
                name: LEVELS[one["level"]] >= LEVELS[level]
                for name, level in (("pull", "read"), ("push", "write"), ("maintain", "maintain"), ("admin", "admin"))
            },
        }
        for one in forge.people
    ]  # fmt: skip
    return 200, _page(call, found, "per_page")


def _gitlab_people(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    found = [
        {"id": one["id"], "username": one["login"], "name": "Anybody", "state": one.get("state", "active"),
         "access_level": LEVELS[one["level"]]}
        for one in forge.people
    ]  # fmt: skip
    return 200, _page(call, found, "per_page")


def _gitea_user(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": one["id"], "login": one["login"], "email": f"{one['login']}@noreply.example.org"}


def _gitea_permission(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    for one in forge.people:
        if one["login"] == unquote(match["login"]):
            level = {"maintain": "write"}.get(one["level"], one["level"])
            return 200, {"permission": level, "role_name": level, "user": _gitea_user(one)}
    raise Refusal(404, {"message": "user does not exist"})


def _repository(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    name = forge.renamed or forge.full_name
    return 200, {
        "full_name": name, "path_with_namespace": name, "default_branch": "main",
        "mainbranch": {"name": "main"}, **forge.described,
    }  # fmt: skip


def _github_status(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    body, context = call.json, call.json.get("context", "default")
    _one_of(body["state"], ("pending", "success", "failure", "error"), 422)
    if len(body.get("description", "")) > 140:
        raise Refusal(422, _invalid("description is too long (maximum is 140 characters)"))
    same = [
        status
        for status in forge.statuses
        if (status["sha"], status["name"].lower()) == (match["sha"], context.lower())
    ]
    if len(same) >= forge.status_cap:
        raise Refusal(422, _invalid("This SHA and context has reached the maximum number of statuses."))
    return 201, _add_status(forge, match["sha"], context, body, body.get("target_url", ""))


def _invalid(message: str) -> Any:
    errors = [{"resource": "Status", "code": "custom", "message": message}]
    return {"message": "Validation Failed", "errors": errors}


def _add_status(
    forge: ForgeState, sha: str, name: str, body: Mapping[str, Any], url: str, **more: Any
) -> dict[str, Any]:
    status = {"id": forge.next_id(), "sha": sha, "name": name, "state": body["state"], "url": url, **more}
    status["description"] = body.get("description", "")
    forge.statuses.append(status)
    return status


def _github_hook(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    if any(hook["config"]["url"] == call.json["config"]["url"] for hook in forge.hooks):
        raise Refusal(422, _invalid("Hook already exists on this repository"))
    return _add_hook(forge, call, match)


def _add_hook(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    hook = call.json | {"id": forge.next_id(), "uuid": f"{{{forge.next_id()}}}", "alert_status": "executable"}
    if forge.kind == "gitea":
        hook["events"] = gitea_events(hook["events"])
    forge.hooks.append(hook)
    return 201, hook


def gitea_events(asked: list[str]) -> list[str]:
    """What Gitea makes of the events that it is asked for: `pull_request` is all of them, `pull_request_only` is one."""
    every = ("pull_request", *(f"pull_request_{what}" for what in ("assign", "label", "comment", "review", "sync")))
    found = [name for event in asked for name in (every if event == "pull_request" else (event,))]
    return ["pull_request" if name == "pull_request_only" else name for name in found]


def _test_hook(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    """Send a test delivery, as the forge does in the background, and to loopback alone."""
    hook = next((hook for hook in forge.hooks if str(hook["id"]) == match["id"]), None)
    if hook is None:
        raise Refusal(404, {"message": "Not Found"})
    config = hook.get("config", hook)
    url, secret = config["url"], config.get("secret") or config.get("token")
    if forge.delivers and url.startswith("http://127.0.0.1:"):
        sender = copy.copy(next(sender for sender in SENDERS if sender.name == forge.kind))
        sender.secret = forge.hook_secret or secret
        event, payload = sample(sender, forge.full_name)
        body = encoded(payload)
        headers = sender.headers(body, f"test-{forge.next_id()}", event)
        forge.answers.append(httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).status_code)
    return (201, {"message": "201 Created"}) if forge.kind == "gitlab" else (204, None)


def sample(sender: Sender, full_name: str) -> tuple[str | None, Any]:
    """GitHub sends a ping, Gitea a push that moves nothing, GitLab one of the newest commits."""
    if sender.name == "github":
        return "ping", {
            "zen": "Keep it logically awesome.",
            "hook_id": 1,
            "repository": {"id": 7, "full_name": full_name},
        }
    sha = "a" * 40
    return None, sender.push(Moved(before=sha if sender.name == "gitea" else "b" * 40, after=sha), repository=full_name)


def gitlab(forge: ForgeState, call: Recorded) -> tuple[int, Any]:
    _authenticated(forge, call.headers.get("private-token"), forge.token, {"message": "401 Unauthorized"})
    if re.fullmatch(r"/api/v4/projects/[^/]+/statuses/\w+", call.path) and call.method == "POST":
        _gitlab_pipeline(forge, call)  # without the lock: that is the trap
    name = r"/projects/(?P<name>[^/]+)"
    return _routed(forge, call, {
        rf"GET {name}": ("repository", _repository),
        rf"POST {name}/statuses/(?P<sha>\w+)": ("statuses", _gitlab_status),
        rf"GET {name}/hooks": ("hooks", lambda forge, call, _: (200, _page(call, forge.hooks, "per_page"))),
        rf"POST {name}/hooks": ("hooks", _add_hook),
        rf"POST {name}/hooks/(?P<id>\d+)/test/push_events": ("hooks", _test_hook),
        rf"GET {name}/members/all": ("members", _gitlab_people),
        rf"GET {name}/merge_requests/(?P<number>\d+)/notes": ("comments", _comments("per_page", _flat)),
        rf"POST {name}/merge_requests/(?P<number>\d+)/notes": ("comments", _comment(_flat, "body")),
        rf"PUT {name}/merge_requests/(?P<number>\d+)/notes/(?P<id>\d+)": ("comments", _edit(_flat, "body")),
    }, {"message": "404 Project Not Found"})  # fmt: skip


def _gitlab_pipeline(forge: ForgeState, call: Recorded) -> None:
    sha, ref = call.path.rpartition("/")[2], call.json.get("ref")
    _one_of(call.json["state"], ("pending", "running", "success", "failed", "canceled", "skipped"), 400)
    with forge.lock:
        known = [one for one in forge.pipelines if (one["sha"], one["ref"]) == (sha, ref)]
    if not known:
        forge.while_a_pipeline_is_made()
        with forge.lock:
            forge.pipelines.append({"id": forge.next_id(), "sha": sha, "ref": ref})


def _gitlab_status(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    """POST projects/:id/statuses/:sha of lib/api/commit_statuses.rb: a job that has not ended is moved on, else one is made."""
    body, sha, name = call.json, match["sha"], call.json.get("name") or call.json.get("context", "default")
    for text in ("description", "target_url", "ref", "name"):
        if len(body.get(text) or "") > 255:
            raise Refusal(400, {"message": {text: ["is too long (maximum is 255 characters)"]}})
    known = [one for one in forge.pipelines if (one["sha"], one["ref"]) == (sha, body.get("ref"))]
    asked = body.get("pipeline_id")
    if asked is not None and asked not in [one["id"] for one in known]:
        raise Refusal(404, {"message": "404 Pipeline for pipeline_id, sha and ref Not Found"})
    pipeline = asked or known[-1]["id"]
    job = next(
        (s for s in forge.statuses if (s["pipeline_id"], s["name"]) == (pipeline, name) and _unfinished(s)), None
    )
    event = {"pending": "enqueue", "running": "run"}.get(body["state"])
    if job and event and (job["state"] == body["state"] or body["state"] == "pending"):
        reason = f'Cannot transition status via :{event} from :{job["state"]} (Reason(s): Status cannot transition via "{event}")'
        raise Refusal(400, {"message": reason})
    if job is None:
        return 201, _add_status(
            forge, sha, name, body, body.get("target_url", ""), pipeline_id=pipeline, ref=body.get("ref")
        )
    job |= {"state": body["state"], "description": body.get("description", ""), "url": body.get("target_url", "")}
    return 201, job


def _unfinished(job: Mapping[str, Any]) -> bool:
    return job["state"] in ("pending", "running")


def gitea(forge: ForgeState, call: Recorded) -> tuple[int, Any]:
    refusal = {"message": "user does not exist [uid: 0, name: ]"}
    _authenticated(forge, call.headers.get("authorization"), f"token {forge.token}", refusal)
    name = r"/repos/(?P<name>[^/]+/[^/]+)"
    return _routed(forge, call, {
        rf"GET {name}": ("repository", _repository),
        rf"POST {name}/statuses/(?P<sha>\w+)": ("statuses", _gitea_status),
        rf"GET {name}/hooks": ("hooks", lambda forge, call, _: (200, _page(call, forge.hooks, "limit"))),
        rf"POST {name}/hooks": ("hooks", _add_hook),
        rf"POST {name}/hooks/(?P<id>\d+)/tests": ("hooks", _test_hook),
        rf"GET {name}/assignees": ("members", lambda forge, call, _: (200, [_gitea_user(one) for one in forge.people])),
        rf"GET {name}/collaborators/(?P<login>[^/]+)/permission": ("members", _gitea_permission),
        rf"GET {name}/issues/(?P<number>\d+)/comments": ("comments", _comments("", _flat)),
        rf"POST {name}/issues/(?P<number>\d+)/comments": ("comments", _comment(_flat, "body")),
        rf"PATCH {name}/issues/comments/(?P<id>\d+)": ("comments", _edit(_flat, "body")),
    }, {"message": "The target couldn't be found."})  # fmt: skip


def _gitea_status(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    _one_of(call.json["state"], ("pending", "success", "error", "failure", "warning"), 422)
    return 201, _add_status(
        forge, match["sha"], call.json.get("context", "default"), call.json, call.json["target_url"]
    )


def bitbucket(forge: ForgeState, call: Recorded) -> tuple[int, Any]:
    basic = f"Basic {base64.b64encode(forge.token.encode()).decode()}"
    wanted = basic if ":" in forge.token else f"Bearer {forge.token}"
    refusal = {"type": "error", "error": {"message": "Token is invalid, expired, or not supported for this endpoint."}}
    _authenticated(forge, call.headers.get("authorization"), wanted, refusal)
    name = r"/repositories/(?P<name>[^/]+/[^/]+)"
    return _routed(forge, call, {
        rf"GET {name}": ("repository", _repository),
        rf"POST {name}/commit/(?P<sha>\w+)/statuses/build": ("statuses", _bitbucket_status),
        rf"GET {name}/hooks": ("hooks", lambda forge, call, _: (200, {"values": _page(call, forge.hooks, "pagelen")})),
        rf"POST {name}/hooks": ("hooks", _add_hook),
        rf"GET {name}/pullrequests/(?P<number>\d+)/comments": ("comments", _comments("pagelen", _nested)),
        rf"POST {name}/pullrequests/(?P<number>\d+)/comments": ("comments", _comment(_nested, "content")),
        rf"PUT {name}/pullrequests/(?P<number>\d+)/comments/(?P<id>\d+)": ("comments", _edit(_nested, "content")),
    }, {"type": "error", "error": {"message": "Repository not found"}})  # fmt: skip


def _bitbucket_status(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
    body = call.json
    _one_of(body["state"], ("INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"), 400)
    wrong = [name for name in ("key", "url") if not body.get(name)] + ["key"] * (len(body["key"]) > 40)
    if wrong:
        raise Refusal(400, {"type": "error", "error": {"message": f"{wrong[0]}: Bad value"}})
    forge.statuses[:] = [s for s in forge.statuses if (s["sha"], s["key"]) != (match["sha"], body["key"])]
    return 201, _add_status(forge, match["sha"], body["name"], body, body["url"], key=body["key"])


Shape = Callable[[Mapping[str, Any]], Any]


def _flat(comment: Mapping[str, Any]) -> Any:
    return {"id": comment["id"], "body": comment["body"]}


def _nested(comment: Mapping[str, Any]) -> Any:
    return {"id": comment["id"], "content": {"raw": comment["body"]}, "deleted": False}


def _comments(per_page: str, shape: Shape) -> Route:
    """The list, oldest first; all at once where the forge has no pages."""

    def route(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
        found = [shape(comment) for comment in forge.comments if comment["number"] == int(match["number"])]
        paged = _page(call, found, per_page) if per_page else found
        return 200, {"values": paged} if shape is _nested else paged

    return route


def _body(call: Recorded, key: str) -> str:
    body = str(call.json[key]["raw"] if key == "content" else call.json[key])
    if len(body) > 65536:
        raise Refusal(422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"})
    return body


def _comment(shape: Shape, key: str) -> Route:
    def route(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
        made = {"id": forge.next_id(), "number": int(match["number"]), "body": _body(call, key)}
        forge.comments.append(made)
        return 201, shape(made)

    return route


def _edit(shape: Shape, key: str) -> Route:
    def route(forge: ForgeState, call: Recorded, match: re.Match[str]) -> tuple[int, Any]:
        for comment in forge.comments:
            if comment["id"] == int(match["id"]):
                comment["body"] = _body(call, key)
                return 200, shape(comment)
        raise Refusal(404, {"message": "Not Found"})

    return route


API = {"github": github, "gitlab": gitlab, "gitea": gitea, "forgejo": gitea, "bitbucket": bitbucket}

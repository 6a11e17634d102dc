"""A project with an API token: the webhook is created, git fetches with the token, and `check` checks everything."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_forge import KINDS, FakeForge, running
from fake_forge_apis import TOKEN
from forge_deliveries import GitHub, Moved, encoded
from git_over_http import GitServer, served
from instance import Checkout
from push_server import PushServer, bare_repository, step
from test_webhooks_of_forges import pushmill

from core.model import Repository
from hooks.apis.registry import APIS
from web.services.checks import webhook as check_webhook
from web.services.repositories import credentials as access
from web.services.repositories import ref_updates
from web.store import forge_access, projects
from web.store.db import execute

CONFIG = '[server]\nurl = "{url}"\n[git]\nallow_http = true\n'


class Site:
    """A forge of one kind: its API, its git over HTTP that wants the token, and a server whose forge can reach it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, forge: FakeForge, git: GitServer) -> None:
        self.pushes, self.checkout, self.forge, self.git = pushes, checkout, forge, git
        self.forge.full_name = "git/model"
        self.path = bare_repository(git.root / "model.git")
        self.configure(CONFIG)

    def configure(self, text: str, url: str = "") -> None:
        """By default the forge reaches the server, which is on this machine as well."""
        text = text.format(url=url or self.pushes.url)
        (self.pushes.config.data / "config.toml").write_text(text)

    def run(self, *arguments: str, stdin: str = TOKEN) -> subprocess.CompletedProcess[str]:
        return pushmill(self.pushes, *arguments, stdin=stdin)

    def add(self, *more: str, stdin: str = TOKEN) -> subprocess.CompletedProcess[str]:
        repo = ("--repo", f"{self.git.url}/git/model.git", "--forge", self.forge.kind)
        return self.run("add", "model", *repo, "--api-url", self.forge.api_url, "--token-file", "-", *more, stdin=stdin)

    def recorded(self, sha: str) -> None:
        """The push of a commit has been told of by a delivery."""
        repository = projects.list_repositories(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id)[0]
        ref_updates.store_ref_updates(
            self.pushes.db, repository, "plain", f"told-{sha}", {"refs/heads/main": ("0" * 40, sha)}
        )
        self.pushes.with_git(allow_http=True).drain()

    def only(self, hook: dict[str, Any], events: dict[str, list[str]], pushes: bool = True) -> None:
        """Have a webhook send these events alone, on GitLab pushes or merge requests."""
        if self.forge.kind == "gitlab":
            hook |= {"push_events": pushes, "tag_push_events": pushes, "merge_requests_events": not pushes}
        else:
            hook["events"] = events[self.forge.kind]

    def check(self, *more: str) -> dict[str, Any]:
        """Findings by what was looked at, and the exit code."""
        done = self.run("check", "model", "--json", *more)
        found = json.loads(done.stdout)
        assert done.returncode == int(any(finding["level"] == "fail" for finding in found))
        return {finding["check"]: finding for finding in found}

    def push(self, files: dict[str, str]) -> str:
        sha = self.checkout.commit(files, "work")
        self.checkout.git("push", "-q", "-f", str(self.path), "HEAD:main")
        return sha


@pytest.fixture(autouse=True)
def without_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody handles a delivery while `check` waits for it."""
    monkeypatch.setattr(check_webhook, "HANDLED_S", 0.0)


@pytest.fixture
def nothing_arrives(github: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    github.forge.delivers = False
    monkeypatch.setattr(check_webhook, "ARRIVAL_S", 0.5)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "served").mkdir()
    username, password = APIS[request.param].git_login(TOKEN)
    with running(request.param) as forge, served(tmp_path / "served", username, password) as git:
        yield Site(pushes, checkout, forge, git)


@pytest.fixture
def gitlab(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "served").mkdir()
    with running("gitlab") as forge, served(tmp_path / "served", "oauth2", TOKEN) as git:
        yield Site(pushes, checkout, forge, git)


@pytest.fixture
def github(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "served").mkdir()
    with running("github") as forge, served(tmp_path / "served", "x-access-token", TOKEN) as git:
        yield Site(pushes, checkout, forge, git)


def test_adding_with_a_token_makes_the_webhook_and_says_what_was_done(site: Site) -> None:
    done = site.add("--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {"project_id", "webhook_url", "webhook_secret", "deploy_key"} <= set(shown)
    assert shown["webhook_url"] == f"{site.pushes.url}/hooks/model/{site.forge.kind}"
    (hook,) = site.forge.hooks
    text = json.dumps(hook)
    assert shown["webhook_url"] in text
    assert shown["webhook_secret"] in text
    assert "The token reaches git/model." in done.stderr
    assert "Created the webhook" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "named", "needs_api_url"),
    [
        ("gitea", "ada/model", False),
        ("gitlab", "ada/model", True),  # where `git` may be a group
        ("gitlab", "ada/group/model", True),
    ],
)
@pytest.mark.parametrize("path", ["git", "srv/forge"])
def test_a_forge_below_a_path_of_its_host_takes_a_token(
    pushes: PushServer, kind: str, named: str, needs_api_url: bool, path: str
) -> None:
    (pushes.config.data / "config.toml").write_text(CONFIG)
    with running(kind) as forge:
        forge.below, forge.full_name = f"/{path}", named
        repo = ("--repo", f"{forge.origin}/{path}/{named}.git", "--forge", kind, "--token-file", "-")
        if needs_api_url:
            refused = pushmill(pushes, "add", "model", *repo, stdin=TOKEN)
            assert refused.returncode == 1
            assert "give the address of its API with --api-url" in refused.stderr
            done = pushmill(pushes, "set-token", "model", "--api-url", forge.api_url, stdin=TOKEN)
        else:
            done = pushmill(pushes, "add", "model", *repo, stdin=TOKEN)
        assert done.returncode == 0, done.stderr
        assert f"The token reaches {named}." in done.stdout
        assert len(forge.hooks) == 1


def repository_at(forge: str, url: str, *, full_name: str = "", api_url: str = "") -> Repository:
    return Repository(
        id=1, project_id=1, forge=forge, url=url, full_name=full_name, default_branch="main", deploy_key="",
        has_login=False, status_context="pushmill",
        api_url=api_url, has_token=True, api_problem="", api_retry_at=None, fetch_retry_at=None,
        polled_at=None, fetch_problem="", created_at="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("repository", "api", "name"),
    [
        (repository_at("gitea", "https://host/a/b"), "https://host/api/v1", "a/b"),
        (repository_at("gitea", "https://host:3000/x/y/a/b.git"), "https://host:3000/x/y/api/v1", "a/b"),
        (repository_at("gitea", "git@host:a/b.git"), "https://host/api/v1", "a/b"),
        (repository_at("gitea", "git@host:a/b.git", api_url="https://host/x/api/v1"), "https://host/x/api/v1", "a/b"),
        (repository_at("gitea", "https://host/x/a/b", full_name="A/B"), "https://host/x/api/v1", "A/B"),
        (repository_at("gitea", "https://host/x/a/b", full_name="c/d"), "https://host/x/api/v1", "c/d"),
        (repository_at("gitea", "https://host/x/a/b", api_url="https://api/v1"), "https://api/v1", "a/b"),
        (repository_at("github", "https://github.com/a/b"), "https://api.github.com", "a/b"),
        (repository_at("bitbucket", "https://bitbucket.org/a/b"), "https://api.bitbucket.org/2.0", "a/b"),
        (repository_at("gitlab", "https://host/g/s/b"), "https://host/api/v4", "g/s/b"),
        (repository_at("gitlab", "https://host/x/g/s/b", full_name="g/s/b"), "https://host/x/api/v4", "g/s/b"),
        (
            repository_at("gitlab", "https://host/x/g/b", api_url="https://host/x/api/v4"),
            "https://host/x/api/v4",
            "g/b",
        ),
        (
            repository_at("gitlab", "https://host/xy/b", api_url="https://host/x/api/v4"),
            "https://host/x/api/v4",
            "xy/b",
        ),
        (repository_at("gitlab", "git@host:g/s/b", api_url="https://host/x/api/v4"), "https://host/x/api/v4", "g/s/b"),
        (repository_at("gitea", "/srv/a.git"), "", ""),
    ],
)
def test_api_and_name_of_a_repository(repository: Repository, api: str, name: str) -> None:
    assert (access.get_api_url(repository), access.get_repository_name(repository)) == (api, name)


@pytest.mark.parametrize("url", ["https://ada:5ca1ab1e@host/api/v1", "https://5ca1ab1e@host/api/v1", "host/api"])
def test_the_address_of_an_api_has_no_credentials(pushes: PushServer, url: str) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://gitea.example.org/ada/model.git")
    refused = pushmill(pushes, "set-token", "model", "--api-url", url, stdin=TOKEN)
    assert refused.returncode == 1
    assert "5ca1ab1e" not in refused.stderr


PUBLIC: dict[str, dict[str, object]] = {
    "bitbucket": {"is_private": False},
    "forgejo": {"private": False, "internal": False},
    "gitea": {"private": False},
    "github": {"private": False},
    "gitlab": {"visibility": "public"},
}
PRIVATE: dict[str, dict[str, object]] = {
    "bitbucket": {"is_private": True},
    "forgejo": {"private": False, "internal": True},
    "gitea": {"private": True},
    "github": {"private": True, "visibility": "internal"},
    "gitlab": {"visibility": "internal"},
}


def test_the_badge_of_a_public_repository_is_public_and_every_other_private(site: Site) -> None:
    for name, described in (("private", PRIVATE[site.forge.kind]), ("silent", {}), ("public", PUBLIC[site.forge.kind])):
        site.forge.described = described
        repo = ("--repo", f"{site.git.url}/git/model.git", "--forge", site.forge.kind)
        done = site.run("add", name, *repo, "--api-url", site.forge.api_url, "--token-file", "-")
        assert done.returncode == 0, done.stderr
        assert projects.get_by_name(site.pushes.db, name).badge_public is (name == "public"), name
    projects.set_badge_public(site.pushes.db, projects.get_by_name(site.pushes.db, "public").id, False)
    assert site.run("set-token", "public").returncode == 0
    assert not projects.get_by_name(site.pushes.db, "public").badge_public, "what a person chose stays"


def test_the_webhook_is_made_once(site: Site) -> None:
    site.add()
    for arguments in (("webhook", "model"), ("set-token", "model")):
        done = site.run(*arguments)
        assert done.returncode == 0
        assert "already exists" in done.stdout
    assert len(site.forge.hooks) == 1


def test_one_behind_many_others_is_found(site: Site) -> None:
    for number in range(130):
        call = APIS[site.forge.kind].create_webhook(site.forge.full_name, f"https://elsewhere/{number}", "5ca1ab1e")
        assert call.json is not None
        site.forge.hooks.append({**call.json, "id": number, "uuid": str(number)})
    site.add()
    assert len(site.forge.hooks) == 131
    assert "already exists" in site.run("webhook", "model").stdout
    assert len(site.forge.hooks) == 131


def test_the_token_fetches_where_the_url_has_no_credentials(site: Site) -> None:
    site.add()
    site.push({"valohai.yaml": step("train")})
    assert site.check()["repository"]["level"] == "ok"
    assert site.git.requests


def test_everything_in_order_is_all_ok_but_for_a_delivery_that_cannot_be_asked_for(site: Site) -> None:
    site.add()
    sha = site.push({"valohai.yaml": step("train") + step("test")})
    found = site.check()
    tested = {"test delivery": "ok"} if site.forge.kind in ("github", "gitea") else {}
    assert {name: finding["level"] for name, finding in found.items()} == {
        "repository": "ok", "token": "ok", "valohai.yaml": "ok", "status": "ok", "server url": "ok", "webhook": "ok",
        **tested, "last delivery": "warn",
    }  # fmt: skip
    assert found["valohai.yaml"]["message"] == f"2 steps at main ({sha[:8]}): train, test"
    (shown,) = site.forge.shown(sha).values()
    assert shown == (APIS[site.forge.kind].STATES["success"], "pushmill can post here")  # type: ignore[index]
    assert "pushmill-check" in json.dumps(site.forge.statuses)
    assert site.run("check", "model").returncode == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("token", "the token is wrong or has expired"),
        ("repository", "has no repository git/model"),
        ("hooks", "the token may not read its webhooks"),
        ("away", "the forge did not answer"),
        ("moved", "the repository was renamed or moved"),
    ],
)
def test_what_the_forge_refuses_is_one_sentence_and_the_project_stays(site: Site, wrong: str, said: str) -> None:
    if wrong == "token":
        site.forge.token = "another"
    elif wrong == "repository":
        site.forge.full_name = "ada/other"
    elif wrong == "away":
        site.forge.drop(times=9)
    elif wrong == "moved":
        site.forge.fail(301, headers={"Location": "https://example.org/"})
    else:
        site.forge.forbidden.add(wrong)
    done = site.add("--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["name"] == "model"
    assert done.stderr.startswith("pushmill: project model was added, but ")
    assert said in done.stderr
    assert "`pushmill project set-token model`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stderr
    if wrong in ("token", "repository", "hooks"):
        assert APIS[site.forge.kind].RIGHTS in done.stderr
    assert site.forge.hooks == []
    site.forge.token, site.forge.full_name = TOKEN, "git/model"
    site.forge.forbidden.clear()
    site.forge.mend()
    assert "Created the webhook" in site.run("set-token", "model").stdout


def test_check_says_of_each_thing_what_is_wrong_and_what_to_do(github: Site) -> None:
    github.add()
    github.push({"README": "no configuration"})
    (hook,) = github.forge.hooks
    hook["active"] = False
    github.forge.forbidden.add("statuses")
    found = github.check()
    assert "missing at main" in found["valohai.yaml"]["message"]
    assert "may not post statuses on commits" in found["status"]["message"]
    assert APIS["github"].RIGHTS in found["status"]["advice"]
    assert "is disabled" in found["webhook"]["message"]
    github.forge.hooks.clear()
    github.push({"valohai.yaml": "- step: ["})
    found = github.check()
    assert "broken at main" in found["valohai.yaml"]["message"]
    assert "`pushmill project webhook model`" in found["webhook"]["advice"]
    github.git.redirect = "https://example.org"
    github.forge.token = "another"
    found = github.check()
    assert "it has moved to https://example.org/git/model.git" in found["repository"]["message"]
    assert "wrong or has expired" in found["token"]["message"]
    assert all(finding["advice"] for name, finding in found.items() if finding["level"] == "fail"), found


def test_without_an_address_no_webhook_is_made_and_localhost_is_not_registered(github: Site) -> None:
    github.configure("[git]\nallow_http = true\n")
    said = github.add().stdout
    assert "No webhook was created" in said
    assert "`url` below [server]" in said
    assert github.forge.hooks == []
    assert github.check()["server url"]["level"] == "fail"
    github.configure(CONFIG, "http://localhost:8000")
    assert github.check()["server url"]["level"] == "ok"  # the forge is on this machine too
    github.configure(CONFIG)
    assert "Created the webhook" in github.run("webhook", "model").stdout


def test_a_loopback_address_is_of_no_use_to_a_forge_elsewhere(github: Site) -> None:
    github.run("add", "other", "--repo", "https://forge.invalid/ada/other.git", "--forge", "github")
    github.configure('[server]\nurl = "http://localhost:8000"\n')
    found = json.loads(github.run("check", "other", "--json").stdout)
    (finding,) = [finding for finding in found if finding["check"] == "server url"]
    assert finding["level"] == "fail"
    assert "forge.invalid cannot reach" in finding["message"]


@pytest.mark.usefixtures("nothing_arrives")
def test_check_says_what_became_of_the_last_delivery(github: Site) -> None:
    github.add()
    github.push({"valohai.yaml": step("train")})
    found = github.check()
    assert found["last delivery"]["message"] == "none has arrived yet"
    assert "/settings/hooks)" in found["last delivery"]["advice"]
    assert github.pushes.post("/hooks/model/github", b"{}").status_code == 401
    found = github.check()["last delivery"]
    assert found["level"] == "fail"
    assert "signature is missing" in found["message"]
    assert "/p/model/deliveries/" in found["advice"]


@pytest.mark.usefixtures("nothing_arrives")
def test_a_test_delivery_that_does_not_arrive_is_a_failure(github: Site) -> None:
    github.add()
    github.push({"valohai.yaml": step("train")})
    found = github.check()["test delivery"]
    assert found["level"] == "fail"
    assert "did not arrive" in found["message"]
    assert "/git/model/settings/hooks" in found["advice"]


def test_a_test_delivery_with_another_secret_is_a_failure(site: Site) -> None:
    if site.forge.kind == "bitbucket":
        pytest.skip("its API sends no test delivery")
    site.add()
    sha = site.push({"valohai.yaml": step("train")})
    site.recorded(sha)
    site.forge.hook_secret = "0ther" * 8
    found = site.check()
    assert site.forge.answers == [401]
    assert found["test delivery"]["level"] == "fail"
    assert "refused" in found["test delivery"]["message"]
    assert "`pushmill project show model`" in found["test delivery"]["advice"]


def test_gitlabs_test_delivery_is_asked_for_only_where_it_runs_nothing(gitlab: Site) -> None:
    gitlab.add()
    sha = gitlab.push({"valohai.yaml": step("train")})
    assert "test delivery" not in gitlab.check()
    gitlab.recorded(sha)
    assert gitlab.check()["test delivery"]["level"] == "ok"


def test_a_webhook_without_the_events_that_are_needed_is_said_to_be(site: Site) -> None:
    site.add()
    site.push({"valohai.yaml": step("train")})
    (hook,) = site.forge.hooks
    site.only(hook, {"github": ["push"], "gitea": ["push", "delete"], "bitbucket": ["repo:push"]})
    found = site.check()["webhook"]
    assert found["level"] == "warn"
    assert "does not send: " in found["message"]
    assert "ull" in found["message"] or "Merge request events" in found["message"]
    assert "/new" not in found["advice"]
    site.only(
        hook, {"github": ["pull_request"], "gitea": ["pull_request"], "bitbucket": ["pullrequest:created"]}, False
    )
    assert site.check()["webhook"]["level"] == "fail"


def test_the_webhook_of_gitea_is_made_without_comments(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with running("gitea") as forge, served(tmp_path / "served", "pushmill", TOKEN) as git:
        Site(pushes, checkout, forge, git).add()
        assert forge.hooks[0]["events"] == ["push", "delete", "pull_request", "pull_request_sync"]


def test_a_token_that_may_not_comment_is_a_failure_where_comments_are_wanted(site: Site) -> None:
    site.add()
    site.push({"valohai.yaml": step("train")})
    site.forge.forbidden.add("comments")
    assert "comments" not in site.check()
    site.run("comments", "model", "on")
    found = site.check()["comments"]
    assert (found["level"], found["advice"]) == ("fail", f"give it {APIS[site.forge.kind].RIGHTS}")
    site.forge.forbidden.clear()
    assert site.check()["comments"]["level"] == "ok"
    assert site.forge.comments == []


def test_a_forge_that_hangs_is_not_waited_for_longer_than_the_limit(github: Site) -> None:
    github.add()
    github.push({"valohai.yaml": step("train")})
    hanging = github.forge.hang(times=10**6)
    found = github.check("--time-limit", "2")
    hanging.set()
    assert found["repository"]["level"] == "ok"
    assert "the forge did not answer" in found["token"]["message"]
    assert "not called: the time limit was reached" in found["webhook"]["message"]
    assert len([call for call in github.forge.calls if call.answered == 0 or call.answered == 200]) < 6


def test_a_git_server_that_hangs_is_not_waited_for_longer_than_the_limit(pushes: PushServer) -> None:
    (pushes.config.data / "config.toml").write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/ada/model.git"
        pushmill(pushes, "add", "model", "--repo", url, "--forge", "plain")
        found = json.loads(pushmill(pushes, "check", "model", "--json", "--time-limit", "1").stdout)
    assert re.search(r"took longer than (1|0\.\d+) s", found[0]["message"])
    assert "[default: 20.0]" in pushmill(pushes, "check", "--help").stdout


def test_a_repository_that_was_renamed_is_not_ok(github: Site) -> None:
    github.add()
    github.push({"valohai.yaml": step("train")})
    github.git.moved = {"/git/model.git": "/git/renamed.git"}
    body = encoded(GitHub().push(Moved(after="a" * 40), repository="git/renamed"))
    sender = GitHub()
    sender.secret = json.loads(github.run("show", "model", "--json").stdout)["webhook_secret"]
    execute(github.pushes.db, "UPDATE repository SET full_name = 'git/model'")
    assert github.pushes.post("/hooks/model/github", body, **sender.headers(body, "renamed")).status_code == 202
    github.forge.delivers = False
    found = github.check("--time-limit", "3")
    assert f"set-url NAME {github.git.url}/git/renamed.git`" in found["repository"]["message"]
    assert found["last delivery"]["level"] == "fail"
    assert "the delivery is about git/renamed" in found["last delivery"]["message"]
    github.forge.renamed = "git/renamed"
    found = github.check("--time-limit", "3")
    assert found["token"]["level"] == "fail"
    assert "the repository is now named git/renamed" in found["token"]["message"]


def test_what_was_wrong_with_the_token_is_forgotten_when_a_status_can_be_shown(github: Site) -> None:
    github.add()
    github.push({"valohai.yaml": step("train")})
    (repository,) = projects.list_repositories(github.pushes.db, projects.get_by_name(github.pushes.db, "model").id)
    kept = forge_access.find_token(github.pushes.db, repository.id)
    assert kept is not None
    forge_access.stop_posting(github.pushes.db, repository.id, kept, "403 no")
    assert "403 no" in github.check()["status"]["message"]
    assert projects.get_repository(github.pushes.db, repository.id).api_problem == ""


def test_a_token_is_encrypted_forgotten_on_request_and_never_sent_to_another_host(github: Site) -> None:
    github.add()
    (repository,) = projects.list_repositories(github.pushes.db, projects.get_by_name(github.pushes.db, "model").id)
    assert subprocess.run(["grep", "-raF", TOKEN, str(github.pushes.config.data)]).returncode == 1
    said = github.run("set-url", "model", f"http://localhost:{github.git.server_port}/git/model.git").stdout
    assert "Its token was for the old address and is deleted" in said
    assert not projects.get_repository(github.pushes.db, repository.id).has_token
    assert projects.get_repository(github.pushes.db, repository.id).api_url == ""
    done = github.run("set-token", "model", "--api-url", github.forge.api_url)
    assert done.returncode == 0, done.stderr
    assert projects.get_repository(github.pushes.db, repository.id).has_token
    assert github.run("set-token", "model", "--remove").returncode == 0
    assert not projects.get_repository(github.pushes.db, repository.id).has_token


def test_credentials_in_the_url_go_before_the_token(github: Site) -> None:
    github.add()
    host = github.git.url.removeprefix("http://")
    github.run("set-url", "model", f"http://ada:wrong@{host}/git/model.git")
    github.push({"valohai.yaml": step("train")})
    assert "its user and password are missing, wrong or not enough" in github.check()["repository"]["message"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("--repo", "https://git.example.org/a/b", "--token-file", "-"), TOKEN, "name the right one with --forge"),
        (("--token-file", "-"), TOKEN, "has no forge, so it takes no API token"),
        (("--repo", "https://github.com/a/b", "--token-file", "-"), "\n", "is empty"),
        (("--repo", "https://github.com/a/b", "--api-url", "https://x/"), "", "--api-url needs --token-file"),
    ],
)
def test_a_token_that_is_of_no_use_is_refused_before_anything_is_made(
    pushes: PushServer, arguments: tuple[str, ...], stdin: str, said: str
) -> None:
    done = pushmill(pushes, "add", "model", *arguments, stdin=stdin)
    assert done.returncode == 1
    assert said in done.stderr
    assert projects.list_projects(pushes.db) == []


def test_a_project_that_is_pushed_to_is_checked_too(pushes: PushServer, checkout: Checkout) -> None:
    pushmill(pushes, "add", "model")
    empty = json.loads(pushmill(pushes, "check", "model", "--json").stdout)
    assert [(finding["check"], finding["level"]) for finding in empty] == [
        ("repository", "ok"),
        ("valohai.yaml", "warn"),
    ]
    checkout.commit({"valohai.yaml": step("train")}, "work")
    pushes.push(checkout, "model")
    done = pushmill(pushes, "check", "model")
    assert done.returncode == 0
    assert "1 step at main" in done.stdout

"""The pages that show pending approvals, and the form that approves."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from forge_deliveries import GitHub, Request
from instance import Checkout, wait_for
from push_server import step
from site_client import Person
from test_deliveries import Hub, payload

from core.rights import Role
from web.store import audit, members, projects, users
from web.store.audit import Act, AuditQuery
from web.store.db import execute, transaction

HOSTILE = "<script>alert(1)</script>\n\x1b[31m\"'> \u202eevil"


@pytest.fixture
def hub(tmp_path: Path, checkout: Checkout) -> Iterator[Hub]:
    api = ApiServer(tmp_path / "data", git={"allow_local": True})
    yield Hub(api, checkout, tmp_path / "forge.git")
    api.close()


def head(hub: Hub, message: str = "of a stranger", number: int = 7) -> str:
    sha = hub.checkout.commit({"valohai.yaml": step("train")}, message)
    hub.checkout.git("push", "-q", "-f", str(hub.path), f"HEAD:refs/pull/{number}/head")
    return sha


def ask(hub: Hub, sha: str, action: str = "opened", **more: Any) -> None:
    """Open a pull request of a fork."""
    request = Request(sha=sha, **({"fork": "mallory/model", "author": "mallory"} | more))
    event, said = GitHub().pull_request(request, action)
    assert hub.deliver(said, f"{action}-{sha}-{request.number}", event).status_code == 202
    hub.drain()


def page(hub: Hub, path: str) -> str:
    answer = hub.person.get(f"/p/model/{path}")
    assert answer.status_code == 200
    return html.unescape(answer.text)


def approve(hub: Hub, sha: str) -> Any:
    """Press the button, and let the worker fetch the commit."""
    answer = hub.person.post(f"/p/model/commits/{sha}/approve", "/p/model/settings/")
    hub.drain()
    return answer


def test_the_commits_page_says_who_wants_what_and_what_approving_means(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha, title="Train longer")
    shown = page(hub, f"commits/{sha}/")
    assert "This commit comes from a fork. Nothing runs until you approve it." in shown
    assert '<a href="https://forge.example.org/ada/model/pull/7" rel="noopener nofollow">7 Train longer</a>' in shown
    assert "by mallory, topic → main" in shown
    assert "Its code will run on your machines with this project's secrets" in shown
    assert f'<form method="post" action="/p/model/commits/{sha}/approve">' in shown
    assert "waiting for approval: from a fork" in shown


def test_approving_runs_it_and_the_page_says_who_did(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha)
    assert approve(hub, sha).location == f"/p/model/commits/{sha}/"
    assert hub.steps() == ["train"]
    shown = page(hub, f"commits/{sha}/")
    assert "Approved by admin" in shown
    assert "Approve and run" not in shown
    assert "waiting for approval" not in shown
    assert approve(hub, sha).status_code == 303  # somebody else's page was still open
    assert hub.steps() == ["train"]
    launch, approval = audit.search(hub.api.db, AuditQuery(project="model"), 2)
    assert (approval.action, approval.name, approval.detail) == (Act.APPROVE, sha, "pull request 7")
    assert (launch.action, launch.detail, launch.username, approval.username) == (Act.LAUNCH, "#1", "admin", "admin")


def test_until_it_is_fetched_the_page_says_so_and_offers_nothing(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha)
    hub.path.rename(hub.path.with_name("away"))
    approve(hub, sha)
    shown = page(hub, f"commits/{sha}/")
    assert "It runs as soon as its history is fetched" in shown
    assert "Approve and run" not in shown
    newest = hub.deliveries()[0]
    assert (newest.source, newest.state) == ("approval", "stored")
    assert "forge.git" in newest.message
    assert "created by an approval" in hub.page(newest.id)
    assert hub.steps() == []
    hub.path.with_name("away").rename(hub.path)
    hub.again(newest.id)
    hub.drain()
    assert hub.steps() == ["train"]
    assert hub.deliveries()[0].message == f"commit {sha} is approved: 1 execution"


def test_the_project_and_its_commits_say_how_many_wait_and_which(hub: Hub) -> None:
    first, second = head(hub), head(hub, "another", 8)
    ask(hub, first)
    ask(hub, second, number=8, title="Another")
    for path in ("", "commits/"):
        shown = page(hub, path)
        assert "2 commits from forks are waiting for approval" in shown
        assert f'Pull request 8, <a href="/p/model/commits/{second}/">Another</a> by mallory' in shown
    assert page(hub, "commits/").count('<span class="tag">waiting for approval</span>') == 2
    approve(hub, first)
    assert "1 commit from a fork is waiting for approval" in page(hub, "")
    ask(hub, second, "closed", number=8)
    for path in ("", "commits/"):
        assert "for approval" not in page(hub, path)
    assert "Approve and run" not in page(hub, f"commits/{second}/")


def test_one_that_has_moved_on_is_said_to_and_cannot_be_approved(hub: Hub) -> None:
    first = head(hub)
    ask(hub, first)
    second = head(hub, "more")
    ask(hub, second, "updated")
    shown = page(hub, f"commits/{first}/")
    assert "has newer commits" in shown
    assert "Approve and run" not in shown
    answer = approve(hub, first)
    assert answer.status_code == 409
    assert "has a newer commit, was closed" in html.unescape(answer.text)
    assert hub.steps() == []


def test_only_a_logged_in_person_with_the_forms_own_token_approves(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha)
    path = f"/p/model/commits/{sha}/approve"
    assert hub.api.client.post(path).status_code == 401
    assert hub.person.client.post(path).status_code == 403
    assert hub.person.client.post(path, data={"csrf_token": "wrong"}).status_code == 403
    assert hub.person.get(path).status_code == 405
    assert hub.steps() == []
    with transaction(hub.api.db):
        member = users.add(hub.api.db, "grace", is_admin=False)
        users.add_token(hub.api.db, member.id, "pm_grace", "test")
        members.set_role(hub.api.db, projects.get_by_name(hub.api.db, "model").id, member.id, Role.WRITER)
    grace = Person(hub.api)
    grace.log_in("grace", "pm_grace")
    assert grace.post(path, "/p/model/settings/").status_code == 303
    hub.drain()
    assert hub.steps() == ["train"]
    assert "Approved by grace" in page(hub, f"commits/{sha}/")


def test_what_a_stranger_wrote_is_shown_as_text(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha, title=HOSTILE, author=HOSTILE, branch="a&b<c>'\"")
    for path in ("", "commits/", f"commits/{sha}/"):
        raw = hub.person.get(f"/p/model/{path}").text
        assert "<script>alert" not in raw
        assert "\x1b" not in raw
        assert "\u202e" not in raw
        assert "&lt;script&gt;alert(1)" in raw


def test_pull_requests_of_the_repository_itself_are_shown_without_a_question(hub: Hub) -> None:
    sha = head(hub)
    ask(hub, sha, fork="", title="Mine", author="ada")
    shown = page(hub, f"commits/{sha}/")
    assert "7 Mine</a>" in shown
    assert "pproved" not in shown
    assert "waiting for approval" not in page(hub, "commits/")
    assert '<span class="tag">pull/7/head</span>' in shown


def test_a_push_to_a_branch_shows_no_pull_request(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    assert "ull request" not in page(hub, f"commits/{sha}/")


def test_clients_are_not_offered_a_strangers_commit_as_the_newest(hub: Hub) -> None:
    own = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(own))
    sha = head(hub)
    ask(hub, sha)

    def listed() -> list[str]:
        return [item["identifier"] for item in hub.api.json("commits/", project=hub.project.uuid)["results"]]

    assert listed() == [own]
    assert hub.api.json(f"commits/{sha}/")["identifier"] == sha
    approve(hub, sha)
    assert set(listed()) == {own, sha}


def test_the_first_page_shows_the_newest_push_not_a_strangers_pull_request(hub: Hub) -> None:
    own = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(own))
    ask(hub, head(hub))
    shown = hub.person.get("/").text
    assert f"/p/model/commits/{own}/" in shown
    assert "pull/7/head" not in shown


def test_home_and_the_project_say_what_keeps_pushes_from_running(hub: Hub) -> None:
    def banners() -> list[str]:
        pages = [html.unescape(hub.person.get(path).text) for path in ("/", "/p/model/")]
        return ["Problems with pushes" in page for page in pages]

    assert banners() == [False, False]
    sha = head(hub, HOSTILE)
    ask(hub, sha)
    home = html.unescape(hub.person.get("/").text)
    assert "1 commit from a fork is waiting for approval" in home
    assert banners() == [True, False]  # the project's page has a banner of its own for that
    approve(hub, sha)
    assert banners() == [False, False]
    assert hub.post("/hooks/model/github").status_code == 401
    wait_for(lambda: banners() == [True, True])
    assert "1 delivery was rejected since the last accepted one" in html.unescape(hub.person.get("/").text)
    with transaction(hub.api.db):
        execute(hub.api.db, "UPDATE delivery SET received_at = '2026-01-01' WHERE state = 'refused'")
    assert banners() == [False, False]
    with transaction(hub.api.db):
        execute(hub.api.db, "UPDATE delivery SET received_at = '9999-01-01' WHERE state = 'refused'")
    assert banners() == [True, True]
    ask(hub, sha, "closed")
    assert banners() == [False, False]
    with transaction(hub.api.db):
        execute(hub.api.db, "UPDATE repository SET fetch_problem = 'no <b>route</b>'")
    assert "Fetching failed: no &lt;b&gt;route&lt;/b&gt;" in hub.person.get("/p/model/").text

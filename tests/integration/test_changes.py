"""The streams of pages with lists report each change to the pages that show it, whichever process makes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import ApiServer, listening
from instance import wait_for

from core.identity import Scope
from core.rights import Role
from web.http import changes, streams
from web.services import identities
from web.store import deliveries, members, metadata, projects, runners
from web.store.db import execute, transaction
from web.store.deliveries import Received

Change = Callable[[ApiServer], Any]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ApiServer, str]]:
    monkeypatch.setattr(changes, "GAP_S", 0.0)
    api = ApiServer(tmp_path / "data", server={"followers": 3})
    api.online()
    api.add_execution()
    with listening(api.app) as url:
        yield api, url
    api.close()


@contextmanager
def following(url: str, path: str, secret: str) -> Iterator[Iterator[str]]:
    """The kinds of the events of a stream, after its first one."""
    headers = {"Authorization": f"Token {secret}"}
    with (
        httpx.Client(headers=headers, timeout=20, trust_env=False) as client,
        client.stream("GET", url + path) as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        kinds = (line.partition(": ")[2] for line in answer.iter_lines() if line.startswith("event: "))
        assert next(kinds) == "beat"
        yield kinds


def address(api: ApiServer, page: str, secret: str = "") -> str:
    """Return the address of the stream that a page names."""
    answer = api.client.get(page, headers={"Authorization": f"Token {secret or api.token}"})
    (found,) = [part for part in answer.text.split('"') if "/changes?" in part]
    return found.replace("&amp;", "&")


def deliver(api: ApiServer) -> None:
    repository = projects.list_repositories(api.db, api.demo.id)[0].id
    deliveries.store(api.db, Received(repository, "plain", "push", body=b"{}"), "1")


def measure(api: ApiServer) -> None:
    with transaction(api.db):
        metadata.add(api.db, 1, [(1, {"loss": 0.5})])


def silence(api: ApiServer) -> None:
    runner = runners.find_by_name(api.db, "one")
    assert runner is not None
    runners.presume_silent(api.db, runner.id, 60)


@pytest.mark.parametrize(("page", "change"), [
    ("/p/demo/", lambda api: api.add_execution()),
    ("/p/demo/", measure),
    ("/p/demo/tasks/", lambda api: api.add_task()),
    ("/p/demo/pipelines/", lambda api: api.add_pipeline(("a", "execution"))),
    ("/p/demo/commits/", lambda api: api.add_commit(api.demo, "5" * 40)),
    ("/p/demo/activity/", deliver),
    ("/runners/", silence),
    ("/environments/", silence),
    ("/environments/", lambda api: execute(api.db, "UPDATE environment SET description = 'other'")),
    ("/", lambda api: api.project("other")),
    ("/", lambda api: api.add_execution()),
    ("/", deliver),
])  # fmt: skip
def test_a_change_of_another_process_is_told_to_the_page_that_shows_it(
    site: tuple[ApiServer, str], page: str, change: Change
) -> None:
    api, url = site
    with following(url, address(api, page), api.token) as kinds:
        change(api)  # with a connection of its own, and without a word to the server
        assert next(kinds) == "changed"


def test_a_change_between_a_page_and_its_stream_is_told(site: tuple[ApiServer, str]) -> None:
    api, url = site
    before = address(api, "/p/demo/")
    api.add_execution()
    headers = api.as_admin
    with httpx.stream("GET", url + before, headers=headers, timeout=20, trust_env=False) as answer:
        kinds = (line for line in answer.iter_lines() if line.startswith("event: "))
        wait_for(lambda: next(kinds) == "event: changed", 20, 0)


def test_a_page_of_a_project_hears_nothing_of_others(site: tuple[ApiServer, str]) -> None:
    api, url = site
    other = api.project("other")
    commit = api.add_commit(other, "5" * 40)
    watch: changes.ChangeWatch = api.app.extensions[changes.WATCH]
    with following(url, address(api, "/p/demo/"), api.token) as kinds:
        (follower,) = watch.followers
        assert follower.shown == {f"{topic} {api.demo.id}" for topic in ("runs", "values", "pushes")}
        wait_for(lambda: watch.number(follower.shown))
        before = watch.number(follower.shown)
        api.add_execution(commit)
        wait_for(lambda: watch.number([f"runs {other.id}"]) > before)
        assert watch.number(follower.shown) == before
        api.add_execution()
        assert next(kinds) == "changed"


def test_the_first_page_of_a_user_hears_of_visible_projects_only(site: tuple[ApiServer, str]) -> None:
    api, url = site
    other = api.project("other")
    commit = api.add_commit(other, "5" * 40)
    grace = identities.add_user(api.db, "grace", is_admin=False)
    members.set_role(api.db, api.demo.id, grace.id, Role.READER)
    secret = identities.create_token(api.db, "grace", [Scope.READ]).secret
    watch: changes.ChangeWatch = api.app.extensions[changes.WATCH]
    with following(url, address(api, "/", secret), secret):
        (follower,) = watch.followers
        assert f"runs {api.demo.id}" in follower.shown
        assert f"runs {other.id}" not in follower.shown
        assert "any pushes" not in follower.shown
        members.set_role(api.db, other.id, grace.id, Role.READER)
        wait_for(lambda: f"runs {other.id}" in follower.shown)
        assert commit.project_id == other.id


def test_a_stream_ends_with_the_role_that_allowed_it(
    site: tuple[ApiServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 1000)
    api, url = site
    grace = identities.add_user(api.db, "grace", is_admin=False)
    members.set_role(api.db, api.demo.id, grace.id, Role.READER)
    secret = identities.create_token(api.db, "grace", [Scope.READ]).secret
    with following(url, address(api, "/p/demo/", secret), secret) as kinds:
        identities.set_role(api.db, api.demo, "grace", None)
        assert set(kinds) <= {"beat", "changed"}  # until the server ends it


def test_streams_share_the_bound_of_live_pages_and_give_their_place_back(site: tuple[ApiServer, str]) -> None:
    api, url = site
    path = address(api, "/")
    with following(url, path, api.token), following(url, path, api.token):
        with following(url, path, api.token):
            refused = httpx.get(url + path, headers=api.as_admin, trust_env=False)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert "3 live pages are open" in refused.text

        def accepted() -> bool:
            with httpx.stream("GET", url + path, headers=api.as_admin, trust_env=False) as answer:
                return answer.status_code == 200

        wait_for(accepted)


def test_all_pages_that_a_change_concerns_fetch_over_a_time_that_grows_with_their_number(
    site: tuple[ApiServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FETCHES_PER_S", 0.5)
    api, url = site
    with httpx.stream("GET", url + address(api, "/"), headers=api.as_admin, timeout=20, trust_env=False) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line == "event: beat")
        api.add_execution()
        data = next(line for line in lines if line.startswith("data: ") and line != "data: {}")
        assert json.loads(data.removeprefix("data: ")) == {"within_ms": 2000}


@pytest.mark.parametrize("query", ["of=nothing", "of=runs&after=x", "of=runs&after=-1"])
def test_a_stream_of_what_there_is_not_is_refused(site: tuple[ApiServer, str], query: str) -> None:
    api, _ = site
    assert api.client.get(f"/p/demo/changes?{query}", headers=api.as_admin).status_code == 400


def test_all_followers_share_one_look(site: tuple[ApiServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    api, url = site
    watch: changes.ChangeWatch = api.app.extensions[changes.WATCH]
    look, active, most = watch.look, threading.Semaphore(1), []

    def counted(db: Any) -> Any:
        most.append(active.acquire(blocking=False))
        try:
            return look(db)
        finally:
            active.release()

    monkeypatch.setattr(watch, "look", counted)
    path = address(api, "/")
    with following(url, path, api.token) as first, following(url, path, api.token) as second:
        api.add_execution()
        assert (next(first), next(second)) == ("changed", "changed")
    assert all(most)

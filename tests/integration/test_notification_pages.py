"""The section Notifications of the settings: what was posted to forges, the problems, and how to fix them."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from command_line import pushmill
from site_client import Person

from core import clock
from core.errors import InvalidInput
from hooks.apis.base import CommitState
from web.services.repositories import credentials, hosting
from web.store import forge_access as stored_access
from web.store import outbox, projects, statuses
from web.store.db import Database, execute, fetch_rows, transaction
from web.store.statuses import PostedStatus

SHA = "a" * 40
URL = "https://pushmill.example.org"
EVIL = "<script>alert(1)</script>\n\u202e"


class Site:
    def __init__(self, data: Path, **sections: Any) -> None:
        self.api = ApiServer(data, **sections)
        execute(self.api.db, "UPDATE repository SET forge = 'github', url = 'https://github.com/ada/model.git'")
        self.person = Person(self.api)
        self.person.log_in()

    @property
    def repository(self) -> Any:
        return projects.list_repositories(self.api.db, self.api.demo.id)[0]

    def set_token(self) -> None:
        credentials.set_token(self.api.context, self.repository, "ghp_token")

    def page(self, path: str = "settings/notifications/") -> str:
        answer = self.person.get(f"/p/demo/{path}")
        assert answer.status_code == 200
        return answer.text

    def post(self, what: str, **form: str) -> int:
        return self.person.post(
            f"/p/demo/settings/notifications/{what}", "/p/demo/settings/notifications/", **form
        ).status_code


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "data", server={"url": URL})
    yield site
    site.api.close()


def record(db: Database, repository_id: int, sha: str, context: str, problem: str = "") -> None:
    status = PostedStatus(
        sha=sha, context=context, state=CommitState.SUCCESS, description="d", url=URL, problem=problem
    )
    statuses.record(db, repository_id, status)


def test_it_says_why_nothing_is_told(site: Site, tmp_path: Path) -> None:
    assert "Nothing is posted: set an API token" in site.page()
    execute(site.api.db, "UPDATE repository SET forge = 'gogs'")
    assert "Gogs has no API for statuses" in site.page()
    execute(site.api.db, "UPDATE repository SET forge = 'hosted'")
    assert "this project is pushed to this server" in site.page()
    without = Site(tmp_path / "without")
    without.set_token()
    assert "Nothing is posted: set <code>url</code> under [server]" in without.page()
    without.api.close()


def test_it_says_what_was_told_and_what_is_wrong_with_the_way_out(site: Site) -> None:
    site.set_token()
    db, repository = site.api.db, site.repository
    assert "<code>https://api.github.com</code>" in site.page()
    assert "Nothing yet." in site.page()
    assert "Try again" not in site.page()
    with transaction(db):
        record(db, repository.id, SHA, "pushmill/train")
        record(db, repository.id, SHA, f"pushmill/{EVIL}", f"422 {EVIL}")
        outbox.enqueue(db, repository.id, outbox.OutboxKind.COMMENT, "7")
        line = outbox.find_next_due(db, repository.id)
        execute(db, "UPDATE outbox SET due_at = NULL, problem = ?", (f"given up after a day: {EVIL}",))
        stored_access.pause_posting(db, repository.id, clock.add_to_now(3600))
        stored_access.stop_posting(
            db, repository.id, stored_access.find_token(db, repository.id) or b"", f"refused: 401 {EVIL}"
        )
    assert line is None
    page = site.page()
    shown = html.unescape(page)
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "Posting is off:</strong> refused: 401" in shown
    assert "comment on pull request 7: given up after a day" in shown
    assert "aaaaaaaa</a> pushmill/<script>" in shown
    assert "Next attempt" in shown
    assert ">pushmill/train</td><td>success</td>" in page
    assert site.post("retry") == 303
    assert "Posting is off" not in site.page()
    assert site.repository.api_problem == ""
    assert site.repository.api_retry_at is None
    assert {
        (found["kind"], found["subject"]) for found in fetch_rows(db, "SELECT * FROM outbox WHERE due_at IS NOT NULL")
    } >= {
        ("status", SHA),
        ("comment", "7"),
    }


def test_the_commits_page_says_what_the_forge_was_told(site: Site) -> None:
    sha = site.api.commit.identifier
    with transaction(site.api.db):
        record(site.api.db, site.repository.id, sha, "pushmill")
        record(site.api.db, site.repository.id, sha, "pushmill/a", "422 full")
    page = site.page(f"commits/{sha}/")
    assert "2 statuses posted to" in page
    assert "GitHub rejected pushmill/a: 422 full." in page


def test_comments_are_switched_on_and_off_by_page_and_command_line(site: Site) -> None:
    assert site.post("comments", comments="on") == 303
    assert projects.get_by_name(site.api.db, "demo").comments
    assert 'name="comments" checked' in site.page()
    assert site.post("comments") == 303
    assert not projects.get_by_name(site.api.db, "demo").comments
    done = pushmill(site.api.config.data, "project", "comments", "demo", "on")
    assert done.stdout == "Pull requests of project demo now get one comment.\n"
    assert projects.get_by_name(site.api.db, "demo").comments


def test_a_token_is_never_shown_and_goes_no_further_than_its_host(site: Site) -> None:
    site.set_token()
    assert "ghp_token" not in site.page()
    stored = fetch_rows(site.api.db, "SELECT api_token FROM repository WHERE id = ?", (site.repository.id,))[0][
        "api_token"
    ]
    assert b"ghp_token" not in stored
    hosting.set_url(site.api.context, site.api.demo, "https://github.com/ada/renamed.git", None)
    assert site.repository.has_token
    hosting.set_url(site.api.context, site.api.demo, "https://github.example.org/ada/m.git", None)
    assert not site.repository.has_token


@pytest.mark.parametrize("token", ["a b c d", "tok\nen", "t", "töken", "x" * 2001])
def test_what_cannot_be_a_token_is_refused_without_being_repeated(site: Site, token: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        credentials.set_token(site.api.context, site.repository, token)
    assert token not in str(refused.value) or len(token) == 1

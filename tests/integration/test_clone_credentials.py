"""User and password of a clone URL are stored separately and encrypted, used for fetching, and never shown."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from api_server import ApiServer
from git_over_http import GitServer, served
from instance import Checkout
from push_server import PushServer, bare_repository, step
from site_client import Person
from test_webhooks_of_forges import pushmill

from core.errors import GitDenied
from core.model import Repository
from web.services import setup
from web.services.repositories import git_logins, hosting, remotes
from web.store import projects
from web.store.db import execute

PASSWORD = "p@ss-5ca1ab1e-word"
TYPED = "p%40ss-5ca1ab1e-word"


@pytest.fixture
def gogs(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[GitServer]:
    """A private repository model.git with one commit, for ada alone; the server may fetch over http."""
    (tmp_path / "served").mkdir()
    path = bare_repository(tmp_path / "served" / "model.git")
    checkout.commit({"valohai.yaml": step("train")})
    checkout.git("push", "-q", str(path), "HEAD:main")
    (pushes.config.data / "config.toml").write_text("[git]\nallow_http = true\n")
    pushes.with_git(allow_http=True)
    with served(tmp_path / "served", "ada", PASSWORD) as server:
        yield server


def url(server: GitServer, login: str = f"ada:{TYPED}@") -> str:
    return f"http://{login}127.0.0.1:{server.server_port}/git/model.git"


def repository(pushes: PushServer) -> Repository:
    return projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]


def on_disk(pushes: PushServer, *secrets: str) -> str:
    """The files below the data directory that contain one of these."""
    patterns = [part for secret in secrets for part in ("-e", secret)]
    return subprocess.run(["grep", "-raFl", *patterns, str(pushes.config.data)], capture_output=True, text=True).stdout


def test_they_fetch_and_are_neither_shown_nor_stored_in_clear(pushes: PushServer, gogs: GitServer) -> None:
    added = pushmill(pushes, "add", "model", "--repo", url(gogs), "--forge", "gogs", "--json")
    assert json.loads(added.stdout)["repository"] == url(gogs, "")
    found = json.loads(pushmill(pushes, "check", "model", "--json").stdout)
    assert found[0]["level"] == "ok", found[0]
    said = added.stdout + added.stderr + "".join(pushmill(pushes, name, "model").stdout for name in ("show", "check"))
    assert PASSWORD not in said
    assert TYPED not in said
    assert "ada:" not in said
    assert "ada@" not in said
    assert repository(pushes).url == url(gogs, "")
    assert on_disk(pushes, PASSWORD, TYPED) == ""


def test_neither_the_api_nor_a_page_returns_them(api: ApiServer) -> None:
    typed = f"https://ada:{TYPED}@git.example.org/ada/model.git"
    made, _ = hosting.add_project(api.context, "model", api.admin.id, forge="gogs", url=typed)
    detail = api.json(f"projects/{made.uuid}/")
    assert detail["repository"]["url"] == "https://git.example.org/ada/model.git"
    person = Person(api)
    person.log_in()
    page = person.get("/p/model/settings/").text
    assert "https://git.example.org/ada/model.git" in page
    assert "stored encrypted" in page
    for shown in (json.dumps(detail), page):
        assert PASSWORD not in shown
        assert TYPED not in shown


def test_those_that_an_older_version_stored_in_the_url_are_split_at_the_start(
    pushes: PushServer, gogs: GitServer
) -> None:
    pushes.add_project("model", "gogs", url(gogs, ""))
    pushes.add_project("other", "gogs", "git@git.example.org:ada/other.git")
    pushes.add_project("third", "gogs", "https://git.example.org/ada/a@b.git")
    execute(
        pushes.db,
        "UPDATE repository SET url = ?, fetch_problem = ? WHERE id = ?",
        (url(gogs), f"it said {PASSWORD}", repository(pushes).id),
    )
    pushes.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert on_disk(pushes, TYPED)
    for _ in range(2):
        setup.prepare(pushes.config)
        assert repository(pushes).url == url(gogs, "")
        assert repository(pushes).fetch_problem == "it said …"
        assert git_logins.load_login(pushes.context, repository(pushes).id) == ("ada", PASSWORD)
        assert on_disk(pushes, TYPED, PASSWORD) == ""
    urls = [item.url for item in projects.list_remote_repositories(pushes.db)]
    assert urls[1:] == ["git@git.example.org:ada/other.git", "https://git.example.org/ada/a@b.git"]
    assert "refs/heads/main" in remotes.list_refs(pushes.context, repository(pushes))


def test_a_start_that_ends_while_it_splits_leaves_all_as_it_was(pushes: PushServer, gogs: GitServer) -> None:
    for name in ("model", "other"):
        pushes.add_project(name, "gogs", url(gogs, ""))
    execute(pushes.db, "UPDATE repository SET url = ?", (url(gogs),))
    fault = "CREATE TRIGGER fault BEFORE UPDATE OF git_login ON repository WHEN OLD.id = 2 BEGIN SELECT RAISE(FAIL, 'x'); END"
    pushes.db.execute(fault)
    with pytest.raises(sqlite3.IntegrityError):
        setup.prepare(pushes.config)
    assert {item.url for item in projects.list_remote_repositories(pushes.db)} == {url(gogs)}
    pushes.db.execute("DROP TRIGGER fault")
    setup.prepare(pushes.config)
    assert {item.url for item in projects.list_remote_repositories(pushes.db)} == {url(gogs, "")}


def test_another_url_replaces_them(pushes: PushServer, gogs: GitServer) -> None:
    pushmill(pushes, "add", "model", "--repo", url(gogs), "--forge", "gogs")
    said = pushmill(pushes, "set-url", "model", url(gogs, "")).stdout
    assert "The user and password of the old URL are deleted" in said
    assert not repository(pushes).has_login
    pushmill(pushes, "set-url", "model", url(gogs, f"bob:{TYPED}@"))
    assert git_logins.load_login(pushes.context, repository(pushes).id) == ("bob", PASSWORD)


def test_a_url_is_read_from_a_pipe(pushes: PushServer, gogs: GitServer) -> None:
    added = pushmill(pushes, "add", "model", "--repo", "-", "--forge", "gogs", stdin=f"{url(gogs)}\n")
    assert added.returncode == 0, added.stderr
    assert git_logins.load_login(pushes.context, repository(pushes).id) == ("ada", PASSWORD)
    assert pushmill(pushes, "set-url", "model", "-", stdin=url(gogs, f"bob:{TYPED}@")).returncode == 0
    assert git_logins.load_login(pushes.context, repository(pushes).id) == ("bob", PASSWORD)


@pytest.mark.parametrize(
    ("forge", "login", "way_out"),
    [
        ("gogs", "", "`pushmill project set-url model http://USER:TOKEN@127.0.0.1:"),
        ("gogs", "ada:wrong@", "`pushmill project set-url model http://USER:TOKEN@127.0.0.1:"),
        ("github", "", "`pushmill project set-token model` stores a token"),
        ("github", "ada@", "`pushmill project set-token model` stores a token"),
        ("github", "ada:wrong@", "`pushmill project set-url model http://USER:TOKEN@127.0.0.1:"),
    ],
)
def test_what_is_missing_is_said_with_the_way_out_that_works(
    pushes: PushServer, gogs: GitServer, forge: str, login: str, way_out: str
) -> None:
    pushmill(pushes, "add", "model", "--repo", url(gogs, login), "--forge", forge)
    message = json.loads(pushmill(pushes, "check", "model", "--json").stdout)[0]["message"]
    assert way_out in message
    assert "wrong@" not in message


def test_a_forge_without_an_api_is_said_to_want_user_and_token_in_the_url(pushes: PushServer) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://git.example.org/ada/model.git", "--forge", "gogs")
    refused = pushmill(pushes, "set-token", "model", stdin="5ca1ab1e")
    assert refused.returncode == 1
    assert "https://USER:TOKEN@HOST/PATH" in refused.stderr


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"you sent {self.headers.get('Authorization')}".encode()
        self.send_response(403 if self.headers.get("Authorization") else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


def test_a_forge_that_sends_them_back_makes_them_part_of_no_message(pushes: PushServer) -> None:
    pushes.with_git(allow_http=True)
    token = "5ca1ab1e5ca1ab1e5ca1ab1e"  # as GitHub takes it: in the place of the user
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        pushes.add_project("model", "gogs", f"http://{token}:x-oauth-basic@127.0.0.1:{server.server_port}/a/b.git")
        with pytest.raises(GitDenied, match="you sent Basic …") as denied:
            remotes.list_refs(pushes.context, repository(pushes))
        server.shutdown()
    assert token not in str(denied.value)


def test_a_url_that_cannot_be_fetched_is_refused_without_its_password(pushes: PushServer) -> None:
    refused = pushmill(pushes, "add", "model", "--repo", f"ftp://ada:{TYPED}@git.example.org/a/b", "--forge", "plain")
    assert refused.returncode == 1
    assert "5ca1ab1e" not in refused.stderr

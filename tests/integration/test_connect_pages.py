"""Connecting a repository on the pages: errors and rights of each step, and that no stored secret is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer
from fake_forge import FakeForge
from fake_forge_apis import TOKEN
from git_over_http import GitServer, served
from instance import Checkout, wait_for
from push_server import bare_repository, step
from site_client import Person
from test_runner_pages import person_of

from core.rights import Role
from web.services.checks import background
from web.services.checks.background import Checked
from web.services.repositories import hosting
from web.store import members, projects, users

LONG = 60.0


@pytest.fixture
def git(tmp_path: Path, checkout: Checkout) -> Iterator[GitServer]:
    """A private repository with a step, which the token of GitHub opens."""
    root = tmp_path / "served"
    root.mkdir()
    with served(root, "x-access-token", TOKEN) as git:
        path = bare_repository(root / "model.git")
        checkout.commit({"valohai.yaml": step("train")})
        checkout.git("push", "-q", str(path), "HEAD:main")
        yield git


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    url = "https://pushmill.example"
    server = ApiServer(tmp_path / "data", git={"allow_http": True}, server={"url": url})
    server.app.config["SESSION_COOKIE_SECURE"] = False
    yield server
    server.close()


@pytest.fixture
def admin(api: ApiServer) -> Person:
    return person_of(api)


def checked(api: ApiServer, person: Person, name: str) -> Checked:
    """Start the checks on the page, and return their result."""
    assert person.post(f"/p/{name}/connect/checks", "/runners/").status_code == 303
    checks = api.app.extensions["pushmill"].checks
    number = projects.get_by_name(api.db, name).id
    wait_for(lambda: checks.newest(number).done, LONG)
    found: Checked = checks.newest(number)
    return found


def test_a_repository_is_connected_step_by_step(
    api: ApiServer, admin: Person, git: GitServer, forge: FakeForge
) -> None:
    forge.full_name = "git/model"
    added = admin.post("/connect/", "/runners/", url=f"{git.url}/git/model.git", forge="github")
    assert added.headers["Location"] == "/p/model/connect/access/"
    page = admin.get("/p/model/connect/access/").text
    assert ">Saved<" in page
    assert "Contents: read" in page
    assert ">Saved<" not in admin.get("/p/model/connect/access/").text
    stored = admin.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url=forge.api_url)
    assert stored.headers["Location"] == "/p/model/connect/webhook/"
    assert ">Saved<" in admin.get("/p/model/connect/webhook/").text
    made = admin.post("/p/model/connect/webhook", "/runners/").text
    assert "Created the webhook" in made
    assert len(forge.hooks) == 1
    forge.delivers = False
    levels = {finding.check: finding.level for finding in checked(api, admin, "model").findings}
    assert levels["repository"] == levels["token"] == levels["valohai.yaml"] == levels["status"] == "ok"
    page = admin.get("/p/model/connect/checks/").text
    assert "1 step at main" in page
    assert "1 check failed" in page  # the test delivery
    assert TOKEN not in "".join(
        admin.get(f"/p/model/{place}").text
        for place in ("connect/", "connect/access/", "connect/webhook/", "settings/")
    )
    assert members.find_role(api.db, api.admin.id, projects.get_by_name(api.db, "model").id) is Role.OWNER


@pytest.mark.parametrize(
    ("form", "said", "kept"),
    [
        ({"url": ""}, "enter the URL", ""),
        ({"url": "http://host/a b"}, "it contains a space", "http://host/a b"),
        ({"url": "ext::sh -c id"}, "asks git to run a helper program", "ext::sh -c id"),
        ({"url": "file:///etc"}, "repositories on the server&#39;s disk are off", "file:///etc"),
        ({"url": "--upload-pack=x"}, "would be an option of git", "--upload-pack=x"),
        ({"url": "https://host/a", "name": "No Name"}, "No Name", "https://host/a"),
        ({"url": "https://host/a", "name": "demo"}, "already exists", "https://host/a"),
        ({"url": "https://host/a", "forge": "nowhere"}, "unknown Git host", "https://host/a"),
    ],
)
def test_a_refused_url_or_name_stands_at_its_field_with_what_was_typed(
    api: ApiServer, admin: Person, form: dict[str, str], said: str, kept: str
) -> None:
    answer = admin.post("/connect/", "/runners/", **form)
    assert answer.status_code in (400, 409)
    assert said in answer.text
    assert 'class="field-error"' in answer.text
    assert f'value="{kept}"' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert [found.name for found in projects.list_projects(api.db)] == ["demo"]


def test_a_key_is_shown_for_ssh_and_user_and_password_never_again(api: ApiServer, admin: Person) -> None:
    admin.post("/connect/", "/runners/", url="git@gitlab.com:ada/model.git")
    page = admin.get("/p/model/connect/access/").text
    assert "ssh-ed25519 " in page
    assert "https://gitlab.com/ada/model/-/settings/repository" in page
    admin.post("/connect/", "/runners/", url="https://ada:5ca1ab1e@gogs.example.org/ada/other.git")
    project = projects.get_by_name(api.db, "other")
    for step_ in ("", "access/", "webhook/", "checks/"):
        assert "5ca1ab1e" not in admin.get(f"/p/other/connect/{step_}").text
    assert admin.post("/p/other/connect/", "/runners/", url="https://gogs.example.org/ada/other.git", forge="gogs")
    assert hosting.get_repository(api.db, project).has_login, "a form that changed nothing leaves the login"
    changed = admin.post("/p/other/connect/", "/runners/", url="https://gogs.example.org/ada/renamed.git")
    assert changed.status_code == 303
    repository = hosting.get_repository(api.db, project)
    assert (repository.url, repository.has_login) == ("https://gogs.example.org/ada/renamed.git", False)


def test_a_token_is_sent_to_the_host_of_the_repository_alone(api: ApiServer, admin: Person) -> None:
    admin.post("/connect/", "/runners/", url="https://gitea.example.org/ada/model.git")
    project = projects.get_by_name(api.db, "model")
    for url in ("http://169.254.169.254/latest", "https://gitea.example.org.evil/api", "https://[", "file:///etc"):
        refused = admin.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url=url)
        assert refused.status_code == 400
        assert "the API must be on the host of the repository" in refused.text
        assert f'value="{url}"' in refused.text
        assert TOKEN not in refused.text
    assert not hosting.get_repository(api.db, project).has_token
    assert admin.post("/p/model/connect/access", "/runners/").status_code == 400
    own = "https://gitea.example.org:3000/api/v1"
    assert admin.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url=own).status_code == 303
    assert hosting.get_repository(api.db, project).api_url == own
    assert admin.post("/p/model/connect/access", "/runners/", api_url="").status_code == 303
    repository = hosting.get_repository(api.db, project)
    assert (repository.has_token, repository.api_url) == (True, "")


def test_what_the_forge_refuses_stands_at_the_button(api: ApiServer, admin: Person, forge: FakeForge) -> None:
    forge.full_name = "git/model"
    forge.token = "another"
    admin.post("/connect/", "/runners/", url=f"{forge.origin}/git/model.git", forge="github")
    admin.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url=forge.api_url)
    refused = admin.post("/p/model/connect/webhook", "/runners/")
    assert refused.status_code == 400
    assert "the token is wrong or has expired" in refused.text
    assert TOKEN not in refused.text
    assert forge.hooks == []


def test_a_new_secret_is_shown_once(api: ApiServer, admin: Person) -> None:
    admin.post("/connect/", "/runners/", url="https://git.example.org/ada/model.git")
    repository = hosting.get_repository(api.db, projects.get_by_name(api.db, "model"))
    vault = api.app.extensions["pushmill"].vault
    before = vault.decrypt(projects.get_secret(api.db, repository.id)).decode()
    assert before not in admin.get("/p/model/connect/webhook/").text
    shown = admin.post("/p/model/connect/webhook/secret", "/runners/")
    secret = vault.decrypt(projects.get_secret(api.db, repository.id)).decode()
    assert secret != before
    assert secret in shown.text
    assert "pushmill hook install /path/to/repository.git --project model" in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    assert secret not in admin.get("/p/model/connect/webhook/").text


def test_a_project_that_is_pushed_to_has_the_checks_alone(api: ApiServer, admin: Person) -> None:
    for step_ in ("", "access/", "webhook/"):
        assert admin.get(f"/p/demo/connect/{step_}").headers["Location"] == "/p/demo/connect/checks/"
    for form in ("", "access", "webhook", "webhook/secret"):
        assert admin.post(f"/p/demo/connect/{form}", "/runners/").headers["Location"] == "/p/demo/connect/checks/"
    found = checked(api, admin, "demo")
    assert [(finding.check, finding.level) for finding in found.findings] == [
        ("repository", "ok"), ("valohai.yaml", "warn"),
    ]  # fmt: skip


def test_checks_of_a_forge_that_hangs_delay_no_page(api: ApiServer, admin: Person, forge: FakeForge) -> None:
    forge.full_name = "git/model"
    hanging = forge.hang(times=10**6)
    admin.post("/connect/", "/runners/", url=f"{forge.origin}/git/model.git", forge="github")
    admin.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url=forge.api_url)
    assert admin.post("/p/model/connect/checks", "/runners/").status_code == 303
    page = admin.get("/p/model/connect/checks/").text
    assert "Checking…" in page
    assert "data-running" in page
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    checks = api.app.extensions["pushmill"].checks
    first = checks.newest(projects.get_by_name(api.db, "model").id)
    assert admin.post("/p/model/connect/checks", "/runners/").status_code == 303
    assert checks.newest(projects.get_by_name(api.db, "model").id) is first, "it is checked once at a time"
    hanging.set()
    wait_for(lambda: first.done, LONG)


def test_too_many_checks_at_once_are_refused_on_the_page(
    api: ApiServer, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.app.extensions["pushmill"].checks._threads, "_limit", 0)
    refused = admin.post("/p/demo/connect/checks", "/runners/")
    assert refused.status_code == 409
    assert background.BUSY in refused.text


def test_only_admins_choose_urls_and_owners_do_the_rest(api: ApiServer, admin: Person) -> None:
    admin.post("/connect/", "/runners/", url="https://github.com/ada/model.git")
    owner = person_of(api, "grace")
    grace = users.find_by_name(api.db, "grace")
    assert grace is not None
    assert "Connect a repository" not in owner.get("/").text
    assert owner.get("/connect/").status_code == 403
    assert owner.get("/p/model/connect/").status_code == 404
    members.set_role(api.db, projects.get_by_name(api.db, "model").id, grace.id, Role.OWNER)
    page = owner.get("/p/model/connect/").text
    assert "https://github.com/ada/model.git" in page
    assert 'name="url"' not in page
    assert owner.post("/p/model/connect/", "/runners/", url="https://host/x").status_code == 403
    assert 'name="api_url"' not in owner.get("/p/model/connect/access/").text
    stored = owner.post("/p/model/connect/access", "/runners/", token=TOKEN, api_url="https://github.com:8443/api")
    assert stored.status_code == 303
    assert hosting.get_repository(api.db, projects.get_by_name(api.db, "model")).api_url == ""
    assert owner.get("/p/model/connect/checks/").status_code == 200


def test_an_empty_project_says_what_it_waits_for(admin: Person) -> None:
    admin.post("/connect/", "/runners/", url="https://github.com/ada/model.git")
    for page in ("", "commits/", "activity/"):
        text = admin.get(f"/p/model/{page}").text
        assert "Waiting for a push to the repository on its Git host." in text
        assert "git push http" not in text
        assert "Waiting for a push to the repository" not in admin.get(f"/p/demo/{page}").text
    for page in ("tasks/", "pipelines/"):
        assert "git push" not in admin.get(f"/p/model/{page}").text
        assert "git push -o pushmill." in admin.get(f"/p/demo/{page}").text


def test_the_webhook_step_says_what_the_server_lacks(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "alone", git={"allow_http": True})
    try:
        admin = person_of(api)
        admin.post("/connect/", "/runners/", url="https://github.com/ada/model.git")
        assert "url = &#34;https://pushmill.example.org&#34;" in admin.get("/p/model/connect/webhook/").text
    finally:
        api.close()


def test_commands_in_a_way_out_have_a_copy_button(api: ApiServer, admin: Person, git: GitServer) -> None:
    admin.post("/connect/", "/runners/", url=f"{git.url}/git/model.git", forge="github")
    git.redirect = "https://example.org"
    found = checked(api, admin, "model")
    assert found.count("fail") >= 1
    page = admin.get("/p/model/connect/checks/").text
    command = "<code>pushmill project set-url NAME https://example.org/git/model.git</code>"
    assert f'{command} <button type="button" class="copy">Copy</button>' in page
    assert 'href="/p/model/connect/access/">Go to step Access' in page
    assert "skipped" in page

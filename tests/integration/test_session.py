"""Logging in and out, and pages that require a login."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_server import ApiServer
from site_client import Person


@pytest.fixture
def person(api: ApiServer) -> Person:
    return Person(api)


def test_one_comes_back_to_the_page_one_asked_for(person: Person) -> None:
    asked = person.get("/p/demo/?sort=step")
    assert asked.status_code == 303
    assert asked.location == "/login?next=/p/demo/?sort%3Dstep"
    answer = person.log_in(next="/p/demo/?sort=step")
    assert (answer.status_code, answer.location) == (303, "/p/demo/?sort=step")
    assert person.get("/p/demo/").status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "", "/\t/evil.example"],
)
def test_a_link_cannot_send_one_elsewhere_after_the_login(person: Person, elsewhere: str) -> None:
    assert person.log_in(next=elsewhere).location == "/"


@pytest.mark.parametrize(("username", "token"), [("admin", "pm_wrong"), ("nobody", ""), ("ädmin", ""), ("", "x")])
def test_name_and_token_must_belong_together(person: Person, username: str, token: str) -> None:
    answer = person.log_in(username, token)
    assert answer.status_code == 401
    assert "Wrong user name, password or token" in answer.text
    assert person.get("/").status_code == 303


def test_guessing_is_bounded(person: Person) -> None:
    for _ in range(10):
        assert person.log_in(token="pm_wrong").status_code == 401
    answer = person.log_in()
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")


def test_the_session_is_a_new_one_after_the_login(person: Person) -> None:
    before = person.csrf()
    person.log_in()
    assert person.csrf("/") != before


def test_out_is_out(person: Person) -> None:
    person.log_in()
    assert person.post("/logout", "/").status_code == 303
    assert person.get("/").status_code == 303


def test_the_cookie_is_not_for_scripts_and_not_for_other_sites(person: Person) -> None:
    cookie = person.log_in().headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(("url", "secure"), [("https://pushmill.example.org", True), ("http://gpu-1.lan:8000", False)])
def test_the_cookie_of_a_server_with_tls_is_sent_with_tls_alone(tmp_path: Path, url: str, secure: bool) -> None:
    api = ApiServer(tmp_path / "data", server={"url": url})
    client = api.app.test_client()
    cookie = client.get("/login", base_url=url).headers["Set-Cookie"]
    assert ("Secure" in cookie) is secure
    api.close()


def test_no_form_works_without_its_token(person: Person, api: ApiServer) -> None:
    execution = api.add_execution()
    person.log_in()
    for path in (f"/p/demo/executions/{execution.counter}/stop", "/logout", "/login", "/appearance"):
        assert person.client.post(path, data={"theme": "dark"}).status_code == 403, path
    assert api.execution(execution.uuid).stop_count == 0


def test_the_appearance_is_kept_in_a_cookie(person: Person) -> None:
    person.log_in()
    assert person.post("/appearance", "/", theme="dark", next="/runners/").location == "/runners/"
    assert 'data-theme="dark"' in person.get("/").text
    assert person.post("/appearance", "/", theme="pink").status_code == 400

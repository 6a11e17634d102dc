"""What forms answer: problems at their field, what was typed, "Saved" once, and errors that lead back."""

from __future__ import annotations

import re

import pytest
from api_server import ApiServer
from site_client import Person

from web.http.pages.forms import Form

HERE = "http://localhost"


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


@pytest.mark.parametrize(("path", "page", "form", "status", "kept"), [
    ("/p/demo/settings/runs", "/p/demo/settings/runs/", {"max_executions": "lots"}, 400, "lots"),
    ("/p/demo/settings/members", "/p/demo/settings/members/", {"form": "new", "username": "eve", "role": "reader"}, 404, "eve"),
    ("/p/demo/settings/delete", "/p/demo/settings/delete/", {"confirm": "dem"}, 400, "dem"),
    ("/p/demo/settings/variables", "/p/demo/settings/variables/", {"variable": "VH_JOB_ID", "value": "1"}, 400, "VH_JOB_ID"),
    ("/runners/", "/runners/", {"name": "a b", "environments": "default"}, 400, "a b"),
    ("/runners/", "/runners/", {"name": "one", "environments": "default"}, 409, "one"),
    ("/runners/one/limits", "/runners/", {"slots": "few"}, 400, "few"),
    ("/users/", "/users/", {"username": "admin"}, 409, "admin"),
    ("/auth/tokens/", "/auth/tokens/", {"token_name": "ci", "scope": "read", "days": "x"}, 400, "x"),
])  # fmt: skip
def test_a_refused_form_is_shown_again_with_the_problem_and_what_was_typed(
    person: Person, path: str, page: str, form: dict[str, str], status: int, kept: str
) -> None:
    answer = person.post(path, page, **form)
    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == "no-store"
    field = next(tag for tag in re.findall(r"<input[^>]*>", answer.text) if "aria-invalid" in tag)
    assert f'value="{kept}"' in field
    assert answer.text.count('role="alert"') == 1
    assert "aria-invalid" not in person.get(page).text


def test_a_problem_of_no_one_field_stands_at_the_form(person: Person) -> None:
    answer = person.post("/environments/", "/environments/", slug="gpu", form="", cpus="-1")
    assert (answer.status_code, answer.text.count('role="alert"')) == (400, 1)
    assert 'value="gpu"' in answer.text
    assert 'value="-1"' in answer.text


def test_a_saved_form_says_so_once_at_its_own_place(person: Person) -> None:
    saved = person.post("/p/demo/settings/members", "/runners/", form="admin", username="admin", role="owner")
    assert saved.location == "/p/demo/settings/members/"
    assert "Saved" not in person.get("/p/demo/settings/runs/").text
    assert person.get(saved.location).text.count(">Saved<") == 1
    assert "Saved" not in person.get(saved.location).text


def test_a_project_is_deleted_by_its_name_alone_and_not_while_something_runs(api: ApiServer, person: Person) -> None:
    uuid, _ = api.placed()
    path, page = "/p/demo/settings/delete", "/p/demo/settings/delete/"
    assert "has not ended" in person.get(page).text
    assert person.post(path, page, confirm="demo").status_code == 409
    api.client.post(f"/api/v0/executions/{uuid}/stop/", headers=api.as_admin)
    assert person.post(path, page, confirm="Demo").status_code == 400
    assert person.get("/p/demo/").status_code == 200
    assert person.post(path, page, confirm="demo").status_code == 303
    assert person.get("/p/demo/").status_code == 404


@pytest.mark.parametrize(("referrer", "back"), [
    (f"{HERE}/p/demo/?q=x", "/p/demo/?q=x"), ("http://evil.example/p/demo/", None), (f"{HERE}//evil.example/", None),
    (f"{HERE}:81/p/demo/", None), ("http://localhost.evil.example/", None), (f"{HERE}/p/none/", None), ("", None),
])  # fmt: skip
def test_an_error_leads_back_within_this_server_only(person: Person, referrer: str, back: str | None) -> None:
    page = person.get("/p/none/", headers={"Referer": referrer}).text
    found = re.search(r'<a href="([^"]*)">Back</a>', page)
    assert (found[1] if found else None) == back


def test_a_form_after_the_session_has_ended_leads_to_the_log_in_and_back(api: ApiServer) -> None:
    page = api.app.test_client().post("/runners/one/drain", headers={"Referer": f"{HERE}/runners/"})
    assert page.status_code == 401
    assert 'href="/login?next=/runners/">Log in</a>' in page.text


def test_only_the_form_that_was_refused_shows_what_was_typed() -> None:
    untouched, refused = Form(), Form(problem="no", at="a", typed={"a": "1", "box": "on"})
    assert (untouched.value("a", 5), untouched.checked("box", True), untouched.error()) == (5, True, "")
    assert (refused.value("a", 5), refused.value("b", 5), refused.checked("other", True)) == ("1", "", False)
    assert (refused.error("a"), refused.error(), refused.invalid("b")) == ("no", "", "")

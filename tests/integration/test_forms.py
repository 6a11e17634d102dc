"""Forms show problems at their fields, keep the input, say "Saved" once, and have error pages that lead back."""

from __future__ import annotations

import re

import pytest
from api_server import ApiServer
from site_client import Person
from werkzeug.test import TestResponse

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
    ("/runners/one/limits", "/runners/", {"slots": "1", "projects": "nowhere"}, 404, "nowhere"),
    ("/runners/", "/runners/", {"name": "new", "environments": "a/b"}, 400, "a/b"),
    ("/environments/", "/environments/", {"slug": "gpu", "form": "", "cpus": "-1"}, 400, "-1"),
    ("/environments/", "/environments/", {"slug": "default", "form": "default", "memory": "much"}, 400, "much"),
    ("/environments/", "/environments/", {"slug": "default", "form": "default", "mounts": "data"}, 400, "data"),
    ("/environments/", "/environments/", {"slug": "No Name", "form": ""}, 400, "No Name"),
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


def test_a_problem_of_no_one_field_stands_at_the_form(api: ApiServer, person: Person) -> None:
    uuid, _ = api.placed()
    answer = person.post("/p/demo/settings/delete", "/p/demo/settings/delete/", confirm="demo")
    assert (answer.status_code, answer.text.count('role="alert"')) == (409, 1)
    assert 'value="demo"' in answer.text
    assert api.execution(uuid)


def test_boxes_of_a_refused_form_stay_as_they_were_ticked(person: Person) -> None:
    person.post("/environments/", "/runners/", slug="other", form="")
    answer = person.post("/p/demo/settings/environments", "/runners/", environments="other")
    assert answer.status_code == 400
    assert "allow it too" in answer.text
    assert 'value="other" checked' in answer.text
    assert 'value="default" checked' not in answer.text


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def press(person: Person, path: str, referrer: str, accept: dict[str, str] = BROWSER, **form: str) -> TestResponse:
    """A form without fields of its own, pressed on the page `referrer`."""
    data = {"csrf_token": person.csrf("/runners/"), **form}
    return person.client.post(path, data=data, headers={"Referer": f"{HERE}{referrer}", **accept})


def test_a_refused_button_shows_its_page_with_the_problem_once(api: ApiServer, person: Person) -> None:
    api.placed()
    page = "/p/demo/executions/1/"
    answer = press(person, f"{page}again", page)
    assert (answer.status_code, answer.location) == (303, page)
    shown = person.get(page).text
    assert shown.count('<p class="banner error" role="alert">#1 has not finished: stop it first, or wait</p>') == 1
    assert "has not finished" not in person.get(page).text
    out_of_date = press(person, "/p/demo/settings/badge", "/p/demo/settings/badge/", csrf_token="of another session")
    assert out_of_date.location == "/p/demo/settings/badge/"
    assert "The form was out of date" in person.get("/p/demo/settings/badge/").text


@pytest.mark.parametrize(("referrer", "accept"), [
    ("/p/demo/executions/1/", {"Accept": "*/*"}),  # a script
    ("/", BROWSER), ("/p/demo/executions/1/stop", BROWSER), ("//evil.example/", BROWSER),
])  # fmt: skip
def test_a_problem_is_answered_by_itself_where_there_is_no_page_to_show(
    api: ApiServer, person: Person, referrer: str, accept: dict[str, str]
) -> None:
    api.placed()
    answer = press(person, "/p/demo/executions/1/again", referrer, accept)
    assert answer.status_code == 409
    assert "#1 has not finished" in answer.text
    assert "has not finished" not in person.get("/p/demo/executions/1/").text


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

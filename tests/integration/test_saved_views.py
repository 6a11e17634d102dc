"""Views of the table of executions that members save for each other."""

from __future__ import annotations

import html
import re

import pytest
from api_server import ApiServer
from site_client import Person

from web.store import audit, saved_views
from web.store.db import transaction


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    api.add_execution()
    return person


def save(person: Person, view: str, query: str) -> int:
    form = {"csrf_token": person.csrf("/p/demo/"), "view": view, "query": query}
    return person.client.post("/p/demo/views/save", data=form).status_code


def listed(person: Person) -> list[tuple[str, str]]:
    page = person.get("/p/demo/").text.split('class="views"')[1].split("</details>")[0]
    return [(html.unescape(link), name) for link, name in re.findall(r'<a href="([^"]+)">([^<]+)</a>', page)]


def test_a_view_is_saved_under_a_name_replaced_and_removed(api: ApiServer, person: Person) -> None:
    assert save(person, "Good ones", "?q=steps+%3E+1&sort=-m.loss&col=m.loss&col=step&after=7&pick=1&x=%26") == 303
    link = "/p/demo/?q=steps+%3E+1&sort=-m.loss&col=m.loss&col=step"
    assert listed(person) == [(link, "Good ones")]
    assert person.get(link).status_code == 200
    assert save(person, "Good ones", "?q=steps+%3E+2") == 303
    assert listed(person) == [("/p/demo/?q=steps+%3E+2", "Good ones")]
    form = {"csrf_token": person.csrf("/p/demo/"), "view": "Good ones", "query": "?q=word"}
    answer = person.client.post("/p/demo/views/remove", data=form)
    assert (answer.status_code, answer.location) == (303, "/p/demo/?q=word")
    assert listed(person) == []
    actions = [entry.action for entry in audit.search(api.db, audit.AuditQuery(kind="settings"), 10)]
    assert actions == ["remove", "change", "change"]


def test_views_belong_to_their_project_and_are_bounded(api: ApiServer, person: Person) -> None:
    away = api.project("away")
    with transaction(api.db):
        for number in range(saved_views.MOST):
            saved_views.save(api.db, api.demo.id, f"view {number}", "q=x")
        saved_views.save(api.db, away.id, "elsewhere", "q=x")
    assert save(person, "one more", "") == 409
    assert save(person, "view 7", "q=y") == 303
    names = [name for _, name in listed(person)]
    assert len(names) == saved_views.MOST
    assert "elsewhere" not in names
    for name, query in (("", ""), ("x" * 61, ""), ("a\u202eb", ""), ("long", "q=" + "x" * 4000)):
        assert save(person, name, query) == 400

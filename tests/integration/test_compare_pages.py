"""Comparison of executions, and actions on executions that are chosen in the table."""

from __future__ import annotations

import html
import json
import re
import uuid

import pytest
from api_server import ApiServer
from site_client import Person
from test_pages import EVIL, Live

from core.model import Execution
from core.states import State
from web.config.overrides import MAX_TAGS, TAG_CHARS
from web.http.pages import compare
from web.services.presentation import previews
from web.store import audit, data, executions, metadata
from web.store.db import execute, transaction


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


def ran(api: ApiServer, *values: dict[str, object], **parameters: object) -> Execution:
    uuid = api.finished()
    execution = api.execution(uuid)
    with transaction(api.db):
        given = json.dumps({**execution.parameters, **parameters})
        execute(api.db, "UPDATE execution SET parameters = ? WHERE id = ?", (given, execution.id))
        metadata.add(api.db, execution.id, [(number, line) for number, line in enumerate(values)])
    return execution


def cells(page: str, name: str) -> list[str]:
    """Return the values of a line of the tables with their differences, the baseline first."""
    (row,) = re.findall(rf'<tr><th scope="row" class="first">{name} .*?</tr>', page, re.DOTALL)
    found = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in found]


def test_differences_come_first_with_their_change_from_the_baseline(api: ApiServer, person: Person) -> None:
    ran(api, {"loss": 0.5, "epoch": 1}, {"loss": 0.25, "epoch": 2}, alpha=0.1)
    ran(api, {"loss": 0.75, "epoch": 2}, alpha=0.2)
    page = person.get("/p/demo/compare/?e=1&e=2").text
    differences, identical = page.split("identical</summary>")
    assert cells(differences, "alpha") == ["0.1", "0.2"]
    assert cells(differences, "loss") == ["0.25", "0.75 +0.5"]
    assert "<b>0.25</b>" in differences
    assert cells(identical, "steps") == ["300", "300"]
    assert cells(identical, "epoch") == ["2", "2"]
    other = person.get("/p/demo/compare/?e=1&e=2&base=2").text
    assert cells(other, "loss") == ["0.75", "0.25 \u22120.5"]
    assert 'aria-label="loss of each execution' in page
    assert 'aria-label="loss by alpha of each execution"' in page


def wrote(api: ApiServer, execution: Execution, name: str, size: int = 10) -> str:
    values = {"uuid": str(uuid.uuid4()), "name": name, "size": size, "sha256": "", "sha1": "", "md5": ""}
    with transaction(api.db):
        return data.add(api.db, execution.project_id, execution.id, values).uuid


def test_images_of_the_same_name_stand_side_by_side(api: ApiServer, person: Person) -> None:
    first, second, third = ran(api), ran(api), ran(api)
    wrote(api, first, "maps/Plot.PNG")
    same = [wrote(api, execution, "maps/Plot.PNG") for execution in (first, second)]  # of the first, the newer file
    for name in ("only.png", "model.pt"):
        wrote(api, third, name)
    for execution in (first, second, third):
        wrote(api, execution, "model.pt")
        wrote(api, execution, "large.png", previews.THUMBNAIL_BYTES + 1)
    purged = data.get_by_uuid(api.db, wrote(api, third, "maps/Plot.PNG"))
    with transaction(api.db):
        data.set_purged(api.db, purged)
    images = person.get("/p/demo/compare/?e=3&e=2&e=1").text.partition('id="h-images"')[2]
    assert re.findall(r"<h3>(.*?)</h3>", images) == ["maps/Plot.PNG"]
    assert re.findall(r'<li class="(run-\d)".*?executions/(\d)/media/([0-9a-f-]+)" alt', images, re.DOTALL) == [
        ("run-1", "2", same[1]), ("run-2", "1", same[0]),
    ]  # fmt: skip
    assert "h-images" not in person.get("/p/demo/compare/?e=1").text
    for number in range(compare.NAMES + 1):
        for execution in (first, second):
            wrote(api, execution, f"{number:02}.webp")
    images = person.get("/p/demo/compare/?e=1&e=2").text.partition('id="h-images"')[2]
    assert re.findall(r"<h3>(.*?)</h3>", images) == [f"{number:02}.webp" for number in range(compare.NAMES)]
    assert f"Images with the first {compare.NAMES} names are shown." in images


def test_the_numbers_of_a_chart_are_fetched(api: ApiServer, person: Person) -> None:
    ran(api, {"loss": 0.5}, {"loss": 0.25})
    ran(api, {"note": "a"})
    page = person.get("/p/demo/compare/?e=1&e=2").text
    (address,) = re.findall('data-series="(.*?)"', page)
    assert person.get(html.unescape(address)).json == {"1": [[0, 0.5], [1, 0.25]]}
    assert person.get("/p/demo/compare/series?e=1&key=none").json == {}
    assert person.get("/p/demo/compare/series?key=loss").json == {}


def test_charts_are_over_the_counter_that_all_executions_have_or_the_axis_asked_for(
    api: ApiServer, person: Person
) -> None:
    ran(api, {"epoch": 0}, {"loss": 0.5}, {"epoch": 10}, {"epoch": 20, "loss": 0.25}, {"loss": 0.2})
    ran(api, {"epoch": 3, "loss": 1}, {"epoch": 6, "loss": 0.75})
    page = person.get("/p/demo/compare/?e=1&e=2").text
    assert '<span class="muted">by epoch</span>' in page
    (address,) = re.findall('data-series="(.*?)"', page)
    assert person.get(html.unescape(address)).json == {"1": [[5, 0.5], [20, 0.25]], "2": [[3, 1], [6, 0.75]]}
    ran(api, {"step": 3, "loss": 1}, {"step": 6, "loss": 0.75})
    assert '<span class="muted">by index</span>' in person.get("/p/demo/compare/?e=1&e=2&e=3").text
    page = person.get("/p/demo/compare/?e=1&e=2&axis=time").text
    assert '<option value="time" selected>time (s)</option>' in page
    (address,) = re.findall('data-series="(.*?)"', page)
    assert [value for _, value in person.get(html.unescape(address)).json["1"]] == [0.5, 0.25, 0.2]


def test_a_comparison_is_bounded_and_says_what_it_leaves_out(api: ApiServer, person: Person) -> None:
    for _ in range(compare.MOST + 2):
        api.add_execution()
    every = "&".join(f"e={number}" for number in range(1, compare.MOST + 3))
    page = person.get(f"/p/demo/compare/?{every}").text
    assert "20 executions can be compared at once: 2 more are not shown." in page
    assert page.count('<input type="checkbox" id="run-') == compare.MOST
    assert "#99 does not exist here." in person.get("/p/demo/compare/?e=1&e=99&e=x").text
    assert "Nothing to compare" in person.get("/p/demo/compare/").text


def test_executions_of_other_projects_are_not_compared(api: ApiServer, person: Person) -> None:
    api.project("away")
    ran(api, {"secret": 1})
    assert "secret" not in person.get("/p/away/compare/?e=1").text


def test_nothing_from_outside_is_alive_in_a_comparison(api: ApiServer, person: Person) -> None:
    for number in range(3):
        ran(api, {EVIL: number, "x": EVIL}, {EVIL: number + 1}, **{EVIL: f"{EVIL}{number}", "n": number})
    execute(api.db, "UPDATE execution SET step = ?, title = ?, image = ?", (EVIL, EVIL, EVIL))
    page = person.get(f"/p/demo/compare/?e=1&e=2&e=3&x={EVIL}&y=m.{EVIL}").text
    assert Live(page).found == []
    assert "\x07" not in page


def test_values_without_order_or_end_are_compared(api: ApiServer, person: Person) -> None:
    ran(api, {"loss": 1e308, "note": "a", "list": [1, 2]}, {"loss": -1e308}, {"loss": float("nan")}, alpha=None)
    ran(api, {"loss": 5, "note": 3}, {"loss": 10**15}, alpha="text")
    page = person.get("/p/demo/compare/?e=1&e=2")
    assert page.status_code == 200
    assert cells(page.text, "alpha") == ["", "text"]


def post(person: Person, path: str, counters: list[int], **fields: str) -> int:
    form = {"csrf_token": person.csrf("/p/demo/"), "e": counters, **fields}
    return person.client.post(f"/p/demo/executions/{path}", data=form).status_code


def test_chosen_executions_are_stopped_once(api: ApiServer, person: Person) -> None:
    done = ran(api)
    running = api.execution(api.started()[0])
    for _ in range(2):  # which would kill it, if each counted
        assert post(person, "stop", [done.counter, running.counter]) == 303
    now = executions.get(api.db, running.id)
    assert (now.state, now.stop_count) == (State.STARTED, 1)
    assert post(person, "stop", []) == 400
    assert post(person, "stop", list(range(1, 52))) == 400
    (entry,) = [one for one in audit.search(api.db, audit.AuditQuery(), 50) if one.action == audit.Act.STOP]
    assert entry.name == f"#{running.counter}"


def test_chosen_executions_are_deleted_all_or_none(api: ApiServer, person: Person) -> None:
    done, other = ran(api), ran(api)
    running = api.execution(api.started()[0])
    assert post(person, "delete", [done.counter, running.counter]) == 409
    assert executions.get(api.db, done.id).deleted_at is None
    assert post(person, "delete", [done.counter, other.counter]) == 303
    page = html.unescape(person.get("/p/demo/").text)
    assert re.findall(r">#(\d+)</a></th>", page) == [str(running.counter)]


def test_chosen_executions_are_tagged_and_untagged_all_or_none(api: ApiServer, person: Person) -> None:
    one, other = ran(api), ran(api)
    executions.set_tags(api.db, other, ["old"])
    both = [one.counter, other.counter]

    def tags() -> list[tuple[str, ...]]:
        return [executions.get(api.db, found.id).tags for found in (one, other)]

    assert post(person, "tag", both, tags=" best, paper,,best") == 303
    assert tags() == [("best", "paper"), ("old", "best", "paper")]
    assert post(person, "tag?remove=1", both, tags="old, paper") == 303
    assert tags() == [("best",), ("best",)]
    executions.set_tags(api.db, other, [f"t{number}" for number in range(MAX_TAGS)])
    assert post(person, "tag", both, tags="more") == 400
    assert post(person, "tag", both, tags="x" * (TAG_CHARS + 1)) == 400
    assert post(person, "tag", both, tags="a\u202eb") == 400
    assert tags()[0] == ("best",)
    assert post(person, "tag", both[:1], tags="") == 303
    entries = [one for one in audit.search(api.db, audit.AuditQuery(), 50) if one.detail.startswith("tags:")]
    assert [(entry.name, entry.detail) for entry in entries[1:3]] == [
        (f"#{other.counter}", "tags: best"), (f"#{one.counter}", "tags: best")]  # fmt: skip
    assert len(entries) == 6


def test_one_returns_to_the_view_from_which_executions_were_changed(api: ApiServer, person: Person) -> None:
    done = ran(api)
    form = {"csrf_token": person.csrf("/p/demo/"), "e": done.counter, "tags": "a"}
    for referrer, back in (("/p/demo/?q=step+%3D+train", "/p/demo/?q=step+%3D+train"), ("/p/other/?q=a", "/p/demo/")):
        headers = {"Referer": f"http://localhost{referrer}"}
        assert person.client.post("/p/demo/executions/tag", data=form, headers=headers).location == back

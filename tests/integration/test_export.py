"""Executions as CSV and JSON, and the columns of their table."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import pytest
from api_server import ApiServer
from site_client import Person
from test_compare_pages import ran

from web.http.pages import export
from web.store.db import execute


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


def test_a_download_has_what_the_filter_matches_in_the_order_of_the_table(api: ApiServer, person: Person) -> None:
    for loss in (0.5, 0.25, 2):
        ran(api, {"loss": loss, "note": "a, b"}, alpha=loss)
    answer = person.get("/p/demo/executions.csv?q=loss < 1&sort=m.loss")
    assert answer.headers["Content-Disposition"] == "attachment; filename=demo-executions.csv"
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["number"], row["state"], row["loss"], row["note"]) for row in found] == [
        ("2", "complete", "0.25", "a, b"),
        ("1", "complete", "0.5", "a, b"),
    ]
    listed = person.get("/p/demo/executions.json?q=loss < 1&sort=m.loss").json
    assert isinstance(listed, list)
    assert [(item["number"], item["metrics"]["loss"], item["parameters"]["alpha"]) for item in listed] == [
        (2, 0.25, 0.25),
        (1, 0.5, 0.5),
    ]
    assert person.get("/p/demo/executions.json?q=loss > 9").json == []
    assert person.get("/p/demo/executions.csv?q=los > 9").status_code == 400


def test_text_that_a_spreadsheet_would_compute_is_quoted_and_numbers_are_not(api: ApiServer, person: Person) -> None:
    ran(api, {"loss": -0.5, "note": "=1+1"}, alpha=10**30)
    execute(api.db, "UPDATE execution SET title = '@SUM(A1)', tags = ?", (json.dumps(["-x", "y"]),))
    (row,) = csv.DictReader(io.StringIO(person.get("/p/demo/executions.csv").text))
    assert (row["title"], row["tags"], row["note"], row["loss"]) == ("'@SUM(A1)", "'-x y", "'=1+1", "-0.5")
    assert person.get("/p/demo/executions.json").status_code == 200


def test_a_download_is_bounded_and_read_in_parts(
    api: ApiServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        api.add_execution()
    monkeypatch.setattr("web.store.execution_search.STEPS_AT_ONCE", 2)
    monkeypatch.setattr(export, "BATCH", 3)
    assert [item["number"] for item in json.loads(person.get("/p/demo/executions.json").text)] == [7, 6, 5, 4, 3, 2, 1]
    monkeypatch.setattr(export, "EXPORTED", 5)
    assert [item["number"] for item in json.loads(person.get("/p/demo/executions.json").text)] == [7, 6, 5, 4, 3]


def headings(page: str) -> list[str]:
    head = page.split("<thead>")[1].split("</thead>")[0]
    return [
        " ".join(re.sub("<[^>]+>", "", cell).split()) for cell in re.findall(r"<th[^>]*>(.*?)</th>", head, re.DOTALL)
    ]


def test_columns_are_those_of_the_address_in_its_order(api: ApiServer, person: Person) -> None:
    ran(api, {"loss": 0.5}, {"loss": 0.125}, {"loss": 0.25}, alpha=0.1)
    ran(api, {"loss": 0.75}, alpha=0.2)
    page = person.get("/p/demo/").text
    assert headings(page) == [
        "Number\u25be",
        "State",
        "Step",
        "Trend",
        "Commit",
        "alpha",
        "loss",
        "Who",
        "Duration",
        "Created",
    ]
    page = person.get("/p/demo/?pick=1&col=max.loss&col=best.loss&col=m.loss&col=environment&col=nothing&col=m.").text
    assert headings(page) == ["Number\u25be", "State", "highest loss", "best loss", "loss", "Environment"]
    values = re.findall(r'data-label="(?:highest |best )?loss" title="([^"]+)">(<b>)?', page)
    assert values == [*[("0.75", "")] * 3, ("0.5", "<b>"), ("0.125", "<b>"), ("0.25", "<b>")]
    move = html.unescape(page.split('aria-label="Move loss to the left"')[0].rpartition('href="')[2])
    assert headings(person.get(f"/p/demo/{move.rstrip(chr(34) + chr(32))}").text)[2:5] == [
        "highest loss",
        "loss",
        "best loss",
    ]
    for sort, numbers in (("best.loss", [1, 2]), ("-max.loss", [2, 1]), ("min.loss", [1, 2]), ("-best.loss", [2, 1])):
        page = person.get(f"/p/demo/?col=best.loss&col=min.loss&col=max.loss&sort={sort}").text
        arrow = "\u25be" if sort.startswith("-") else "\u25b4"
        label = {"best": "best", "min": "lowest", "max": "highest"}[sort.strip("-").split(".")[0]]
        assert f"{label} loss{arrow}" in headings(page)
        assert [int(number) for number in re.findall(r"#?(\d+)</a></th>", page)] == numbers, sort
    assert 'href="?col=best.loss&amp;sort=best.loss"' in person.get("/p/demo/?col=best.loss").text  # the best first
    assert headings(person.get("/p/demo/?col=step&sort=-p.alpha").text) == ["Number", "State", "Step", "alpha\u25be"]

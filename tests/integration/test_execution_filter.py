"""Filters and pages of a project's executions, against the real database."""

from __future__ import annotations

import json

import pytest
from api_server import ApiServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.model import Execution
from web.config.filters.terms import Filter, Names, read
from web.store import execution_search, executions, metadata
from web.store.db import execute, insert, transaction
from web.store.execution_search import Cursor
from web.store.execution_table import By, SortOrder

NAMES = Names(parameters=("steps", "augment", "optimizer", "scales"), metrics=("loss", "note", "epoch"))
NEWEST = SortOrder(by="number")


class Runs:
    """Five executions of `demo`, and one of another project."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        other = api.add_commit(api.demo, "ab" * 20, ref="exp/wide", message="Wider layers\n\n100%_sure of it")
        task, _ = api.add_task(), api.add_pipeline(("a", "execution"))
        (runner,) = api.db.execute("SELECT id FROM runner WHERE name = 'one'").fetchone()
        (node,) = api.db.execute("SELECT id FROM pipeline_node").fetchone()
        self.add(1, {"loss": 0.5, "epoch": 3}, steps=100, augment=True, optimizer="adam")
        self.add(2, {"loss": 0.25, "note": "Good one"}, steps=200, augment=False, optimizer="lion", commit=other)
        self.add(3, {"loss": 2}, state="error", tags=["keep", "it's"], commit=other, title="second try")
        self.add(
            4, {}, state="started", ended_at=None, task_id=task.id, trial=0, created_at="2026-02-01T00:00:00.000000Z"
        )
        self.add(5, {"loss": 0.25}, environment="gpu", runner_id=runner, pipeline_node_id=node)
        away = api.project("away")
        api.add_execution(api.add_commit(away))

    def add(self, counter: int, values: dict[str, object], **columns: object) -> None:
        execution = self.api.add_execution(columns.pop("commit", None))  # type: ignore[arg-type]
        assert execution.counter == counter
        names = ("steps", "augment", "optimizer")
        parameters = {name: columns.pop(name) for name in names if name in columns}
        own = {"parameters": json.dumps(parameters), "tags": json.dumps(columns.pop("tags", [])), "state": "complete",
               "created_at": "2026-01-01T00:00:00.000000Z", "started_at": "2026-01-01T00:00:00.000000Z",
               "ended_at": f"2026-01-01T00:0{counter}:00.000000Z"} | columns  # fmt: skip
        assigned = ", ".join(f"{name} = ?" for name in own)
        with transaction(self.api.db):
            execute(self.api.db, f"UPDATE execution SET {assigned} WHERE id = ?", (*own.values(), execution.id))
            metadata.add(self.api.db, execution.id, [(0, values)] if values else [])

    def found(self, text: str, order: SortOrder = NEWEST) -> list[int]:
        page = execution_search.get_page(self.api.db, self.api.demo.id, read(text, NAMES), order, 50)
        return [execution.counter for execution in page.executions]


@pytest.fixture
def runs(api: ApiServer) -> Runs:
    return Runs(api)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("loss < 1", [5, 2, 1]),
        ("loss <= 0.25", [5, 2]),
        ("loss = 0.25 and optimizer = lion", [2]),
        ("loss != 0.25", [3, 1]),
        ("not loss < 1", [4, 3]),
        ('note ~ "good*"', [2]),
        ('note = "Good one"', [2]),
        ("epoch = 3 or epoch = 4", [1]),
        ("m.nothing > 0", []),
        ("steps >= 200", [2]),
        ("augment = true", [1]),
        ("augment = false", [2]),
        ("optimizer ~ a*", [1]),
        ("optimizer != lion", [1]),
        ("p.nothing = 1", []),
        ('step = "Train model"', [5, 4, 3, 2, 1]),
        ("step ~ train", [5, 4, 3, 2, 1]),
        ("state = failed", [3]),
        ("state != failed and state != running", [5, 2, 1]),
        ("state = unfinished", [4]),
        ("branch = exp/wide", [3, 2]),
        ("branch ~ EXP/*", [3, 2]),
        ("branch != main", [3, 2]),
        ("commit = abab", [3, 2]),
        ("commit = %", []),
        ("message ~ wider", [3, 2]),
        ("who = admin", [5, 4, 3, 2, 1]),
        ("who != admin", []),
        ("tag = keep", [3]),
        ("tag ~ it?s", [3]),
        ("tag != keep", [5, 4, 2, 1]),
        ("task = 1", [4]),
        ("task ~ lr-*", [4]),
        ("task != 1", [5, 3, 2, 1]),
        ("pipeline = full", [5]),
        ("pipeline = 1", [5]),
        ("number > 2 and number <= 4", [4, 3]),
        ("created > 2026-01-15", [4]),
        ("created = 2026-01-01", [5, 3, 2, 1]),
        ("created != 2026-01-01", [4]),
        ("duration >= 3m and not state = running", [5, 3]),
        ("runner = one", [5]),
        ("runner != one", [4, 3, 2, 1]),
        ("environment = gpu", [5]),
        ("wider", [3, 2]),
        ('"100%_sure"', [3, 2]),
        ('"100%xsure"', []),
        ("SECOND", [3]),
        ("""tag = "it's" and loss > 1""", [3]),
        ("""step = "'; DROP TABLE execution; --" """, []),
    ],
)  # fmt: skip
def test_a_filter_finds_its_executions(runs: Runs, text: str, expected: list[int]) -> None:
    assert runs.found(text) == expected
    assert sorted(runs.found(text, SortOrder(by="loss", kind=By.KEY))) == sorted(expected)


def test_no_more_matches_than_are_listed_at_first_are_looked_up_one_by_one(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for few in (0, 100):
        monkeypatch.setattr("web.store.execution_filter.FEW", few)
        monkeypatch.setattr("web.store.execution_search.FEW", few)
        assert runs.found("loss < 1", SortOrder(by="loss", kind=By.KEY)) == [1, 5, 2]


def test_the_table_sorts_by_the_lowest_and_the_highest_number_of_a_metric(runs: Runs) -> None:
    for counter, loss in ((1, 0.125), (2, 9.0), (5, 0.5)):  # a value after the first
        with transaction(runs.api.db):
            execution = executions.get_by_counter(runs.api.db, runs.api.demo.id, counter)
            metadata.add(runs.api.db, execution.id, [(1, {"loss": loss})])
    lowest = SortOrder(by="loss", kind=By.LOW, number="low", descending=False)
    assert runs.found("", lowest) == [1, 2, 5, 3, 4]
    assert runs.found("loss > 0", SortOrder(by="loss", kind=By.BEST, number="high")) == [2, 3, 5, 1]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(
    ("kind", "by"),
    [(By.COLUMN, name) for name in ("number", "state", "step", "duration", "created")]
    + [(By.KEY, "loss"), (By.KEY, "none"), (By.LOW, "loss"), (By.HIGH, "loss"), (By.PARAMETER, "steps")],
)
def test_pages_hold_every_execution_once_in_both_directions(runs: Runs, kind: By, by: str, descending: bool) -> None:
    number = {By.LOW: "low", By.HIGH: "high"}.get(kind, "number")
    order = SortOrder(by=by, kind=kind, descending=descending, number=number)
    db, project = runs.api.db, runs.api.demo.id
    everything = runs.found("", order)
    assert sorted(everything) == [1, 2, 3, 4, 5]
    pages: list[list[Execution]] = []
    cursor = None
    while True:
        found = execution_search.get_page(db, project, Filter(), order, 2, cursor)
        assert found.before == bool(pages)
        pages.append(found.executions)
        if not found.after:
            break
        cursor = Cursor(counter=found.executions[-1].counter)
    assert [execution.counter for page in pages for execution in page] == everything
    back = execution_search.get_page(
        db, project, Filter(), order, 2, Cursor(counter=pages[2][0].counter, backwards=True)
    )
    assert [one.counter for one in back.executions] == [one.counter for one in pages[1]]
    assert (back.before, back.after) == (True, True)
    first = execution_search.get_page(
        db, project, Filter(), order, 2, Cursor(counter=pages[1][0].counter, backwards=True)
    )
    assert ([one.counter for one in first.executions], first.before) == ([one.counter for one in pages[0]], False)
    assert [e.counter for e in execution_search.iterate(db, project, Filter(), order, 3)] == everything[:3]


def test_deleted_executions_and_those_of_other_projects_are_not_found(runs: Runs) -> None:
    with transaction(runs.api.db):
        execute(runs.api.db, "UPDATE execution SET deleted_at = created_at WHERE counter = 3")
    assert runs.found("number > 0") == [5, 4, 2, 1]
    assert runs.found("loss > 0", SortOrder(by="loss", kind=By.KEY)) == [1, 5, 2]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["loss > 0.3", "m.x = a", "note ~ *", "steps = 1", "augment = true", "state = failed", "branch ~ e*", "word",
             "commit = a", "who = x", "tag ~ k", "task = 1", "pipeline ~ f", "created > 1d", "duration < 5m", "runner = one"]
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([" and ", " or ", " and not "]),
)  # fmt: skip
def test_what_a_filter_and_its_opposite_find_is_everything(runs: Runs, terms: list[str], joint: str) -> None:
    text = joint.join(terms)
    assert sorted(runs.found(text) + runs.found(f"not ({text})")) == [1, 2, 3, 4, 5]


def test_names_of_old_executions_do_not_crowd_out_the_newest(runs: Runs) -> None:
    with transaction(runs.api.db):
        for number in range(execution_search.KNOWN_KEYS + 5):
            insert(runs.api.db, "metadata_key", {"name": f"old_{number}"})
    assert execution_search.list_metrics(runs.api.db, runs.api.demo.id)[0] == "loss"
    assert len(execution_search.list_parameters(runs.api.db, runs.api.demo.id)) == 3

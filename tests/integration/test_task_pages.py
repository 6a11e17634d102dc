"""The pages of tasks: progress, best execution, and every trial once in any order."""

from __future__ import annotations

import html
import json
import re
import time

import pytest
from api_server import ApiServer
from grouped_project import Grouped
from test_pages import EVIL, Live

from core.states import State
from web.services import tasks as service
from web.store import executions
from web.store.db import execute, transaction

LINES = 200  # of parallel coordinates


@pytest.fixture
def site(api: ApiServer) -> Grouped:
    return Grouped(api)


def trials_of(page: str) -> list[int]:
    """The trials in the table, as people count them, in its order."""
    return [int(n) for n in re.findall(r'data-label="trial">(\d+)<', page)]


def searched(site: Grouped) -> str:
    """A task of five trials of which four ended, two of those usable; its page."""
    task = site.task(planned=6)
    site.trial(task, 0, {"loss": 0.5, "epoch": 3}, rate=0.1)
    site.trial(task, 1, {"loss": 0.25}, rate=0.2, kind="b")
    site.trial(task, 2, {"loss": 0.01}, State.ERROR, rate=0.3)
    site.trial(task, 3, state=State.STOPPED, rate=0.4)
    site.trial(task, 4, {"loss": 0.125}, State.STARTED, rate=0.5)
    return f"tasks/{task.counter}/"


def test_the_page_says_how_far_it_is_and_which_is_best_of_those_that_ended_well(site: Grouped) -> None:
    page = html.unescape(site.page(searched(site)))
    assert "<b>4</b> of 6 finished" in page
    assert 'aria-label="4 of 6 executions finished"' in page
    assert '<b title="0.25">0.25</b>' in page
    assert "trial 2, lowest of all finished" in page
    assert '<th scope="row">rate</th><td title="0.2">0.2</td>' in page
    assert '<th scope="row">epochs</th>' not in page  # it is the same for all
    assert re.findall(r"Show only these\">.*?</svg>(\d+ \w+)</a>", page) == [
        "1 Running",
        "2 Succeeded",
        "1 Failed",
        "1 Stopped",
    ]


def test_the_curve_has_every_trial_and_never_gets_worse(site: Grouped) -> None:
    page = site.page(searched(site))
    series = json.loads(html.unescape(re.findall(r'data-series="([^"]+)"', page)[0]))
    assert series == {"x": [1, 2, 3, 4, 5], "y": [0.5, 0.25, 0.01, None, 0.125], "best": [0.5, 0.25, 0.25, 0.25, 0.25]}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("trial", [1, 2, 3, 4, 5]),
        ("-trial", [5, 4, 3, 2, 1]),
        ("m.loss", [3, 5, 2, 1, 4]),
        ("-m.loss", [1, 2, 5, 3, 4]),
        ("p.rate", [1, 2, 3, 4, 5]),
        ("-p.rate", [5, 4, 3, 2, 1]),
        ("p.kind", [5, 4, 3, 1, 2]),
        ("state", [2, 1, 3, 5, 4]),
        ("m.none", [5, 4, 3, 2, 1]),
        ("p.'] --", [5, 4, 3, 2, 1]),
        ("drop table", [1, 2, 3, 4, 5]),
    ],
)
def test_the_table_sorts_by_any_column_and_what_has_no_value_comes_last(
    site: Grouped, sort: str, order: list[int]
) -> None:
    path = searched(site)
    answer = site.person.get(f"/p/demo/{path}", query_string={"sort": sort})
    assert trials_of(answer.text) == order


def test_the_sorted_column_says_so_and_its_link_turns_it_around(site: Grouped) -> None:
    page = site.page(searched(site) + "?sort=-p.rate&state=")
    assert page.count("aria-sort=") == 1
    assert 'aria-sort="descending"><a href="?sort=p.rate#h-trials">rate' in page


def test_trials_of_one_state_can_be_looked_at_alone(site: Grouped) -> None:
    page = site.page(searched(site) + "?state=error")
    assert trials_of(page) == [3]
    assert "<b>4</b> of 6 finished" in page


def test_of_a_trial_that_was_run_again_the_newest_counts(site: Grouped) -> None:
    task = site.task(planned=2)
    old = site.trial(task, 0, {"loss": 0.1}, State.ERROR, rate=0.1)
    site.trial(task, 1, {"loss": 0.4}, rate=0.2)
    new = site.trial(task, 0, {"loss": 0.9}, rate=0.1)
    page = site.page(f"tasks/{task.counter}/")
    assert "<b>2</b> of 2 finished" in page
    assert trials_of(page) == [1, 2]
    assert f">#{new.counter}</a>" in page
    assert f">#{old.counter}</a>" not in page
    assert "2 of 2 executions<" in page


def test_a_target_value_decides_which_is_best(site: Grouped) -> None:
    task = site.task("aimed", planned=4)
    for trial, size in enumerate((4, 12, 7, 100)):
        site.trial(task, trial, {"size": size, "loss": size}, rate=trial / 10)
    page = site.page(f"tasks/{task.counter}/")
    assert "trial 2, nearest to 10 of all finished" in page
    lowest = site.page(f"tasks/{task.counter}/?metric=size&better=lowest")
    assert "trial 1, lowest of all finished" in lowest
    by_loss = site.page(f"tasks/{task.counter}/?metric=loss&better=highest")
    assert "trial 4, highest of all finished" in by_loss
    unknown = site.page(f"tasks/{task.counter}/?metric=nothing")
    assert "No finished execution has logged nothing yet." in unknown


def test_a_task_without_numbers_says_how_to_print_some(site: Grouped) -> None:
    task = site.task()
    assert "The executions of this task appear here." in site.page(f"tasks/{task.counter}/")
    site.trial(task, 0, {"word": "none"}, rate=0.1)
    page = site.page(f"tasks/{task.counter}/")
    assert "Log a metric to compare executions." in page
    assert trials_of(page) == [1]


def test_a_task_whose_declaration_can_no_longer_be_read_still_shows_what_has_run(site: Grouped) -> None:
    path = searched(site)
    execute(site.db, "UPDATE task SET config = '[]', type = 'unheard-of'")
    assert trials_of(site.page(path)) == [1, 2, 3, 4, 5]
    assert "unheard-of" in site.page("tasks/")


def test_what_it_tries_and_when_it_ends_is_said(site: Grouped) -> None:
    page = site.page(searched(site))
    assert "<dt>rate</dt><dd>0.1, 0.2, 0.3</dd>" in page
    assert "<dt>On error</dt><dd>Continue; task fails at the end</dd>" in page
    assert "Grid search of train" in page


def test_the_list_has_every_task_and_an_empty_one_says_how_to_get_one(site: Grouped) -> None:
    assert "git push -o pushmill.task=lr-search" in html.unescape(site.page("tasks/"))
    searched(site)
    page = site.page("tasks/")
    assert 'href="/p/demo/tasks/1/">!1</a>' in page
    assert "4/6" in page
    assert "<b>0.25</b>" in page
    assert "1 of 1 tasks" in page


def test_stop_stops_what_waits_and_makes_nothing_more(site: Grouped) -> None:
    task = site.task()
    site.trial(task, 0, {"loss": 1}, rate=0.1)
    waits = site.trial(task, 1, state=State.CREATED, rate=0.2)
    path = f"/p/demo/tasks/{task.counter}/"
    assert "Stop all executions" in site.page(f"tasks/{task.counter}/")
    assert site.person.client.post(f"{path}stop").status_code == 403  # without the form's token
    assert site.person.get(f"{path}stop").status_code == 405
    assert site.api.app.test_client().post(f"{path}stop").status_code == 401
    assert site.person.post(f"{path}stop", path).location == path
    page = site.page(f"tasks/{task.counter}/")
    assert 'class="state stopping"' in page
    assert "stopped by admin" in page
    assert "Stop all executions" not in page
    assert site.person.post(f"{path}stop", path).status_code == 303  # somebody else's page was still open
    for _ in range(2):  # what runs is stopped, and then the task has ended
        service.advance(site.api.context)
    assert executions.get(site.db, waits.id).state is State.STOPPED
    page = site.page(f"tasks/{task.counter}/")
    assert 'class="state stopped"' in page
    assert "(3 planned)" in page
    assert "data-refresh" not in page


def test_only_tasks_that_are_there_have_pages(site: Grouped) -> None:
    for path in ("tasks/1/", "tasks/99999999999/", "pipelines/1/"):
        assert site.person.get(f"/p/demo/{path}").status_code == 404, path


def test_nothing_from_outside_is_alive_on_the_pages_of_tasks(site: Grouped) -> None:
    task = site.task(EVIL)
    for trial in range(3):
        site.trial(task, trial, {EVIL: trial / 10, "loss": 1}, rate=trial / 10, kind=EVIL + "abc"[trial])
    with transaction(site.db):
        sick = json.dumps({EVIL: EVIL})
        execute(site.db, "UPDATE task SET step = ?, type = ?, message = ?, parameters = ?", (EVIL, EVIL, EVIL, sick))
        execute(
            site.db, "UPDATE execution SET step = ?, parameters = json_set(parameters, '$.\"<b>\"', ?)", (EVIL, EVIL)
        )
        execute(site.db, "UPDATE execution SET parameters = json_set(parameters, '$.\"<b>\"', id)")
    paths = ("", "tasks/", "tasks/1/", f"tasks/1/?metric={EVIL}", f"tasks/1/?sort=p.{EVIL}", f"commits/{'c' * 40}/")
    for path in (*paths, "commits/", "executions/1/"):
        page = site.person.get(f"/p/demo/{path}").text
        assert Live(page).found == [], path
        assert "<img" not in page.replace('<img src="/badge/', ""), path
        assert "\u202e" not in page, path
        assert "\x07" not in page, path


def test_the_commits_pages_show_the_task_and_not_its_trials(site: Grouped) -> None:
    searched(site)
    alone = site.run("prepare")
    page = site.page(f"commits/{'c' * 40}/")
    runs = re.findall(r'id="([^"]+)">(?:(?!</article>).)*?<p class="run-of"><a href="([^"]+)"', page, re.DOTALL)
    alone_at = f"/p/demo/executions/{alone.counter}/"
    assert runs == [("step-prepare", alone_at), ("task-search", "/p/demo/tasks/1/")]
    assert "best loss" in page
    assert "4/6 executions" in page
    assert 'data-changes="/p/demo/changes?' in page
    listed = site.page("commits/")
    assert listed.count('class="dot ') == 1
    assert re.search(r'class="mark state started" href="/p/demo/tasks/1/"', listed)


def test_the_table_of_executions_marks_trials_and_shows_one_task_alone(site: Grouped) -> None:
    searched(site)
    site.run("prepare")
    page = site.page("")
    assert page.count('href="/p/demo/tasks/1/" title="Trial ') == 5
    one = site.page("?q=task+%3D+1&sort=m.loss")
    assert re.findall(r'class="n first">.*?<a href="[^"]+">#(\d+)', one) == ["3", "5", "2", "1", "4"]
    assert '<input type="hidden" name="sort" value="m.loss">' in one


def test_an_execution_says_which_trial_it_is(site: Grouped) -> None:
    searched(site)
    assert '<a href="/p/demo/tasks/1/">!1 trial 3</a>' in site.page("executions/3/")


def test_a_task_of_1000_trials_is_a_page_like_another(site: Grouped) -> None:
    task = site.task(planned=1000)
    site.many(task, [abs(500 - i) / 1000 for i in range(1000)], kept=20)
    path = f"tasks/{task.counter}/"
    site.page(path)  # its templates are compiled
    began = time.thread_time()
    page = site.page(path)
    took = time.thread_time() - began
    print(f"{took * 1000:.0f} ms, {len(page) / 1000:.0f} kB")
    assert took < 1  # of the processor; 0.04 s was measured
    assert len(page) < 160_000
    assert page.count("<polyline") == LINES + 1  # and the curve
    assert "the 800 worst are not shown" in page
    seen = [n for number in range(1, 21) for n in trials_of(site.page(f"{path}?sort=m.loss&page={number}"))]
    assert seen[0] == 501
    assert sorted(seen) == list(range(1, 1001))

"""The pages of pipelines: a graph and a list of all nodes, and pending approvals."""

from __future__ import annotations

import html
import json
import re

import pytest
from api_server import ApiServer
from grouped_project import Grouped
from test_pages import EVIL, Live

from core import clock
from core.states import State
from web.services import pipelines as service
from web.services import tasks as task_service
from web.store import audit, executions, groups, pipelines, tasks
from web.store.audit import Act, AuditQuery, Kind
from web.store.db import execute, transaction


@pytest.fixture
def site(api: ApiServer) -> Grouped:
    return Grouped(api)


def begun(site: Grouped) -> str:
    """`prepare` is complete, `train` waits for a person, `tune` has a task of which one of three trials has ended."""
    pipeline, nodes = site.pipeline()
    site.run("prepare", State.ERROR, pipeline_node_id=nodes["prepare"])
    site.run("prepare", pipeline_node_id=nodes["prepare"])
    task = site.task(node=nodes["tune"])
    site.trial(task, 0, {"loss": 0.5}, rate=0.1)
    with transaction(site.db):
        for name in ("prepare", "tune"):
            groups.transition(site.db, "pipeline_node", nodes[name], State.CREATED, State.STARTED)
        groups.transition(site.db, "pipeline_node", nodes["prepare"], State.STARTED, State.COMPLETE, "tidy")
        groups.update(site.db, "pipeline_node", nodes["train"], approval_asked_at=clock.now())
    return f"pipelines/{pipeline.counter}/"


def test_the_graph_has_a_box_for_each_node_and_a_curve_for_each_pair(site: Grouped) -> None:
    page = html.unescape(site.page(begun(site)))
    assert re.findall(r'class="node ([a-z]+)"', page) == ["complete", "waiting", "started"]
    assert page.count('<path class="edge') == 2
    assert page.count('<path class="edge passed"') == 2  # what they come from is complete
    assert "<title>prepare.dependency.first → train.dependency.first</title>" in page
    assert '<a href="/p/demo/executions/2/" class="node complete">' in page
    assert '<a href="/p/demo/tasks/1/" class="node started">' in page
    assert "1/3 executions</text>" in page


def test_the_list_says_what_became_of_each_node(site: Grouped) -> None:
    page = html.unescape(site.page(begun(site)))
    assert "<b>1</b> of 3 finished" in page
    rows = re.findall(r'<th scope="row" class="first">(\w+)</th>', page)
    assert rows == ["prepare", "train", "tune"]
    assert '<a href="/p/demo/executions/2/">#2</a>' in page
    assert '<a href="/p/demo/executions/1/">' not in page  # of several runs of a node the newest counts
    assert '<a href="/p/demo/tasks/1/">!1</a> <span class="muted">task of train</span>' in page
    assert "tidy" in page


def test_what_waits_for_a_person_says_so_above_and_in_the_list(site: Grouped) -> None:
    page = site.page(begun(site))
    assert "<strong>train is waiting for approval</strong>" in page
    assert page.count('action="/p/demo/pipelines/1/nodes/1/approve"') == 2
    assert page.count("/approve") == 2
    listed = site.page("pipelines/")
    assert "train waiting for approval" in listed
    assert "train waiting for approval" in site.page(f"commits/{'c' * 40}/")


def test_an_ended_pipeline_has_no_buttons(site: Grouped) -> None:
    path = begun(site)
    assert "Stop all nodes" in site.page(path)
    with transaction(site.db):
        for node in pipelines.list_nodes(site.db, 1):
            if node.ended_at is None:
                groups.transition(site.db, "pipeline_node", node.id, node.state, State.STOPPED)
        groups.transition(site.db, "pipeline", 1, State.STARTED, State.STOPPED, "Stopped by ada")
    page = site.page(path)
    assert "Stopped by ada" in page
    for gone in ("Stop all nodes", "/approve"):
        assert gone not in page


def test_one_that_is_being_stopped_says_so_and_is_not_asked_again(site: Grouped) -> None:
    path = begun(site)
    with transaction(site.db):
        assert groups.request_stop(site.db, "pipeline", 1, "ada")
    page = site.page(path)
    assert 'class="state stopping"' in page
    assert "stopped by ada" in page
    assert "Stop all nodes" not in page


def test_approving_lets_the_node_begin_and_says_who_did(site: Grouped) -> None:
    path = begun(site)
    where = f"/p/demo/{path}nodes/1/approve"
    assert site.person.client.post(where).status_code == 403  # without the form's token
    assert site.person.get(where).status_code == 405
    assert site.api.app.test_client().post(where).status_code == 401
    assert pipelines.list_nodes(site.db, 1)[1].approved_at is None
    assert site.person.post(where, f"/p/demo/{path}").location == f"/p/demo/{path}"
    page = site.page(path)
    assert "Approved by admin" in page
    assert "/approve" not in page
    assert site.person.post(where, f"/p/demo/{path}").status_code == 409
    assert site.person.post(f"/p/demo/{path}nodes/9/approve", f"/p/demo/{path}").status_code == 404
    (entry,) = audit.search(site.db, AuditQuery(action=Act.APPROVE), 2)
    assert (entry.kind, entry.name, entry.username) == (Kind.PIPELINE, "=1", "admin")
    service.advance(site.api.context)
    assert re.findall(r'class="node ([a-z]+)"', site.page(path))[1] == "started"


def test_stop_stops_what_its_nodes_have_made(site: Grouped) -> None:
    path = begun(site)
    waits = site.trial(tasks.get_by_counter(site.db, site.api.demo.id, 1), 1, state=State.CREATED, rate=0.2)
    assert site.person.client.post(f"/p/demo/{path}stop").status_code == 403
    assert site.person.post(f"/p/demo/{path}stop", f"/p/demo/{path}").location == f"/p/demo/{path}"
    assert "Stop all nodes" not in site.page(path)
    for _ in range(3):  # each looks at what the one before has done
        service.advance(site.api.context)
        task_service.advance(site.api.context)
    assert executions.get(site.db, waits.id).state is State.STOPPED
    assert 'class="state stopped"' in site.page(path)


def test_a_pipeline_whose_declaration_can_no_longer_be_read_still_shows_its_nodes(site: Grouped) -> None:
    path = begun(site)
    execute(site.db, "UPDATE pipeline SET config = '[]'")
    page = site.page(path)
    assert "<svg width" not in page
    assert re.findall(r'<th scope="row" class="first">(\w+)</th>', page) == ["prepare", "train", "tune"]


def test_the_list_has_every_pipeline_and_an_empty_one_says_how_to_get_one(site: Grouped) -> None:
    assert "git push -o pushmill.pipeline=full" in site.page("pipelines/")
    begun(site)
    page = site.page("pipelines/")
    assert 'href="/p/demo/pipelines/1/">=1</a>' in page
    assert "1/3" in page
    assert 'title="Node tune of pipeline full">=1</a>' in site.page("tasks/")


def test_the_commits_pages_show_the_pipeline_and_nothing_that_it_has_made(site: Grouped) -> None:
    begun(site)
    page = site.page(f"commits/{'c' * 40}/")
    assert page.count('class="target"') == 5
    assert re.findall(r'class="layers">(.*?)</p>', page)[-1].count('class="state ') == 3
    assert re.findall(r'<p class="run-of"><a href="([^"]+)"', page) == ["/p/demo/pipelines/1/"]
    assert "1/3 nodes" in page
    assert "No runs for this commit." not in page
    listed = site.page("commits/")
    assert 'class="dot ' not in listed
    assert listed.count('class="mark ') == 1


def test_an_execution_says_which_node_it_is_and_a_trial_which_task_of_which_node(site: Grouped) -> None:
    begun(site)
    assert '<a href="/p/demo/pipelines/1/">=1 prepare</a>' in site.page("executions/2/")
    trial = site.page("executions/3/")
    assert '<a href="/p/demo/pipelines/1/">=1 tune</a><a href="/p/demo/tasks/1/">!1 trial 1</a>' in trial
    assert '<a href="/p/demo/pipelines/1/">=1 tune</a>' in site.page("tasks/1/")
    table = site.page("")
    assert table.count('title="Node prepare of pipeline full">=1</a>') == 2
    assert table.count('title="Trial 1 of task search">!1</a>') == 1


def test_nothing_from_outside_is_alive_on_the_pages_of_pipelines(site: Grouped) -> None:
    path = begun(site)
    with transaction(site.db):
        execute(site.db, "UPDATE pipeline SET message = ?, parameters = ?", (EVIL, json.dumps({EVIL: EVIL})))
        sql = "UPDATE pipeline_node SET message = ?, approved_by = ?, approved_at = ?, name = name || ?"
        execute(site.db, sql, (EVIL, EVIL, clock.now(), EVIL))
        execute(site.db, "UPDATE pipeline SET name = ?, config = '[]'", (EVIL,))
    for where in (path, "pipelines/", "", f"commits/{'c' * 40}/", "commits/", "executions/2/", "tasks/", "tasks/1/"):
        page = site.person.get(f"/p/demo/{where}").text
        assert Live(page).found == [], where
        assert "<img" not in page.replace('<img src="/badge/', ""), where
        assert "\u202e" not in page, where
        assert "\x07" not in page, where


def test_names_from_outside_are_text_in_the_graph_too(site: Grouped) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"  # no dot, which a node's name has not
    config = json.dumps(site.commit.config).replace("prepare", json.dumps(evil)[1:-1])
    site.pipeline()
    with transaction(site.db):
        execute(site.db, "UPDATE pipeline SET config = ?", (config,))
        execute(site.db, "UPDATE pipeline_node SET name = ? WHERE name = 'prepare'", (evil,))
    page = site.page("pipelines/1/")
    assert page.count('<path class="edge') == 2
    assert Live(page).found == []
    assert "<img" not in page

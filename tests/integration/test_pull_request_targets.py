"""Tasks and pipelines of pull requests run once for a push and its pull request, and once for all approvals."""

from __future__ import annotations

from pathlib import Path

import pytest
from forge_deliveries import GitHub, Request
from git_over_http import GitServer
from instance import Checkout
from push_server import PushServer, step
from ruled_project import ALL, FULL, TRAIN
from test_pull_requests import FORK, Site

from web.services import tasks
from web.services.triggers import approvals, dry_run
from web.services.triggers.dry_run import HypotheticalEvent
from web.store import launched, projects

EVERYTHING = '[[rule]]\nname = "all"\nsteps = ["train"]\ntasks = ["*"]\npipelines = ["*"]\n'


@pytest.fixture
def site(pushes: PushServer, checkout: Checkout, tmp_path: Path, git_server: GitServer) -> Site:
    site = Site(pushes, checkout, tmp_path / "forge", git_server, GitHub())
    site.follow(EVERYTHING)
    return site


def head(site: Site, message: str = "all of it", fork: str = "", number: int = 7) -> Request:
    return site.at(site.checkout.commit({"valohai.yaml": ALL, "a": message}, message), fork, number=number)


def numbers(site: Site, sha: str) -> list[list[str]]:
    """What each push of a commit has launched."""
    return [[one.number for one in launched.list_for_push(site.pushes.db, push.id)] for push in site.of(sha)]


def test_a_push_and_its_pull_request_run_one_set_of_everything(site: Site) -> None:
    request = head(site)
    site.push_told(request)
    site.ask(request)
    assert numbers(site, request.sha) == [["#1", "!1", "=1"], []]
    assert site.of(request.sha)[1].skipped == (
        ("train", "#1 runs it already, for the push to topic"),
        ("task train", "!1 runs it already, for the push to topic"),
        ("pipeline full", "=1 runs it already, for the push to topic"),
    )
    later = head(site, "more")
    site.ask(later, "updated")
    site.push_told(later)
    assert numbers(site, later.sha) == [["#2", "!2", "=2"], []]
    assert site.of(later.sha)[1].skipped[1] == ("task train", "!2 runs it already, for pull request 7")


def test_a_task_is_no_repetition_of_a_step_that_is_called_like_it(site: Site) -> None:
    site.follow('[[rule]]\nname = "r"\nevents = ["push"]\nsteps = ["train"]\n'
           '[[rule]]\nname = "p"\nevents = ["pull_request"]\ntasks = ["train"]\n')  # fmt: skip
    request = head(site)
    site.push_told(request)
    site.ask(request)
    assert numbers(site, request.sha) == [["#1"], ["!1"]]


def test_executions_of_a_task_are_no_run_of_their_step(site: Site) -> None:
    site.follow('[[rule]]\nname = "r"\nevents = ["push"]\ntasks = ["train"]\n'
           '[[rule]]\nname = "p"\nevents = ["pull_request"]\nsteps = ["train"]\n')  # fmt: skip
    request = head(site)
    site.push_told(request)
    tasks.advance(site.pushes.context)
    assert site.pushes.steps("model") == ["train"] * 3
    site.ask(request)
    assert numbers(site, request.sha) == [["!1"], ["#4"]]


def test_an_approval_launches_everything_that_waits_once_and_says_what_that_is(site: Site) -> None:
    request = head(site, fork=FORK)
    site.ask(request)
    site.ask(site.at(request.sha, FORK, number=8))
    assert numbers(site, request.sha) == [[], []]
    project = projects.get_by_name(site.pushes.db, "model")
    assert approvals.approve(site.pushes.context, project, request.sha, site.admin) == []
    site.pushes.drain()
    assert numbers(site, request.sha) == [["#1", "!1", "=1"], []]
    assert [push.outcome for push in site.of(request.sha)] == [
        "1 execution, 1 task and 1 pipeline",
        "nothing runs: everything was skipped",
    ]
    assert ("pipeline full", "=1 runs it already, for pull request 7") in site.of(request.sha)[1].skipped
    assert approvals.approve(site.pushes.context, project, request.sha, site.admin) == []


def test_a_fork_that_declares_pipelines_runs_none_of_them_before_somebody_approves(site: Site) -> None:
    request = site.at(site.checkout.commit({"valohai.yaml": TRAIN + step("check") + FULL}, "x"), FORK)
    assert "waiting for approval" in site.ask(request)
    project = projects.get_by_name(site.pushes.db, "model")
    asked = dry_run.evaluate_event(
        site.pushes.context, project, HypotheticalEvent(name=request.sha, event="pull_request")
    )
    assert asked.outcome == "waiting for approval: from a fork"
    assert [run.target.label for run in asked.runs] == ["train", "pipeline full"]


def test_a_new_head_stops_the_tasks_and_pipelines_of_older_ones_and_of_no_other_pull_request(site: Site) -> None:
    site.follow(f'{EVERYTHING}events = ["pull_request"]\ncancel_older = true\n')
    other, first = head(site, "other", number=3), head(site, "one")
    site.ask(other)
    site.ask(first)
    site.ask(head(site, "two"), "updated")
    db = site.pushes.db
    ((theirs,), (ours,)) = [site.of(request.sha) for request in (other, first)]
    assert not any(one.stop_requested_at for one in launched.list_for_push(db, theirs.id))
    assert all(one.stop_requested_at for one in launched.list_for_push(db, ours.id))

"""Rules for pull requests: by base branch and changed paths, and stopping runs of older heads."""

from __future__ import annotations

from pathlib import Path

import pytest
from forge_deliveries import GitHub
from git_over_http import GitServer
from instance import Checkout
from push_server import PushServer, step
from test_pull_requests import FORK, Site

from core.states import State
from web.services.triggers import dry_run
from web.services.triggers.dry_run import DryRun, HypotheticalEvent
from web.store import projects

RULES = '[[rule]]\nname = "review"\nevents = ["pull_request"]\nbranches = ["main"]\npriority = 2\ncancel_older = true\n'


@pytest.fixture
def site(pushes: PushServer, checkout: Checkout, tmp_path: Path, git_server: GitServer) -> Site:
    site = Site(pushes, checkout, tmp_path / "forge", git_server, GitHub())
    site.follow(RULES)
    return site


def states(site: Site) -> list[State]:
    return [execution.state for execution in site.pushes.executions("model")]


def test_a_rule_is_for_the_base_branch_and_a_push_to_the_head_s_branch_is_another_event(site: Site) -> None:
    request = site.head()
    site.push_told(request)
    assert site.pushes.pushes("model")[-1].outcome == (
        'no rule matched: "review" runs only for pull_request, not for a push'
    )
    assert site.ask(request) == "pull request 7: 1 execution"
    assert [execution.priority for execution in site.pushes.executions("model")] == [2]
    site.follow(RULES.replace("main", "other"))
    assert site.ask(site.head(message="more"), "updated") == (
        'pull request 7: no rule matched: "review" runs only for base branch other, not main'
    )


def test_its_changes_are_those_against_the_base_branch_whatever_that_got_meanwhile(site: Site) -> None:
    site.follow(f'{RULES}paths = ["src/**"]\n')
    sha = site.checkout.commit({"docs/a": "1"}, "topic")
    site.checkout.git("checkout", "-q", "main")
    site.checkout.commit({"src/theirs": "1"}, "of others")
    site.checkout.git("push", "-q", str(site.path), "HEAD:main")
    site.checkout.git("checkout", "-q", "topic")
    assert "runs only for changes of src/**, not docs/a" in site.ask(site.at(sha))
    sha = site.checkout.commit({"src/ours": "1"}, "more")
    assert site.ask(site.at(sha), "updated") == "pull request 7: 1 execution"
    sha = site.checkout.commit({"docs/a": "2"}, "the rest is there still")
    assert site.ask(site.at(sha), "updated") == "pull request 7: 1 execution"


def test_a_new_head_stops_what_older_ones_run_and_nothing_of_other_pull_requests(site: Site) -> None:
    site.ask(site.head(number=3))
    site.ask(site.head(message="one"))
    site.ask(site.head(message="two"), "updated")
    assert states(site) == [State.QUEUED, State.STOPPED, State.QUEUED]


def test_a_head_that_is_told_of_late_stops_nothing_and_runs_nothing_of_the_rule(site: Site) -> None:
    older, newer = site.head(message="one"), site.head(message="two")
    site.ask(newer)
    assert site.ask(older, "updated") == "pull request 7: nothing runs: everything was skipped"
    assert site.pushes.pushes("model")[-1].skipped == (("train", "a newer push of this branch already runs"),)
    assert states(site) == [State.QUEUED]


def test_a_push_whose_steps_run_for_its_pull_request_stops_older_ones_of_the_branch_all_the_same(site: Site) -> None:
    site.follow('[[rule]]\nname = "all"\ncancel_older = true\n')
    site.push_told(site.head(message="one"))
    request = site.head(message="two")
    site.ask(request)
    assert states(site) == [State.QUEUED, State.QUEUED]
    site.push_told(request)
    assert states(site) == [State.STOPPED, State.QUEUED]


def test_what_a_member_approves_runs_by_the_rules_and_stops_the_head_before(site: Site) -> None:
    first = site.head(FORK)
    site.ask(first)
    assert states(site) == []
    site.approve(first)
    second = site.head(FORK, message="more")
    site.ask(second, "updated")
    assert states(site) == [State.QUEUED]
    site.approve(second)
    assert states(site) == [State.STOPPED, State.QUEUED]
    assert [execution.priority for execution in site.pushes.executions("model")] == [2, 2]


def test_trailers_and_skip_marks_count_for_a_pull_request(site: Site) -> None:
    sha = site.checkout.commit({"valohai.yaml": step("train") + step("check")}, "x\n\nPushmill-Step: check")
    site.ask(site.at(sha))
    assert site.pushes.steps("model") == ["check"]
    assert site.ask(site.head(message="x [skip ci]"), "updated") == (
        "pull request 7: skipped: [skip ci] in the commit message"
    )


def asked(site: Site, sha: str, event: str = "pull_request") -> DryRun:
    project = projects.get_by_name(site.pushes.db, "model")
    return dry_run.evaluate_event(site.pushes.context, project, HypotheticalEvent(name=sha, event=event))


def test_a_dry_run_knows_what_its_pull_request_runs_would_stop_and_waits_for(site: Site) -> None:
    site.follow('[[rule]]\nname = "all"\ncancel_older = true\n')
    first, second = site.head(message="one"), site.head(message="two")
    site.ask(first)
    site.ask(second, "updated")
    said = asked(site, second.sha)
    assert (said.outcome, [run.target.name for run in said.runs], said.stops) == ("1 execution", ["train"], ())
    site.push_told(second)
    push = site.pushes.pushes("model")[-1]
    said = dry_run.evaluate_event(
        site.pushes.context,
        projects.get_by_name(site.pushes.db, "model"),
        HypotheticalEvent(name=second.sha, branch="topic"),
    )
    assert (said.outcome, said.skipped) == (push.outcome, push.skipped)
    assert said.skipped == (("train", "#2 runs it already, for pull request 7"),)
    strange = site.head(FORK, number=9, message="three")
    site.ask(strange)
    assert asked(site, strange.sha).outcome == site.of(strange.sha)[0].outcome == "waiting for approval: from a fork"

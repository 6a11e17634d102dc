"""The status `pushmill`, as required for merging: success only for commits that succeeded or had nothing to run."""

from __future__ import annotations

import pytest
from forge_deliveries import Request
from instance import wait_for
from push_server import needy_step, step
from told_forge import ToldForge

from core.states import State
from web.services.forges import enqueue
from web.services.forges.statuses import NOT_APPROVED
from web.services.repositories import credentials, hosting
from web.services.triggers import approvals
from web.store import deliveries, projects, users
from web.store.db import execute, transaction
from web.store.deliveries import Received

WAITS = ("pending", "waiting for approval: from a fork")
FORK = "mallory/model"
MISSING_STEP = 'there is no step "trian": did you mean "train"?'


def rules(told: ToldForge, text: str) -> None:
    projects.set_rules(told.db, projects.get_by_name(told.db, "model").id, text)


def approve(told: ToldForge, sha: str) -> list[str]:
    admin = users.find_by_name(told.db, "admin")
    assert admin is not None
    before = len(told.server.executions("model"))
    approvals.approve(told.server.context, projects.get_by_name(told.db, "model"), sha, admin)
    told.server.drain()
    return told.server.steps("model")[before:]


def overall(told: ToldForge, sha: str) -> tuple[str, str]:
    told.tell()
    return told.shown(sha)["pushmill"]


@pytest.mark.parametrize(
    ("trailer", "said"),
    [
        ("Pushmill-Step: trian", f"trian: {MISSING_STEP}"),
        ("Pushmill-Task: search", 'task search: there is no task "search"; there are: none'),
        ("Pushmill-Pipeline: full", 'pipeline full: there is no pipeline "full"'),
        ("Pushmill-Stpe: train", "Pushmill-Stpe: unknown trailer"),
    ],
)
def test_a_push_that_names_what_is_not_there_is_an_error(told: ToldForge, trailer: str, said: str) -> None:
    sha = told.push("train", message=f"work\n\n{trailer}")
    if told.server.executions("model"):
        told.move("train", State.COMPLETE)
    state, description = overall(told, sha)
    assert state == "error"
    assert description.startswith(said)


def test_what_else_was_named_runs_and_the_commit_is_an_error_all_the_same(told: ToldForge) -> None:
    sha = told.push("train", message="work\n\nPushmill-Step: train\nPushmill-Step: trian")
    assert overall(told, sha) == ("error", f"trian: {MISSING_STEP}")
    told.move("train", State.COMPLETE)
    assert overall(told, sha) == ("error", f"trian: {MISSING_STEP}")
    assert told.shown(sha)["pushmill/train"][0] == "success"


@pytest.mark.parametrize(
    ("trailer", "said"),
    [
        ("Pushmill-Parameter: rate=1", "parameter rate: "),
        ("Pushmill-Parameter: rate", "parameter rate: NAME=VALUE is expected"),
        ("Pushmill-Environment: gpu", "environment gpu: "),
    ],
)
def test_a_parameter_or_an_environment_that_is_not_there_is_an_error(told: ToldForge, trailer: str, said: str) -> None:
    sha = told.push("train", message=f"work\n\n{trailer}")
    told.move("train", State.COMPLETE)
    state, description = overall(told, sha)
    assert (state, description[: len(said)]) == ("error", said)


def test_a_named_step_that_cannot_run_is_an_error_and_one_that_nobody_named_is_none(told: ToldForge) -> None:
    files = {"valohai.yaml": step("train") + needy_step("needy")}
    first = told.push(files=files)
    told.move("train", State.COMPLETE)
    assert overall(told, first) == ("success", "1 step succeeded")
    second = told.push(files=files, message="work\n\nPushmill-Step: needy")
    state, description = overall(told, second)
    assert (state, description[:7]) == ("error", "needy: ")


def test_a_rule_that_names_what_is_not_there_is_an_error_until_it_is_changed_and_run_again(told: ToldForge) -> None:
    rules(told, '[[rule]]\nname = "main"\nsteps = ["trian"]\n')
    sha = told.push("train")
    assert overall(told, sha) == ("error", f"trian: {MISSING_STEP}")
    rules(told, '[[rule]]\nname = "main"\nsteps = ["train", "no*"]\n')
    again(told)
    told.move("train", State.COMPLETE)
    assert overall(told, sha) == ("success", "1 step succeeded")


def test_a_rule_for_nothing_of_the_commit_is_no_error(told: ToldForge) -> None:
    rules(told, '[[rule]]\nname = "docs"\npaths = ["docs/**"]\n')
    assert overall(told, told.push("train")) == ("success", "nothing to run")


@pytest.mark.parametrize("trailer", ["", "\n\nPushmill-Step: nope", "\n\nPushmill-Task: none"])
@pytest.mark.parametrize("yaml", [None, "- step: nonsense", "[]", step("train")])
def test_a_forks_commit_waits_whatever_it_would_run(told: ToldForge, yaml: str | None, trailer: str) -> None:
    told.push("train")
    told.checkout.git("rm", "-q", "valohai.yaml")
    files = {"theirs": "x"} | ({"valohai.yaml": yaml} if yaml is not None else {})
    sha = told.checkout.commit(files, f"theirs{trailer}")
    told.ask(Request(sha=sha, fork=FORK))
    assert overall(told, sha) == WAITS
    made = approve(told, sha)
    assert made == (["train"] if yaml == step("train") and not trailer else [])
    assert overall(told, sha)[0] == ("pending" if made else "error")


def test_a_forks_commit_that_has_nothing_to_run_is_a_success_once_somebody_says_so(told: ToldForge) -> None:
    rules(told, '[[rule]]\nname = "docs"\npaths = ["docs/**"]\nevents = ["pull_request"]\n')
    told.push("train")
    sha = told.checkout.commit({"theirs": "x"}, "theirs")
    told.ask(Request(sha=sha, fork=FORK))
    assert overall(told, sha) == WAITS
    approve(told, sha)
    assert overall(told, sha) == ("success", "nothing to run")


def test_a_strangers_pull_request_takes_nothing_from_a_commit_of_our_own(told: ToldForge) -> None:
    rules(told, '[[rule]]\nname = "docs"\npaths = ["docs/**"]\n')
    sha = told.push("train")
    told.ask(Request(sha=sha, fork=FORK))
    assert overall(told, sha) == ("success", "nothing to run")


def test_a_commit_that_a_stranger_wants_skipped_is_shown_nothing_of(told: ToldForge) -> None:
    told.push("train")
    sha = told.checkout.commit({"theirs": "x"}, "theirs [skip ci]")
    told.ask(Request(sha=sha, fork=FORK))
    told.tell()
    assert told.shown(sha) == {}


@pytest.mark.parametrize("yaml", [None, "[]"])
def test_a_configuration_that_a_pull_request_deletes_is_an_error(told: ToldForge, yaml: str | None) -> None:
    told.push("train")
    told.checkout.git("checkout", "-q", "-b", "topic")
    for number in (1, 2):
        told.checkout.git("rm", "-q", "-f", "--ignore-unmatch", "valohai.yaml")
        files = {"README": str(number)} | ({"valohai.yaml": yaml} if yaml is not None else {})
        sha = told.push(files=files, message="without", ref="topic")
        assert overall(told, sha) == ("error", "valohai.yaml has no steps, and on main it has")
        told.ask(Request(number=number, sha=sha))
        assert overall(told, sha) == ("error", "valohai.yaml has no steps, and on main it has")


def test_a_repository_that_never_had_a_configuration_has_nothing_to_run(told: ToldForge) -> None:
    first = told.push(files={"README": "x"})
    assert overall(told, first) == ("success", "nothing to run: there is no valohai.yaml")
    sha = told.checkout.commit({"README": "y"})
    told.ask(Request(sha=sha))
    assert overall(told, sha) == ("success", "nothing to run: there is no valohai.yaml")


def test_a_configuration_that_a_push_to_main_deletes_is_an_error_once(told: ToldForge) -> None:
    told.push("train")
    told.checkout.git("rm", "-q", "valohai.yaml")
    assert overall(told, told.push(files={"README": "x"}))[0] == "error"
    assert overall(told, told.push(files={"README": "y"})) == ("success", "nothing to run: there is no valohai.yaml")


def test_the_status_of_a_commit_that_can_no_longer_be_approved_ends(told: ToldForge) -> None:
    told.push("train")
    first = told.checkout.commit({"theirs": "1"}, "theirs")
    told.ask(Request(sha=first, fork=FORK))
    assert overall(told, first) == WAITS
    second = told.checkout.commit({"theirs": "2"}, "theirs")
    told.ask(Request(sha=second, fork=FORK), "updated")
    assert overall(told, first) == ("error", NOT_APPROVED)
    assert overall(told, second) == WAITS
    told.ask(Request(sha=second, fork=FORK), "closed")
    assert overall(told, second) == ("error", NOT_APPROVED)
    told.ask(Request(sha=second, fork=FORK), "reopened")
    assert overall(told, second) == WAITS


def test_two_projects_of_one_repository_do_not_overwrite_each_others_statuses(told: ToldForge) -> None:
    told.server.add_project("second", "github", str(told.path))
    second = projects.list_repositories(told.db, projects.get_by_name(told.db, "second").id)[0]
    assert (told.repository.status_context, second.status_context) == ("pushmill", "pushmill:second")
    execute(told.db, "UPDATE repository SET full_name = ? WHERE id = ?", (told.forge.full_name, second.id))
    credentials.set_api_url(told.db, second, told.forge.api_url)
    credentials.set_token(told.server.context, second, told.forge.token)
    sha = told.push("train")
    body = f"pushmill-push 1\nid second-push\nref {'0' * 40} {sha} refs/heads/main\n".encode()
    deliveries.store(told.db, Received(second.id, "poll", "push", body=body), "2")
    told.server.drain()
    told.move("train", State.COMPLETE)
    told.tell()
    wait_for(lambda: told.tick() and "pushmill:second/train" in told.shown(sha))
    told.tell()
    assert told.states(sha) == {
        "pushmill": "success", "pushmill/train": "success",
        "pushmill:second": "pending", "pushmill:second/train": "pending",
    }  # fmt: skip


def test_statuses_keep_their_names_when_the_url_is_given_again(told: ToldForge) -> None:
    told.server.add_project("second", "github", "https://forge.example.org/ada/other.git")
    project = projects.get_by_name(told.db, "second")
    for url, context in (
        ("https://forge.example.org/ada/other", "pushmill"),
        (str(told.path), "pushmill:second"),
        (str(told.path), "pushmill:second"),
        ("ssh://git@forge.example.org/ada/other.git", "pushmill"),
    ):
        found = hosting.set_url(told.server.context, project, url, "github")
        assert found.status_context == context


def again(told: ToldForge) -> None:
    """Have the newest delivery handled once more."""
    with transaction(told.db):
        deliveries.store_again(told.db, told.server.deliveries("model")[-1].id)
    told.server.drain()
    enqueue.enqueue_recent(told.db)

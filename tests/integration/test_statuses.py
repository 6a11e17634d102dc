"""The statuses that are posted to each forge: their order and number, and that they end as in the database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_forge import KINDS, running
from forge_deliveries import Request
from instance import wait_for
from told_forge import URL, ToldForge

from core import clock
from core.states import FailureReason, State
from hooks.apis import client
from web.services import launch
from web.services.executions import lifecycle
from web.services.forges import enqueue
from web.services.forges import publisher as outbox_service
from web.services.repositories import credentials
from web.services.triggers import approvals
from web.store import deliveries, outbox, projects, statuses, users
from web.store.db import execute, fetch_rows, transaction
from web.store.deliveries import Received

each = pytest.mark.parametrize("forge", KINDS, indirect=True)
github, gitlab = (pytest.mark.parametrize("forge", [kind], indirect=True) for kind in ("github", "gitlab"))
SUCCESS = {"github": "success", "gitea": "success", "gitlab": "success", "bitbucket": "SUCCESSFUL"}
WAITING = {"github": "pending", "gitea": "pending", "gitlab": "pending", "bitbucket": "INPROGRESS"}
RUNNING = WAITING | {"gitlab": "running"}
FAILURE = {"github": "failure", "gitea": "failure", "gitlab": "failed", "bitbucket": "FAILED"}
ERROR = {"github": "error", "gitea": "error", "gitlab": "failed", "bitbucket": "FAILED"}
STOPPED = {"github": "error", "gitea": "error", "gitlab": "canceled", "bitbucket": "STOPPED"}


@each
def test_a_commit_is_told_from_waiting_to_its_end(told: ToldForge) -> None:
    kind = told.forge.kind
    sha = told.push("train")
    told.tell()
    assert told.forge.told() == [("pushmill/train", WAITING[kind]), ("pushmill", WAITING[kind])]
    told.move("train", State.STARTED)
    told.tell()
    assert told.forge.told()[2:] == [("pushmill/train", RUNNING[kind]), ("pushmill", RUNNING[kind])]
    told.printed("train", epoch=3, loss=0.1, accuracy=0.94213)
    told.move("train", State.COMPLETE)
    told.tell()
    assert told.forge.told()[4:] == [("pushmill/train", SUCCESS[kind]), ("pushmill", SUCCESS[kind])]
    state, description = told.shown(sha)["pushmill/train"]
    assert (state, description.partition(" · ")[0]) == (SUCCESS[kind], "accuracy 0.9421")
    assert told.shown(sha)["pushmill"] == (SUCCESS[kind], "1 step succeeded")
    links = {status["name"]: status["url"] for status in told.forge.statuses}
    assert links == {
        "pushmill/train": f"{URL}/p/model/executions/1/",
        "pushmill": f"{URL}/p/model/commits/{sha}/",
    }
    assert all(status.get("ref", "main") == "main" for status in told.forge.statuses)


@each
@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (State.ERROR, FailureReason.COMMAND_FAILED, FAILURE),
        (State.ERROR, FailureReason.RUNNER_LOST, ERROR),
        (State.STOPPED, None, STOPPED),
    ],
)
def test_every_bad_end_is_told_in_the_forges_word(
    told: ToldForge, state: State, reason: FailureReason | None, words: dict[str, str]
) -> None:
    sha = told.push("train")
    told.move("train", state, reason)
    told.tell()
    assert told.states(sha) == {"pushmill/train": words[told.forge.kind], "pushmill": words[told.forge.kind]}


@each
def test_what_happens_within_a_moment_is_one_post(told: ToldForge, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(told.tick)  # the first one compares at once
    monkeypatch.setitem(outbox.GAP_S, outbox.OutboxKind.STATUS, 2.0)
    sha = told.push("train")
    wait_for(told.tick)
    told.move("train", State.QUEUED)
    wait_for(told.tick)
    told.move("train", State.STARTED)
    told.tell()
    kind = told.forge.kind
    assert told.forge.told() == [("pushmill/train", RUNNING[kind]), ("pushmill", RUNNING[kind])]
    assert told.line(sha)["version"] >= 3


@each
def test_the_same_is_never_told_twice(told: ToldForge) -> None:
    told.push("train", "eval")
    told.tell()
    told.move("train", State.COMPLETE)
    told.tell()
    before = len(told.forge.calls)
    for _ in range(3):
        enqueue.enqueue_recent(told.db)
        told.tell()
    assert len(told.forge.calls) == before


@gitlab
def test_gitlab_gets_one_pipeline_and_one_job_for_each_name(told: ToldForge) -> None:
    sha = told.push("a", "b", "c", "d")
    told.tell()
    for step in "abcd":
        told.move(step, State.COMPLETE)
        told.tick()
    told.tell()
    (pipeline,) = told.forge.pipelines
    assert (pipeline["sha"], pipeline["ref"]) == (sha, "main")
    names = [job["name"] for job in told.forge.statuses]
    assert sorted(names) == ["pushmill", *(f"pushmill/{step}" for step in "abcd")]
    first, *others = told.forge.posts()
    assert "pipeline_id" not in first.json
    assert {call.json["pipeline_id"] for call in others} == {pipeline["id"]}
    assert {call.json["ref"] for call in told.forge.posts()} == {"main"}
    assert {call.answered for call in told.forge.posts()} == {201}
    assert told.forge.overlaps() == 0


@gitlab
def test_gitlabs_refusal_of_what_it_shows_already_is_no_problem(told: ToldForge) -> None:
    sha = told.push("train")
    told.tell()
    execute(told.db, "DELETE FROM commit_status")  # what was recorded is lost
    enqueue.enqueue_recent(told.db)
    told.tell()
    assert [call.answered for call in told.forge.posts()][2:] == [400, 400]
    assert told.problems() == []
    told.move("train", State.STARTED)
    told.tell()
    assert told.states(sha) == {"pushmill/train": "running", "pushmill": "running"}


@gitlab
def test_gitlab_is_not_told_of_going_back_to_the_queue(told: ToldForge) -> None:
    sha = told.push("train")
    execution = told.move("train", State.STARTED)
    told.tell()
    posts = len(told.forge.posts())
    with transaction(told.db):
        lifecycle._give_up(told.server.context, execution, "its runner is silent")
    told.tell()
    told.move("train", State.STARTED)
    told.tell()
    assert len(told.forge.posts()) == posts
    assert told.states(sha) == {"pushmill/train": "running", "pushmill": "running"}


@gitlab
def test_a_pipeline_that_was_deleted_is_not_named_again(told: ToldForge) -> None:
    sha = told.push("train")
    told.tell()
    told.forge.pipelines.clear()
    told.forge.statuses.clear()
    told.move("train", State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/train": "success", "pushmill": "success"}
    assert len(told.forge.pipelines) == 1


@each
def test_running_a_step_again_tells_its_newest_try(told: ToldForge) -> None:
    kind = told.forge.kind
    sha = told.push("train")
    failed = told.move("train", State.ERROR, FailureReason.COMMAND_FAILED)
    told.tell()
    admin = users.find_by_name(told.db, "admin")
    assert admin is not None
    with transaction(told.db):
        launch.rerun(told.server.context, failed, admin, "Runs again")
    told.tell()
    assert told.states(sha) == {"pushmill/train": WAITING[kind], "pushmill": WAITING[kind]}
    told.move("train", State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/train": SUCCESS[kind], "pushmill": SUCCESS[kind]}


def test_an_execution_that_no_event_made_is_not_told(told: ToldForge) -> None:
    sha = told.push("train")
    told.move("train", State.COMPLETE)
    told.tell()
    posts = len(told.forge.calls)
    execute(told.db, "UPDATE execution SET push_id = NULL")
    execution = told.execution("train")
    admin = users.find_by_name(told.db, "admin")
    assert admin is not None
    with transaction(told.db):
        launch.rerun(told.server.context, execution, admin, "By hand")
    told.move("train", State.ERROR, FailureReason.COMMAND_FAILED)
    told.tell()
    assert len(told.forge.calls) == posts
    assert told.states(sha)["pushmill/train"] == "success"


def test_commits_of_which_nothing_runs_are_told_in_the_roll_up_alone(told: ToldForge) -> None:
    broken = told.push(files={"valohai.yaml": "- step: nonsense"}, ref="broken")
    missing = told.push(files={"README": "x"}, message="without", ref="missing")
    told.checkout.git("rm", "-q", "valohai.yaml")
    missing = told.push(files={"README": "y"}, message="without", ref="missing")
    skipped = told.push("train", message="work [skip ci]", ref="skipped")
    empty = told.push(files={"valohai.yaml": "[]"}, ref="empty")
    told.tell()
    state, description = told.shown(broken)["pushmill"]
    assert state == "error"
    assert description.startswith("valohai.yaml is not valid: ")
    assert told.shown(missing) == {"pushmill": ("error", "valohai.yaml has no steps, and on broken it has")}
    assert told.shown(skipped) == {}
    assert told.shown(empty)["pushmill"][0] in ("success", "error")
    links = {status["url"] for status in told.forge.statuses}
    assert f"{URL}/p/model/commits/{broken}/" in links


def test_a_forks_commit_waits_for_approval_and_is_told_once_it_has_it(told: ToldForge) -> None:
    told.push("train")
    sha = told.checkout.commit({"theirs": "x"})
    told.ask(Request(sha=sha, fork="mallory/model"))
    told.tell()
    assert told.shown(sha) == {"pushmill": ("pending", "waiting for approval: from a fork")}
    admin = users.find_by_name(told.db, "admin")
    assert admin is not None
    approvals.approve(told.server.context, projects.get_by_name(told.db, "model"), sha, admin)
    told.server.drain()
    assert len(told.server.executions("model")) == 2
    told.move("train", State.COMPLETE)
    told.tell()
    assert told.states(sha) == {"pushmill/train": "success", "pushmill": "success"}


@gitlab
def test_the_commit_of_a_pull_request_is_told_under_its_branch(told: ToldForge) -> None:
    told.push("train")
    sha = told.checkout.commit({"ours": "x"})
    told.ask(Request(sha=sha, branch="topic"))
    told.tell()
    assert told.states(sha) == {"pushmill/train": "pending", "pushmill": "pending"}
    assert {call.json["ref"] for call in told.forge.posts() if sha in call.path} == {"topic"}


def test_who_stopped_it_is_told(told: ToldForge) -> None:
    sha = told.push("train")
    execution = told.execution("train")
    lifecycle.request_stop(told.server.context, execution.uuid, "ada")
    told.tell()
    assert told.shown(sha)["pushmill/train"] == ("error", "stopped by ada")


def test_contexts_and_descriptions_keep_within_what_the_forge_takes(told: ToldForge) -> None:
    long, odd = "x" * 300, "Größe, (v2)\u202e \U0001f600"
    sha = told.push("Train", "train", long, odd)
    for step in ("Train", "train", long, odd):
        told.printed(step, accuracy=0.5)
        told.move(step, State.ERROR, FailureReason.COMMAND_FAILED, failure_message="a\n\x1b[31mb" + "x" * 500)
    told.tell()
    assert {call.answered for call in told.forge.posts()} == {201}
    assert len(told.shown(sha)) == 5
    assert len({name.casefold() for name in told.shown(sha)}) == 5
    assert all(len(description) <= 140 and description.isprintable() for _, description in told.shown(sha).values())


@each
def test_a_limit_pauses_the_whole_repository_for_as_long_as_the_forge_says(told: ToldForge) -> None:
    told.forge.fail(429, headers={"Retry-After": "3600"}, json={"message": "slow down"})
    first = told.push("train")
    second = told.push("eval")
    wait_for(lambda: told.tick() and told.repository.api_retry_at)
    for _ in range(5):
        told.tick()
    assert len(told.forge.posts()) == 1
    assert "slow down" in told.line(first)["problem"] + told.line(second)["problem"]
    execute(told.db, "UPDATE repository SET api_retry_at = ?", (clock.add_to_now(-1),))
    execute(told.db, "UPDATE outbox SET due_at = ? WHERE due_at IS NOT NULL", (clock.add_to_now(-1),))
    told.tell()
    for sha in (first, second):
        assert told.states(sha) == told.wanted(sha)


def test_pauses_of_a_clock_that_was_ahead_have_passed(told: ToldForge) -> None:
    told.forge.fail(429, headers={"Retry-After": "3600"}, json={"message": "slow down"})
    sha = told.push("train")
    wait_for(lambda: told.tick() and told.repository.api_retry_at)
    execute(told.db, "UPDATE repository SET api_retry_at = '2999-01-01T00:00:00.000000Z'")
    execute(told.db, "UPDATE outbox SET due_at = '2999-01-01T00:00:00.000000Z' WHERE due_at IS NOT NULL")
    told.tell()
    assert told.states(sha) == told.wanted(sha)


@each
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_stops_the_reporting_until_there_is_another(told: ToldForge, status: int) -> None:
    told.forge.fail(status, times=1000, json={"message": "Bad credentials"})
    sha = told.push("train", "eval")
    wait_for(lambda: told.tick() and told.repository.api_problem)
    told.move("train", State.COMPLETE)
    for _ in range(3):
        told.tick()
    assert len(told.forge.posts()) == 1
    assert told.repository.api_problem == f"the API token was rejected: {status} Bad credentials"
    told.forge.mend()
    told.set_token(told.forge.token)
    told.tell()
    assert told.states(sha) == told.wanted(sha)
    assert len(told.shown(sha)) == 3


def test_a_repository_that_moved_stops_the_reporting_and_says_where_it_is(told: ToldForge) -> None:
    told.forge.fail(301, times=100, headers={"Location": "https://forge.example.org/new"}, json={"message": "Moved"})
    told.push("train", "eval")
    wait_for(lambda: told.tick() and told.repository.api_problem)
    assert "301 Moved: it has moved to https://forge.example.org/new" in told.repository.api_problem
    assert len(told.forge.posts()) == 1


def test_somebody_who_says_that_it_is_mended_has_it_tried_again(told: ToldForge) -> None:
    told.forge.forbidden.add("statuses")
    sha = told.push("train")
    wait_for(lambda: told.tick() and told.repository.api_problem)
    told.forge.forbidden.clear()
    outbox_service.retry_now(told.db, told.repository)
    told.tell()
    assert told.states(sha) == told.wanted(sha)


@each
@pytest.mark.parametrize("status", [404, 422])
def test_what_the_forge_will_not_have_is_one_contexts_problem(told: ToldForge, status: int) -> None:
    kind = told.forge.kind
    told.forge.fail(status, json={"message": "no such thing"})
    sha = told.push("train", "eval")
    told.tell()
    told.tell()
    assert told.problems() == [f"pushmill/train: {status} no such thing"]
    assert told.states(sha) == {"pushmill/eval": WAITING[kind], "pushmill": WAITING[kind]}
    assert len(told.forge.posts()) == 3
    outbox_service.retry_now(told.db, told.repository)
    told.tell()
    assert told.states(sha) == told.wanted(sha)
    assert told.problems() == []


@github
def test_a_context_that_is_full_takes_nothing_else_down(told: ToldForge) -> None:
    told.forge.status_cap = 2
    sha = told.push("train", "eval")
    told.tell()
    told.move("train", State.STARTED)
    told.tell()
    told.move("train", State.COMPLETE)
    told.move("eval", State.COMPLETE)
    told.tell()
    assert all("maximum number of statuses" in problem for problem in told.problems())
    assert {problem.partition(":")[0] for problem in told.problems()} == {"pushmill/train", "pushmill"}
    assert told.states(sha)["pushmill/eval"] == "success"


@each
def test_failures_that_may_pass_are_tried_again_until_the_forge_agrees(told: ToldForge) -> None:
    told.forge.fail(500, times=2)
    told.forge.drop(times=2)
    told.forge.drop(applied=True)
    told.forge.fail(503, times=1)
    sha = told.push("train", "eval")
    told.move("eval", State.COMPLETE)
    told.tell()
    assert told.states(sha) == told.wanted(sha)
    assert told.repository.api_problem == ""
    assert told.line(sha)["problem"] == ""


def test_a_forge_that_is_away_for_long_is_told_the_last_state_once_it_is_back(told: ToldForge) -> None:
    told.forge.fail(502, times=10**6)
    sha = told.push("train")
    wait_for(lambda: told.tick() and told.line(sha)["attempts"] >= 4)
    told.move("train", State.COMPLETE)
    told.tick()
    told.forge.mend()
    posts = len(told.forge.posts())
    told.tell()
    assert told.forge.told()[posts:] == [("pushmill/train", "success"), ("pushmill", "success")]
    assert told.states(sha) == {"pushmill/train": "success", "pushmill": "success"}


def test_after_a_day_and_some_attempts_it_is_given_up_visibly_and_may_be_tried_again(told: ToldForge) -> None:
    told.forge.fail(502, times=10**6, json={"message": "bad gateway"})
    sha = told.push("train")
    execute(told.db, "UPDATE outbox SET since = ?", (clock.add_to_now(-24 * 3600),))
    told.tell()
    assert len(told.forge.posts()) == outbox_service.LEAST_ATTEMPTS
    assert told.line(sha)["problem"] == "given up after a day: 502 bad gateway"
    told.forge.mend()
    outbox_service.retry_now(told.db, told.repository)
    told.tell()
    assert told.states(sha) == told.wanted(sha)


def test_a_forge_that_hangs_holds_up_no_other_and_not_the_sweep(
    told: ToldForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 600.0)  # it is not given up meanwhile
    monkeypatch.setattr(client, "ANSWER_S", 600.0)
    hanging = told.forge.hang(times=10**6)
    told.push("train")
    wait_for(lambda: told.tick() or told.forge.posts())
    with running("gitea") as other:
        told.server.add_project("second", "gitea", str(told.path))
        repository = projects.list_repositories(told.db, projects.get_by_name(told.db, "second").id)[0]
        sql = "UPDATE repository SET full_name = ?, api_url = ? WHERE id = ?"
        execute(told.db, sql, (other.full_name, other.api_url, repository.id))
        credentials.set_token(told.server.context, projects.get_repository(told.db, repository.id), other.token)
        sha = told.checkout.git("rev-parse", "HEAD").stdout.strip()
        body = f"pushmill-push 1\nid second-push\nref {'0' * 40} {sha} refs/heads/main\n".encode()
        deliveries.store(told.db, Received(repository.id, "poll", "push", body=body), "second")
        told.server.drain()
        wait_for(lambda: told.tick() or len(other.posts()) == 2)
        assert [call.answered for call in told.forge.posts()] == [0]
        hanging.set()


def test_without_a_token_nothing_is_kept_for_later_and_a_token_tells_the_last_days_commits(told: ToldForge) -> None:
    told.set_token("")
    sha = told.push("train")
    old = told.push("eval")
    told.move("train", State.COMPLETE)
    told.tell()
    assert told.forge.calls == []
    assert fetch_rows(told.db, "SELECT * FROM outbox") == []
    execute(told.db, "DELETE FROM state_change WHERE execution_id = ?", (told.execution("eval").id,))
    told.move("eval", State.COMPLETE)
    long_ago = clock.add_to_now(-25 * 3600)
    execute(told.db, "UPDATE push SET created_at = ? WHERE after = ?", (long_ago, old))
    execute(told.db, "UPDATE execution SET ended_at = ? WHERE step = 'eval'", (long_ago,))
    told.tell()
    told.set_token(told.forge.token)
    told.tell()
    assert told.states(sha) == {"pushmill/train": "success", "pushmill": "success"}
    assert told.states(old) == {}


def test_without_an_address_of_the_server_nothing_is_posted(told: ToldForge) -> None:
    config = told.server.config
    told.teller._config = replace(config, server=replace(config.server, url=""))
    told.push("train")
    told.tell()
    assert told.forge.calls == []


def test_an_unknown_error_is_tried_again_and_takes_nothing_down(
    told: ToldForge, caplog: pytest.LogCaptureFixture
) -> None:
    sha = told.push("train")
    execute(told.db, "UPDATE git_commit SET config = 'no JSON'")
    other = told.push("eval")
    wait_for(lambda: told.tick() and told.line(sha)["attempts"])
    assert "internal error" in told.line(sha)["problem"]
    assert "cannot be posted" in caplog.text
    wait_for(lambda: told.tick() and told.states(other) == {"pushmill/eval": "pending", "pushmill": "pending"})


def test_statuses_are_told_what_is_true_when_they_are_posted(told: ToldForge) -> None:
    """A change that comes while a post is on its way is told after it, never before."""
    hanging = told.forge.hang(path="/statuses/")
    sha = told.push("train")
    wait_for(lambda: told.tick() or told.forge.posts())
    told.move("train", State.COMPLETE)
    told.tick()
    hanging.set()
    told.tell()
    train = [state for name, state in told.forge.told() if name == "pushmill/train"]
    assert train == ["pending", "success"]
    assert told.states(sha) == told.wanted(sha)
    assert told.forge.overlaps() == 0
    assert statuses.map_posted(told.db, told.repository.id, sha)["pushmill"].state == "success"

"""Pull requests from a signed delivery to executions: which run, which wait, and which get secrets.

The forge is a git server on loopback that keeps heads of pull requests where each forge does.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import threading
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import by_hand
import pytest
from command_line import pushmill
from forge_deliveries import SENDERS, ZERO, Bitbucket, Gitea, GitHub, GitLab, Gogs, Moved, Request, Sender, label
from git_over_http import GitServer
from instance import Checkout
from push_server import PushServer, bare_repository, step
from ruled_project import CANCEL
from test_webhooks_of_forges import Forge

from core import git
from core.errors import Conflict, InvalidInput
from core.model import EventKind, Execution, User
from core.states import FINAL, State
from core.wire import ExecutionSpec
from web.cli import approvals as approval_command
from web.config.steps.resolve import resolve
from web.services import launch
from web.services.context import open_context
from web.services.executions import variables
from web.services.executions.spec import build_execution_spec
from web.services.presentation import badges
from web.services.presentation.badges import BadgeQuery
from web.services.repositories import hosting
from web.services.triggers import approvals
from web.store import approvals as approval_store
from web.store import data, deliveries, projects, pull_requests, pushes, users
from web.store.db import execute, fetch_rows, transaction
from web.store.pull_requests import PullRequest
from web.store.pushes import Push

TELLING = tuple(sender for sender in SENDERS if type(sender) is not Gogs)
each = pytest.mark.parametrize("sender", TELLING, ids=label)
github = pytest.mark.parametrize("sender", [GitHub()], ids=label)
FORK = "mallory/model"
SECRET = "correct-horse"


class Site(Forge):
    """A forge with a repository of one commit on main, and people who ask that theirs be pulled."""

    def __init__(self, pushes: PushServer, checkout: Checkout, root: Path, server: GitServer, sender: Sender) -> None:
        url = f"http://runner:s3cret-token@127.0.0.1:{server.server_port}/git/ada/model.git"
        super().__init__(pushes, checkout, root, url, sender)
        self.server, self.numbers = server, itertools.count()
        self.fork = bare_repository(root / "mallory" / "model.git")
        server.public = "/git/mallory/"
        checkout.commit({"valohai.yaml": step("train")}, "the first")
        checkout.git("push", "-q", str(self.path), "HEAD:main")
        checkout.git("checkout", "-q", "-b", "topic")

    def follow(self, rules: str) -> None:
        projects.set_rules(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id, rules)

    def head(self, fork: str = "", *, number: int = 7, message: str = "topic", branch: str = "topic") -> Request:
        """Commit, put it where the forge keeps the head of the pull request, and what it says of that."""
        sha = self.checkout.commit({"valohai.yaml": step("train")}, message)
        return self.at(sha, fork, number=number, branch=branch)

    def at(self, sha: str, fork: str = "", *, number: int = 7, branch: str = "topic") -> Request:
        places = {self.fork if fork else self.path: [f"{sha}:refs/heads/{branch}"]}
        if folder := {"gitlab": "merge-requests", "bitbucket": ""}.get(self.sender.name, "pull"):
            places.setdefault(self.path, []).append(f"{sha}:refs/{folder}/{number}/head")
        for path, refs in places.items():
            self.checkout.git("push", "-q", "-f", str(path), *refs)
        site = f"http://127.0.0.1:{self.server.server_port}/git"
        return Request(sha=sha, fork=fork, number=number, branch=branch, site=site)

    def ask(self, request: Request, action: str = "opened", **more: Any) -> str:
        """Tell of a pull request, and what is said of the delivery once it is handled."""
        event, payload = self.sender.pull_request(request, action, **more)
        assert self.deliver(payload, f"pull-{next(self.numbers)}", event) == 202
        self.pushes.drain()
        return self.pushes.deliveries("model")[-1].message

    def push_told(self, request: Request) -> None:
        """Deliver the push to the branch of the pull request."""
        moved = Moved(ref=f"refs/heads/{request.branch}", before=ZERO, after=request.sha)
        assert self.tell(moved, delivery=f"push-{next(self.numbers)}") == [202]
        self.pushes.drain()

    def again(self) -> str:
        """Run the newest delivery again, as its page does."""
        with transaction(self.pushes.db):
            deliveries.store_again(self.pushes.db, self.pushes.deliveries("model")[-1].id)
        self.pushes.drain()
        return self.pushes.deliveries("model")[-1].message

    def approve(self, request: Request) -> int:
        """Approve a commit; how many executions follow from it, once the worker has fetched it."""
        project, before = projects.get_by_name(self.pushes.db, "model"), len(self.pushes.executions("model"))
        approvals.approve(self.pushes.context, project, request.sha, self.admin)
        self.pushes.drain()
        return len(self.pushes.executions("model")) - before

    def waiting(self) -> list[str]:
        project = projects.get_by_name(self.pushes.db, "model")
        found = approval_store.list_waiting(self.pushes.db, project.id)
        assert approval_store.count_by_project(self.pushes.db).get(project.id, 0) == len(
            {item.push.after for item in found}
        )
        return [item.push.after for item in found]

    def badge(self) -> str:
        projects.set_badge_public(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id, True)
        return badges.make_badge(self.pushes.context, BadgeQuery(project="model")).message

    def known(self, number: int = 7) -> PullRequest:
        found = pull_requests.find(self.pushes.db, self.repository, number)
        assert found is not None
        return found

    def of(self, sha: str) -> list[Push]:
        return [push for push in self.pushes.pushes("model") if push.after == sha]

    def spec(self, execution: Execution) -> ExecutionSpec:
        """Return the spec that a runner gets at the claim."""
        return build_execution_spec(self.pushes.context, execution)

    def set_variables(self) -> None:
        project = projects.get_by_name(self.pushes.db, "model")
        variables.set_variable(self.pushes.context, project, "TOKEN", SECRET, is_secret=True)
        variables.set_variable(self.pushes.context, project, "MODE", "plain", is_secret=False)

    @property
    def repository(self) -> int:
        return projects.list_repositories(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id)[0].id

    @property
    def mirror(self) -> Path:
        return hosting.get_repository_path(self.pushes.config, projects.get_repository(self.pushes.db, self.repository))

    @property
    def admin(self) -> User:
        found = users.find_by_name(self.pushes.db, "admin")
        assert found is not None
        return found


@pytest.fixture
def site(sender: Sender, pushes: PushServer, checkout: Checkout, tmp_path: Path, git_server: GitServer) -> Site:
    return Site(pushes, checkout, tmp_path / "forge", git_server, sender)


# what runs


@each
def test_an_opened_pull_request_runs_its_head_like_a_push_to_a_branch(site: Site) -> None:
    request = site.head(message="a topic")
    assert site.ask(request) == "pull request 7: 1 execution"
    (push,) = site.pushes.pushes("model")
    assert (push.kind, push.ref, push.after) == (EventKind.PULL_REQUEST, "refs/pull/7/head", request.sha)
    assert (push.before, push.pusher, push.message) == (ZERO, "ada", "a topic\n")
    assert (push.name, push.pull_request_id) == ("pull/7/head", site.known().id)
    assert [execution.commit_identifier for execution in site.pushes.executions("model")] == [request.sha]
    known = site.known()
    assert (known.sha, known.title, known.author) == (request.sha, "Train longer", "ada")
    assert (known.head_branch, known.base_branch, known.from_fork, known.closed) == ("topic", "main", False, False)


@each
def test_each_new_head_runs_once_and_what_is_told_of_titles_runs_nothing(site: Site) -> None:
    first = site.head()
    site.ask(first)
    asked = len(site.server.requests)
    assert site.ask(replace(first, title="Other"), "edited") == "pull request 7: was recorded before"
    assert (site.known().title, len(site.server.requests)) == ("Other", asked)
    second = site.head(message="more")
    assert site.ask(second, "updated") == "pull request 7: 1 execution"
    assert "recorded before" in site.ask(second, "updated")
    assert "recorded before" in site.ask(second, "reopened")
    assert [(push.before, push.after) for push in site.pushes.pushes("model")] == [
        (ZERO, first.sha), (first.sha, second.sha),
    ]  # fmt: skip
    assert site.pushes.steps("model") == ["train", "train"]


@each
def test_what_is_closed_runs_nothing_and_its_state_is_kept(site: Site) -> None:
    request = site.head()
    assert site.ask(request, "closed") == "pull request 7: it is closed, nothing runs"
    assert (site.known().closed, site.server.requests) == (True, [])
    assert site.ask(request, "reopened") == "pull request 7: 1 execution"
    assert not site.known().closed
    site.ask(replace(request, title="Done"), "merged")
    assert (site.known().closed, site.known().title, site.known().sha) == (True, "Done", request.sha)
    assert site.again() == "pull request 7: it is closed, nothing runs"
    assert site.pushes.steps("model") == ["train"]


@each
def test_labels_run_nothing(site: Site) -> None:
    site.ask(site.head(), "labeled")
    assert site.pushes.pushes("model") == []
    assert site.pushes.deliveries("model")[-1].state == "ignored"


@each
def test_running_its_delivery_again_runs_its_head_again(site: Site) -> None:
    request = site.head()
    site.ask(request)
    assert site.again() == "pull request 7: 1 execution"
    first, second = site.of(request.sha)
    assert (second.again_of, second.before, second.pull_request_id) == (first.id, ZERO, first.pull_request_id)


@each
def test_skip_marks_and_broken_configurations_are_said(site: Site) -> None:
    assert (
        site.ask(site.head(message="[skip ci] not yet")) == "pull request 7: skipped: [skip ci] in the commit message"
    )
    sha = site.checkout.commit({"valohai.yaml": "- nonsense"})
    assert "waiting for approval" in site.ask(site.at(sha, FORK, number=8))
    assert "configuration is not valid" in site.ask(site.at(sha, number=9))
    assert site.waiting() == [sha]


# two events, one set


@each
def test_a_push_and_then_its_pull_request_make_one_set(site: Site) -> None:
    request = site.head()
    site.push_told(request)
    assert site.ask(request) == "pull request 7: nothing runs: everything was skipped"
    assert site.pushes.steps("model") == ["train"]
    assert site.of(request.sha)[1].skipped == (("train", "#1 runs it already, for the push to topic"),)


@each
def test_a_pull_request_and_then_its_push_make_one_set(site: Site) -> None:
    request = site.head()
    site.ask(request)
    site.push_told(request)
    assert site.pushes.steps("model") == ["train"]
    assert site.of(request.sha)[1].skipped == (("train", "#1 runs it already, for pull request 7"),)
    assert site.of(request.sha)[1].outcome == "nothing runs: everything was skipped"


@each
def test_only_the_other_kind_of_event_on_the_same_branch_counts(site: Site) -> None:
    request = site.head()
    site.push_told(replace(request, branch="main"))
    site.checkout.git("push", "-q", str(site.path), f"{request.sha}:refs/heads/copy")
    site.push_told(replace(request, branch="copy"))
    assert site.ask(request) == "pull request 7: 1 execution"
    assert site.ask(site.at(request.sha, number=8)) == "pull request 8: 1 execution"
    assert len(site.pushes.steps("model")) == 4


@github
def test_steps_that_the_other_event_did_not_run_do_run(site: Site) -> None:
    sha = site.checkout.commit({"valohai.yaml": step("train") + step("test")}, "two\n\nPushmill-Step: test")
    request = site.at(sha)
    site.push_told(request)
    assert site.pushes.steps("model") == ["test"]
    execute(site.pushes.db, "UPDATE execution SET step = 'other'")
    assert site.ask(request) == "pull request 7: 1 execution"


# forks


@each
def test_a_fork_runs_nothing_until_that_very_commit_is_approved(site: Site) -> None:
    first = site.head(FORK)
    assert site.ask(first) == "pull request 7: waiting for approval: from a fork"
    assert (site.pushes.steps("model"), site.waiting()) == ([], [first.sha])
    assert site.known().from_fork
    assert site.again() == "pull request 7: waiting for approval: from a fork"
    assert site.pushes.steps("model") == []
    assert site.approve(first) == 1
    assert [push.outcome for push in site.of(first.sha)] == ["1 execution", "nothing runs: everything was skipped"]
    assert (site.pushes.steps("model"), site.waiting()) == (["train"], [])
    second = site.head(FORK, message="and now for something else")
    assert site.ask(second, "updated") == "pull request 7: waiting for approval: from a fork"
    assert (site.pushes.steps("model"), site.waiting()) == (["train"], [second.sha])
    assert site.approve(second) == 1
    assert [execution.creator for execution in site.pushes.executions("model")] == ["admin", "admin"]


@each
def test_a_pull_request_whose_fork_is_gone_runs_nothing(site: Site) -> None:
    request = site.head("gone")
    said = site.ask(request)
    if not isinstance(site.sender, Bitbucket):  # which keeps no head
        assert said == "pull request 7: waiting for approval: from a fork"
    else:
        execute(site.pushes.db, "UPDATE delivery SET attempts = 5, retry_at = NULL")
        site.pushes.drain()
        assert site.pushes.deliveries("model")[-1].state == "failed"
        assert site.pushes.deliveries("model")[-1].message == "pull request 7: its fork was deleted"
    assert site.pushes.steps("model") == []


@each
def test_a_fork_of_a_commit_that_the_repository_has_itself_waits_too(site: Site) -> None:
    request = site.head()
    site.push_told(request)
    assert "waiting for approval" in site.ask(site.at(request.sha, FORK))
    assert site.pushes.steps("model") == ["train"]
    site.set_variables()
    assert site.spec(site.pushes.executions("model")[0]).secrets == ["TOKEN"]  # it was pushed, so it is trusted


@each
def test_once_a_fork_always_a_fork(site: Site) -> None:
    site.ask(site.head(FORK))
    later = replace(site.head(FORK, message="more"), fork="")
    if isinstance(site.sender, Bitbucket):
        later = site.at(later.sha)
    assert "waiting for approval" in site.ask(later, "updated")


@github
def test_two_people_who_approve_at_once_make_one_set(site: Site) -> None:
    request = site.head(FORK)
    site.ask(request)
    made: list[int] = []

    def press() -> None:
        with open_context(site.pushes.config, site.pushes.vault) as context:
            project = projects.get_by_name(context.db, "model")
            made.append(len(approvals.approve(context, project, request.sha, site_admin)))

    site_admin = site.admin
    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0] * 6
    site.pushes.drain()
    assert site.pushes.steps("model") == ["train"]
    assert len(fetch_rows(site.pushes.db, "SELECT * FROM approval")) == 1


@github
def test_two_pull_requests_of_one_approved_commit_make_one_set(site: Site) -> None:
    request = site.head(FORK)
    site.ask(request)
    site.ask(site.at(request.sha, FORK, number=8))
    assert site.waiting() == [request.sha, request.sha]
    assert site.approve(request) == 1
    assert site.of(request.sha)[1].skipped == (("train", "#1 runs it already, for pull request 7"),)
    assert site.waiting() == []


@github
def test_what_has_moved_on_or_was_closed_cannot_be_approved(site: Site) -> None:
    first = site.head(FORK)
    site.ask(first)
    second = site.head(FORK, message="more")
    site.ask(second, "updated")
    assert site.waiting() == [second.sha]
    with pytest.raises(Conflict, match="has a newer commit"):
        site.approve(first)
    site.ask(second, "closed")
    for request in (second, replace(second, sha="f" * 40)):
        with pytest.raises(Conflict, match="does not wait for approval"):
            site.approve(request)
    assert fetch_rows(site.pushes.db, "SELECT * FROM approval") == []
    assert site.ask(second, "reopened") == "pull request 7: was recorded before"
    assert site.approve(second) == 1


@github
def test_an_approved_commit_runs_when_it_comes_again(site: Site) -> None:
    request = site.head(FORK)
    site.ask(request)
    site.approve(request)
    with transaction(site.pushes.db):
        users.add(site.pushes.db, "mallory", is_admin=False)  # somebody else, who has this name here
    again = replace(site.at(request.sha, FORK, number=8), author="mallory")
    assert site.ask(again) == "pull request 8: 1 execution"
    assert [execution.creator for execution in site.pushes.executions("model")] == ["admin", "admin"]


@github
def test_the_command_line_approves(site: Site) -> None:
    request = site.head(FORK)
    site.ask(request)

    def approve(*sha: str) -> subprocess.CompletedProcess[str]:
        return pushmill(site.pushes.config.data, "project", "approve", "model", *sha)

    assert approve().stdout == f"{request.sha[:12]}  pull request 7 by ada: Train longer\n"
    for wrong in (request.sha[:3], "f" * 12):
        assert "no waiting commit begins with" in approve(wrong).stderr
    assert "does not wait for approval" in approve("f" * 40).stderr
    (waiting,) = approval_store.list_waiting(site.pushes.db, projects.get_by_name(site.pushes.db, "model").id)
    twin = replace(waiting, push=replace(waiting.push, after=request.sha[:8] + "0" * 32))
    with pytest.raises(InvalidInput, match="matches 2 waiting commits"):
        approval_command._whole(request.sha[:8], [waiting, twin])
    approved = f"Commit {request.sha} is approved: it runs as soon as its history is fetched.\n"
    assert [approve(sha).stdout for sha in (request.sha[:7], request.sha)] == [approved] * 2
    site.pushes.drain()
    assert approve(request.sha).stdout == f"Commit {request.sha} is approved: nothing else starts.\n"
    assert approve().stdout == "No commit waits for approval.\n"
    assert site.pushes.steps("model") == ["train"]


# secrets


@github
def test_secrets_go_to_what_the_repositorys_own_people_pushed_and_to_what_is_approved(site: Site) -> None:
    site.set_variables()
    site.ask(site.head())
    request = site.head(FORK, number=8)
    site.ask(request)
    site.approve(request)
    for execution in site.pushes.executions("model"):
        assert site.spec(execution).environment_variables == {"TOKEN": SECRET, "MODE": "plain"}


@github
def test_whoever_runs_a_forks_commit_by_hand_does_not_give_it_secrets(site: Site) -> None:
    site.set_variables()
    request = site.head(FORK)
    site.ask(request)
    db, context = site.pushes.db, site.pushes.context
    commit, project = site.pushes.commit("model", request.sha), projects.get_by_name(db, "model")
    with transaction(db), by_hand.approved(db, commit, site.admin):
        unapproved = by_hand.execution(context, project, commit, resolve(commit.config, "train"), site.admin)
        again = launch.rerun(context, unapproved, site.admin, "Runs again")
    for execution in (unapproved, again):
        spec = site.spec(execution)
        assert (spec.environment_variables, spec.secrets) == ({"MODE": "plain"}, [])
    execute(db, "UPDATE push SET pull_request_id = NULL")  # in doubt it is a stranger's
    assert site.spec(again).secrets == []
    execute(db, "UPDATE push SET pull_request_id = ?", (site.known().id,))
    site.approve(request)
    assert site.spec(again).environment_variables == {"TOKEN": SECRET, "MODE": "plain"}


@github
def test_a_forks_commit_that_was_merged_is_trusted(site: Site) -> None:
    site.set_variables()
    request = site.head(FORK)
    site.ask(request)
    site.checkout.git("push", "-q", str(site.path), f"{request.sha}:refs/heads/main")
    site.push_told(replace(request, branch="main"))
    (execution,) = site.pushes.executions("model")
    assert site.spec(execution).secrets == ["TOKEN"]


@github
def test_a_forks_commit_reads_outputs_of_the_project_once_it_is_merged(site: Site) -> None:
    site.ask(site.head())
    (execution,) = site.pushes.executions("model")
    datum, sums = str(uuid.uuid4()), dict.fromkeys(("sha256", "sha1", "md5"), "0")
    with transaction(site.pushes.db):
        data.add(
            site.pushes.db, execution.project_id, execution.id, {"uuid": datum, "name": "model.bin", "size": 1, **sums}
        )
    text = step("train") + f"    inputs:\n      - {{name: model, default: datum://{datum}}}\n"
    request = site.at(site.checkout.commit({"valohai.yaml": text}, "reads"), FORK, number=8)
    site.ask(request)
    assert len(site.pushes.executions("model")) == 1
    site.checkout.git("push", "-q", str(site.path), f"{request.sha}:refs/heads/main")
    site.push_told(replace(request, branch="main"))
    merged = site.pushes.executions("model")[-1]
    assert (merged.state, merged.failure_message) == (State.QUEUED, None)
    assert [found["uuid"] for found in site.spec(merged).data] == [datum]


# order


@each
def test_an_older_head_that_is_told_later_does_not_become_the_present_one(site: Site) -> None:
    first = site.head()
    second = site.head(message="more")
    site.ask(second, "updated")
    assert site.ask(replace(first, title="Old"), "opened") == "pull request 7: 1 execution"
    assert (site.known().sha, site.known().title) == (second.sha, "Train longer")
    assert site.ask(second, "updated") == "pull request 7: was recorded before"


@each
def test_a_head_that_was_forced_back_is_the_present_one(site: Site) -> None:
    first = site.head()
    site.ask(first)
    second = site.head(message="more")
    site.ask(second, "updated")
    site.ask(site.at(first.sha), "updated")
    assert site.known().sha == first.sha
    site.checkout.git("reset", "-q", "--hard", first.sha)
    third = site.head(message="elsewhere")
    assert site.ask(third, "updated") == "pull request 7: 1 execution"
    assert (site.known().sha, site.of(third.sha)[0].before) == (third.sha, first.sha)


@each
def test_rules_that_cancel_what_is_older_take_a_head_that_was_forced_back_for_the_newest(site: Site) -> None:
    projects.set_rules(site.pushes.db, projects.get_by_name(site.pushes.db, "model").id, CANCEL)
    first = site.head()
    second = site.head(message="opened with both")
    site.ask(second)
    assert site.ask(site.at(first.sha), "updated") == "pull request 7: 1 execution"
    old, new = site.pushes.executions("model")
    assert (old.commit_identifier, old.state, new.commit_identifier) == (second.sha, State.STOPPED, first.sha)
    assert new.state not in FINAL
    site.checkout.git("reset", "-q", "--hard", second.sha)
    third = site.head(message="more")
    fourth = site.head(message="and more")
    site.ask(fourth, "updated")
    assert site.ask(third, "updated") == "pull request 7: nothing runs: everything was skipped"
    assert site.of(third.sha)[0].skipped == (("train", "a newer push of this branch already runs"),)


@github
def test_a_stranger_cancels_nothing_until_approved_and_then_what_is_older_of_the_same_pull_request(site: Site) -> None:
    projects.set_rules(site.pushes.db, projects.get_by_name(site.pushes.db, "model").id, CANCEL)
    site.ask(site.head())
    first = site.head(FORK, number=8)
    site.ask(first)
    site.approve(first)
    second = site.head(FORK, number=8, message="more")
    site.ask(second, "updated")

    def stopped() -> list[bool]:
        return [execution.state is State.STOPPED for execution in site.pushes.executions("model")]

    assert stopped() == [False, False]
    site.approve(second)
    assert stopped() == [False, True, False]


@github
def test_one_that_waited_while_its_pull_request_was_closed_runs_nothing(site: Site) -> None:
    request = site.head()
    away = site.path.rename(site.path.with_name("away"))
    assert "model.git" in site.ask(request)
    away.rename(site.path)
    event, payload = site.sender.pull_request(request, "closed")
    site.deliver(payload, "later", event)
    execute(site.pushes.db, "UPDATE delivery SET retry_at = '2099-01-01T00:00:00.000000Z' WHERE delivery_id = 'pull-0'")
    execute(
        site.pushes.db, "UPDATE delivery SET id = 1000 WHERE delivery_id = 'pull-0'"
    )  # as if it came to its turn later
    execute(site.pushes.db, "UPDATE delivery SET retry_at = NULL")
    execute(site.pushes.db, "UPDATE repository SET fetch_retry_at = NULL")
    execute(site.pushes.db, "UPDATE repository SET fetch_retry_at = NULL")
    site.pushes.drain()
    assert [(d.delivery_id, d.message) for d in site.pushes.deliveries("model")] == [
        ("later", "pull request 7: it is closed, nothing runs"),
        ("pull-0", "pull request 7: it is closed, nothing runs"),
    ]
    assert (site.known().closed, site.pushes.steps("model")) == (True, [])


@github
def test_being_killed_anywhere_leaves_one_set(site: Site) -> None:
    first, second = site.head(), site.head(message="more")
    site.ask(first)
    site.ask(second, "updated")
    execute(site.pushes.db, "UPDATE delivery SET state = 'stored'")
    execute(site.pushes.db, "UPDATE pull_request SET sha = ?", (first.sha,))  # killed before it was said
    site.pushes.drain()
    assert (site.known().sha, site.pushes.steps("model")) == (second.sha, ["train", "train"])


@pytest.mark.parametrize("sender", [GitHub(), GitLab(), Bitbucket()], ids=label)
@pytest.mark.parametrize("seed", range(4))
def test_in_whatever_order_and_however_often_it_is_told_each_commit_runs_once_and_no_strangers(
    site: Site, seed: int
) -> None:
    own = [site.head(message=f"own {number}") for number in range(3)]
    site.checkout.git("checkout", "-q", "-b", "foreign", "main")
    foreign = [site.head(FORK, number=8, branch="topic", message=f"foreign {number}") for number in range(2)]
    told = [(site.ask, request) for request in [*own, *foreign]] * 2 + [
        (site.push_told, request) for request in own
    ] * 2
    random.Random(seed).shuffle(told)
    for tell, request in told:
        tell(request)
    ran = [execution.commit_identifier for execution in site.pushes.executions("model")]
    assert sorted(ran) == sorted(request.sha for request in own)
    assert (site.known().sha, site.known(8).sha) == (own[-1].sha, foreign[-1].sha)
    assert site.waiting() == [foreign[-1].sha]


# what is fetched, and what it does not become


@each
def test_a_forks_head_is_pinned_and_no_branch_no_head_no_badge_and_no_push_to_a_ref(site: Site) -> None:
    site.push_told(replace(site.at("main"), branch="main", sha=site.checkout.git("rev-parse", "main").stdout.strip()))
    before = git.list_refs(site.mirror), (site.mirror / "HEAD").read_text(), site.badge()
    request = site.head(FORK, branch="main")
    request = site.at(request.sha, FORK, branch="evil")
    site.ask(request)
    site.approve(request)
    execute(site.pushes.db, "UPDATE execution SET state = 'error', ended_at = created_at WHERE counter > 1")
    assert (git.list_refs(site.mirror), (site.mirror / "HEAD").read_text(), site.badge()) == before
    assert git.resolve(site.mirror, f"refs/pushmill/{request.sha}") == request.sha
    assert "refs/pull/7/head" not in pushes.map_commits_by_ref(site.pushes.db, site.repository)
    url = site.pushes.git_url("model")
    assert (
        request.sha not in subprocess.run(["git", "ls-remote", url], capture_output=True, text=True, check=True).stdout
    )
    clone = site.path.parent.parent / "clone"
    subprocess.run(["git", "clone", "-q", url, str(clone)], check=True)
    log = subprocess.run(["git", "log", "--all", "--format=%H"], cwd=clone, capture_output=True, text=True, check=True)
    assert request.sha not in log.stdout


@pytest.mark.parametrize("sender", [Bitbucket()], ids=label)
def test_bitbuckets_fork_is_fetched_without_the_repositorys_credentials(site: Site) -> None:
    site.ask(site.head(FORK))
    asked = [path for _, path in site.server.requests if path.startswith("/git/mallory/")]
    assert asked
    assert site.server.credentials_seen == set()


@pytest.mark.parametrize("sender", [Bitbucket()], ids=label)
@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:1", "http://localhost", "https://127.0.0.1", "http://127.0.0.2"]
)
def test_bitbuckets_fork_is_fetched_from_the_repositorys_own_host_alone(site: Site, elsewhere: str) -> None:
    said = site.ask(replace(site.head(FORK), site=elsewhere))
    assert said.endswith("is on another host than the repository and is not fetched")
    assert not [path for _, path in site.server.requests if path.startswith("/git/mallory/")]


@pytest.mark.parametrize("sender", [Bitbucket()], ids=label)
def test_bitbuckets_twelve_digits_are_found_in_what_was_fetched_alone(site: Site) -> None:
    old = site.head(FORK)
    new = site.head(FORK, message="more")
    said = site.ask(old)  # the branch has moved on meanwhile
    assert said.startswith(f"its head is {new.sha} there, not {old.sha[:12]}")
    assert "waiting" in site.ask(new, "updated")
    assert site.known().sha == new.sha
    site.checkout.git("checkout", "-q", "--orphan", "unrelated")
    unrelated = site.checkout.commit({"a": "b"})
    site.checkout.git("push", "-q", str(site.path), f"{unrelated}:refs/heads/other")
    assert site.ask(replace(new, sha=unrelated), "updated").endswith(f"there, not {unrelated[:12]}")
    assert site.known().sha == new.sha


@pytest.mark.parametrize("sender", [GitHub(), GitLab(), Gitea()], ids=label)
def test_a_head_that_is_not_there_yet_is_waited_for_and_then_given_up(site: Site) -> None:
    site.head()
    missing = Request(sha="f" * 40)
    assert site.ask(missing) == f"the repository has no commit {'f' * 40}"
    assert site.pushes.deliveries("model")[-1].state == "stored"
    execute(site.pushes.db, "UPDATE delivery SET attempts = 5, retry_at = NULL")
    site.pushes.drain()
    assert site.pushes.deliveries("model")[-1].state == "failed"
    assert site.pushes.pushes("model") == []

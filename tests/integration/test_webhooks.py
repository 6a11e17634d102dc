"""Deliveries of forges are refused, or stored before they are answered and handled once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository, step
from redis import Redis

from core import clock
from core.names import check_ref
from hooks import signatures
from web.store import badges, deliveries, projects
from web.store.db import execute, transaction

ZERO = "0" * 40


class Forge:
    """A project on a forge: a bare repository on disk, and signed deliveries about it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, path: Path) -> None:
        self.pushes, self.checkout = pushes.with_git(allow_local=True), checkout
        self.path = bare_repository(path)
        self.secret = pushes.add_project("model", "github", f"file://{path}")

    def push(self, files: dict[str, str], ref: str = "main", message: str = "work") -> str:
        sha = self.checkout.commit(files, message)
        self.checkout.git("push", "-q", "-f", str(self.path), f"HEAD:{ref}")
        return sha

    def run_again(self, delivery: str) -> None:
        (found,) = [row for row in self.pushes.deliveries("model") if row.delivery_id == delivery]
        with transaction(self.pushes.db):
            deliveries.store_again(self.pushes.db, found.id)
        self.pushes.drain()

    def deliver(self, payload: Any, *, delivery: str = "d-1", event: str = "push", **headers: str) -> int:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "Content-Type": "application/json"}
        given["X-Hub-Signature-256"] = signatures.sign(body, self.secret.encode())
        return self.pushes.post("/hooks/model/github", body, **(given | headers)).status_code


def payload(after: str, before: str = ZERO, ref: str = "refs/heads/main", **more: Any) -> dict[str, Any]:
    return {
        "ref": ref, "before": before, "after": after, "repository": {"full_name": "ada/model"},
        "pusher": {"name": "ada"}, "head_commit": {"id": after, "message": "work"},
    } | more  # fmt: skip


@pytest.fixture
def forge(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Forge:
    return Forge(pushes, checkout, tmp_path / "forge.git")


def test_a_delivery_is_stored_at_once_and_fetched_later(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    assert forge.deliver(payload(sha)) == 202
    assert [delivery.state for delivery in forge.pushes.deliveries("model")] == ["stored"]
    forge.pushes.drain()
    assert [delivery.state for delivery in forge.pushes.deliveries("model")] == ["done"]
    assert forge.pushes.steps("model") == ["train"]
    assert forge.pushes.commit("model", sha).message == "work\n"


def test_the_answer_does_not_wait_for_git_or_the_network(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/ada/model.git"
        execute(forge.pushes.db, "UPDATE repository SET url = ?", (url,))
        assert [forge.deliver(payload(sha), delivery=f"d-{number}") for number in range(10)] == [202] * 10
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_the_answer_does_not_wait_for_a_redis_that_is_silent(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patient = Redis("127.0.0.1", silent.getsockname()[1], socket_timeout=None)
        forge.pushes.queues._connection = patient
        assert [forge.deliver(payload(sha), delivery=f"d-{number}") for number in range(5)] == [202] * 5
        asked, _ = silent.accept()
        asked.close()
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


def test_the_same_delivery_again_is_said_and_changes_nothing(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    assert [forge.deliver(payload(sha)), forge.deliver(payload(sha))] == [202, 200]
    forge.pushes.drain()
    assert forge.deliver(payload(sha)) == 200
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


def test_a_replay_under_a_new_delivery_id_runs_nothing_again(forge: Forge) -> None:
    a = forge.push({"valohai.yaml": step("train")}, message="A")
    forge.deliver(payload(a))
    forge.pushes.drain()
    b = forge.push({}, message="B")
    forge.deliver(payload(b, a), delivery="d-2")
    forge.deliver(payload(a), delivery="d-3")
    forge.deliver(payload(b, a), delivery="d-4")
    forge.pushes.drain()
    assert [push.after for push in forge.pushes.pushes("model")] == [a, b]
    assert len(forge.pushes.steps("model")) == 2
    assert "was recorded before" in forge.pushes.deliveries("model")[-1].message


def test_an_older_push_that_is_told_later_runs_and_is_not_taken_for_the_newest(forge: Forge) -> None:
    a = forge.push({"valohai.yaml": step("train")}, message="A")
    b, c = forge.push({}, message="B"), forge.push({}, message="C")
    forge.deliver(payload(c, b), delivery="d-1")
    forge.deliver(payload(b, a), delivery="d-2")
    forge.deliver(payload(a), delivery="d-3")
    forge.pushes.drain()
    assert [push.after for push in forge.pushes.pushes("model")] == [c, b, a]
    assert newest(forge) == c
    forge.run_again("d-2")
    assert (len(forge.pushes.steps("model")), newest(forge)) == (4, c)
    forge.checkout.git("push", "-q", "-f", str(forge.path), f"{b}:main")
    forge.deliver(payload(b, c), delivery="d-4")
    forge.pushes.drain()
    assert (len(forge.pushes.steps("model")), newest(forge)) == (5, b)


def newest(forge: Forge) -> str:
    """The commit that a badge of the branch speaks of, and the page of projects too."""
    project = projects.get_by_name(forge.pushes.db, "model")
    choice = badges.BadgeChoice(
        repository_ids=[r.id for r in projects.list_repositories(forge.pushes.db, project.id)], branch="main"
    )
    (execution,) = badges.list_newest_runs(forge.pushes.db, choice)
    return execution.commit_identifier


def test_pushing_a_then_b_then_a_again_is_three_pushes(forge: Forge) -> None:
    a = forge.push({"valohai.yaml": step("train")}, message="A")
    b = forge.push({}, message="B")
    for number, (before, after) in enumerate([(ZERO, a), (a, b), (b, a)]):
        forge.deliver(payload(after, before), delivery=f"d-{number}")
    forge.pushes.drain()
    assert [push.after for push in forge.pushes.pushes("model")] == [a, b, a]
    assert len(forge.pushes.steps("model")) == 3


def test_an_annotated_tag_is_recorded_at_its_commit(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    forge.checkout.git("tag", "-a", "v1", "-m", "one")
    forge.checkout.git("push", "-q", str(forge.path), "v1")
    tag = forge.checkout.git("rev-parse", "v1").stdout.strip()
    forge.deliver(payload(tag, ref="refs/tags/v1", head_commit={"id": sha, "message": "work"}))
    forge.pushes.drain()
    (push,) = forge.pushes.pushes("model")
    assert (push.after, push.outcome) == (sha, "tag recorded")


def test_wrong_missing_and_unknown_are_the_same_answer(forge: Forge) -> None:
    body = json.dumps(payload("a" * 40)).encode()
    good = signatures.sign(body, forge.secret.encode())
    tries = [
        ("/hooks/model/github", {"X-Hub-Signature-256": signatures.sign(body, b"wrong")}),
        ("/hooks/model/github", {}),
        ("/hooks/model/github", {"X-Hub-Signature-256": ""}),
        ("/hooks/model/github", {"X-Hub-Signature-256": "sha256=ü"}),
        ("/hooks/model/github", {"X-Hub-Signature-256": signatures.sign(body, b"")}),
        ("/hooks/nosuch/github", {"X-Hub-Signature-256": good}),
        ("/hooks/model/plain", {"X-Pushmill-Signature-256": good}),
        ("/hooks/model/nosuch", {"X-Hub-Signature-256": good}),
        ("/hooks/..%2f..%2fetc/github", {"X-Hub-Signature-256": good}),
    ]
    answers = [forge.pushes.post(path, body, **{k: v.encode() for k, v in h.items()}) for path, h in tries[:-1]]  # type: ignore[arg-type]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert forge.pushes.post(*tries[-1][:1], body).status_code in (401, 404)
    assert {delivery.state for delivery in forge.pushes.deliveries("model")} <= {"refused"}


def test_a_body_that_is_too_large_is_refused_with_the_bound(forge: Forge) -> None:
    body = b'{"x": "' + b"x" * 30_000_000 + b'"}'
    signed = signatures.sign(body, forge.secret.encode())
    answer = forge.pushes.post("/hooks/model/github", body, **{"X-Hub-Signature-256": signed})
    assert answer.status_code == 413
    assert "26,214,400 bytes" in answer.text


def test_compressed_bodies_are_refused(forge: Forge) -> None:
    assert forge.deliver(payload("a" * 40), **{"Content-Encoding": "gzip"}) == 415


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[]", b"[" * 100_000, b'{"repository": "x"', b"\xff\xfe", b"payload=%7B%7D"]
)
def test_a_signed_body_that_is_no_payload_is_refused_or_recorded_never_an_error(forge: Forge, body: bytes) -> None:
    assert forge.deliver(body) == 400


def test_the_payload_must_be_about_the_registered_repository(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    assert forge.deliver(payload(sha)) == 202
    assert forge.deliver(payload(sha, repository={"full_name": "mallory/model"}), delivery="d-2") == 202
    assert forge.deliver(payload(sha, repository={"full_name": "Ada/Model"}), delivery="d-3") == 202
    found = forge.pushes.deliveries("model")
    assert [delivery.state for delivery in found] == ["stored", "ignored", "stored"]
    assert found[1].message == (
        "this webhook is for ada/model, the delivery is about mallory/model; if that is its name now:"
        " `pushmill project set-url model URL`"
    )
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


@pytest.mark.parametrize(
    "ref", ["--upload-pack=touch owned", "refs/heads/../../x", "refs/heads/a b", "HEAD", "", "refs/heads/\x1b[2J"]
)
def test_a_ref_that_git_would_refuse_fails_the_delivery_and_nothing_else(forge: Forge, ref: str) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    assert forge.deliver(payload(sha, ref=ref)) == 202
    assert forge.deliver(payload(sha), delivery="d-2") == 202
    forge.pushes.drain()
    assert [delivery.state for delivery in forge.pushes.deliveries("model")] == ["failed", "done"]
    assert forge.pushes.steps("model") == ["train"]


def test_pings_and_other_events_are_kept_with_the_reason_why_nothing_happens(forge: Forge) -> None:
    forge.deliver({"zen": "…", "hook_id": 1}, event="ping", delivery="d-1")
    forge.deliver({"action": "opened"}, event="issues", delivery="d-2")
    forge.deliver(payload("a" * 40, "a" * 40), delivery="d-3")
    forge.pushes.drain()
    found = [(delivery.state, delivery.message) for delivery in forge.pushes.deliveries("model")]
    assert found[0] == ("ignored", "ping: the webhook works")
    assert found[1][0] == "ignored"
    assert "issues" in found[1][1]
    assert found[2] == ("ignored", "refs/heads/main has not changed")


def test_form_encoded_deliveries_are_read(forge: Forge) -> None:
    from urllib.parse import urlencode

    sha = forge.push({"valohai.yaml": step("train")})
    body = urlencode({"payload": json.dumps(payload(sha))}).encode()
    assert forge.deliver(body, **{"Content-Type": "application/x-www-form-urlencoded"}) == 202
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


def test_a_deleted_branch_is_recorded(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    forge.deliver(payload(sha))
    forge.deliver(payload(ZERO, sha, deleted=True, head_commit=None), delivery="d-2")
    forge.pushes.drain()
    assert [push.outcome for push in forge.pushes.pushes("model")] == ["1 execution", "deleted"]


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% owned", "file:///etc", "/etc", "-x", "http://127.0.0.1:1/ada/model.git"]
)
def test_urls_that_may_not_be_fetched_postpone_with_a_visible_reason(
    pushes: PushServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = pushes.add_project("model", "github", "https://github.com/ada/model.git")
    execute(pushes.db, "UPDATE repository SET url = ?", (url,))  # earlier versions stored any URL
    body = json.dumps(payload("a" * 40)).encode()
    signed = {"X-Hub-Signature-256": signatures.sign(body, secret.encode()), "X-GitHub-Event": "push"}
    assert pushes.post("/hooks/model/github", body, **signed).status_code == 202
    pushes.drain()
    (delivery,) = pushes.deliveries("model")
    assert (delivery.state, delivery.attempts) == ("stored", 1)
    assert "cannot be fetched" in delivery.message
    assert not (tmp_path / "owned").exists()


def test_a_remote_that_comes_back_gets_everything_that_waited_in_order(forge: Forge) -> None:
    a = forge.push({"valohai.yaml": step("train")}, message="A")
    away = forge.path.rename(forge.path.with_name("away"))
    forge.deliver(payload(a))
    forge.pushes.drain()
    assert forge.pushes.deliveries("model")[0].state == "stored"
    away.rename(forge.path)
    b = forge.push({}, message="B")
    forge.deliver(payload(b, a), delivery="d-2")

    def both() -> bool:
        forge.pushes.drain()
        return len(forge.pushes.pushes("model")) == 2

    wait_for(both)
    assert [push.after for push in forge.pushes.pushes("model")] == [a, b]


def test_a_commit_that_the_remote_never_gives_is_recorded_as_such_in_the_end(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    forge.deliver(payload("a" * 40))
    forge.deliver(payload(sha), delivery="d-2")
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]
    with forge.pushes.db.conn:
        forge.pushes.db.conn.execute("UPDATE delivery SET attempts = 99, retry_at = NULL")
    forge.pushes.drain()
    assert "no such commit" in forge.pushes.pushes("model")[-1].outcome


def test_other_deliveries_do_not_use_up_the_attempts_of_one_that_waits_for_its_commit(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    forge.deliver(payload("a" * 40))
    forge.pushes.drain()
    retry_at = clock.add_to_now(600)
    execute(forge.pushes.db, "UPDATE delivery SET attempts = 5, retry_at = ?", (retry_at,))
    for number in range(3):
        forge.deliver(payload(sha), delivery=f"other-{number}")
        forge.pushes.drain()
    waiting = forge.pushes.deliveries("model")[0]
    assert (waiting.state, waiting.attempts, waiting.retry_at) == ("stored", 5, retry_at)
    assert forge.pushes.steps("model") == ["train"]
    execute(forge.pushes.db, "UPDATE delivery SET retry_at = NULL")
    forge.pushes.drain()
    assert forge.pushes.deliveries("model")[0].state == "done"


def test_retry_times_of_a_clock_that_was_ahead_do_not_hold_up_a_repository(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")})
    away = forge.path.rename(forge.path.with_name("away"))
    forge.deliver(payload(sha))
    forge.pushes.drain()
    away.rename(forge.path)
    execute(forge.pushes.db, "UPDATE delivery SET retry_at = '2999-01-01T00:00:00.000000Z'")
    execute(forge.pushes.db, "UPDATE repository SET fetch_retry_at = '2999-01-01T00:00:00.000000Z'")
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


KILLED_WHILE_INGESTING = """
import os, sys
from pathlib import Path
from core import config as configuration
from web.services import vault
from web.services.context import open_context
from web.services.deliveries import ingest
from web.store import deliveries, pushes
config = configuration.load(Path(sys.argv[1]), git__allow_local=True)
add = pushes.add_push
def killed(*args, **kwargs):
    add(*args, **kwargs)
    os.kill(os.getpid(), 9)
pushes.add_push = killed
with open_context(config, vault.load(config.data / "secret.key")) as context:
    ingest.ingest_repository(context, deliveries.list_due_repositories(context.db)[0])
"""


def test_a_kill_in_the_middle_of_ingesting_leaves_nothing_and_is_made_good(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("a") + step("b")})
    forge.deliver(payload(sha))
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_INGESTING, str(forge.pushes.config.data)])
    assert killed.returncode == -9
    assert (forge.pushes.pushes("model"), forge.pushes.executions("model")) == ([], [])
    forge.pushes.drain()
    assert [execution.counter for execution in forge.pushes.executions("model")] == [1, 2]
    assert forge.pushes.steps("model") == ["a", "b"]


BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join([f'*{p}'] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("yaml", "state", "said"),
    [
        (None, "missing", "valohai.yaml"),
        ("- step:\n    name: x\n    comand: oops\n", "broken", "comand"),
        ("# " + "x" * 300_000, "broken", "bytes"),
        (BILLION_LAUGHS, "broken", ""),
        ("- step: [", "broken", ""),
        ("\x00", "broken", ""),
        ("", "ok", "empty"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained_on_the_commit(
    forge: Forge, yaml: str | None, state: str, said: str
) -> None:
    sha = forge.push({"other": "x"} if yaml is None else {"valohai.yaml": yaml})
    forge.deliver(payload(sha))
    forge.pushes.drain()
    commit = forge.pushes.commit("model", sha)
    assert commit.config_state == state
    assert said in " ".join(commit.problems)
    assert commit.problems
    assert forge.pushes.steps("model") == []
    assert forge.pushes.pushes("model")[0].commit_id == commit.id


def test_a_configuration_that_is_a_link_is_not_followed(forge: Forge) -> None:
    (forge.checkout.folder / "valohai.yaml").symlink_to("/etc/passwd")
    sha = forge.push({})
    forge.deliver(payload(sha))
    forge.pushes.drain()
    commit = forge.pushes.commit("model", sha)
    assert commit.config_state == "broken"
    assert "symbolic link" in commit.problems[0]


def test_the_default_branch_is_the_remotes_own(forge: Forge) -> None:
    sha = forge.push({"valohai.yaml": step("train")}, ref=check_ref("refs/heads/develop"))
    forge.deliver(payload(sha, ref="refs/heads/develop"))
    forge.pushes.drain()
    (repository,) = projects.list_repositories(forge.pushes.db, projects.get_by_name(forge.pushes.db, "model").id)
    assert repository.default_branch == "develop"

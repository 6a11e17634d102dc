"""A pusher can choose the text of push options, but not the refs that a push is reported to have moved."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import raw_push
from instance import Checkout
from push_server import PushServer, bare_repository, step
from ruled_project import Model

from hooks import signatures
from web.services.repositories import hosting
from web.store import deliveries, projects
from web.store.db import transaction

ONLY_MAIN = '[[rule]]\nname = "main"\nbranches = ["main"]\n'
ZERO = "0" * 40


@pytest.fixture
def model(pushes: PushServer, checkout: Checkout) -> Model:
    """A project that runs steps only for pushes to main."""
    return Model(pushes, checkout, ONLY_MAIN)


@pytest.fixture
def feature(model: Model) -> str:
    """A commit that was never on main."""
    model.checkout.git("checkout", "-q", "-b", "feature")
    return model.checkout.commit({"valohai.yaml": step("stolen")})


def write_push_file(model: Model, *lines: str) -> Path:
    """Write a push file of version 1, as an interrupted hook or an upgrade leaves it."""
    (repository,) = projects.list_repositories_for_forge(model.pushes.db, projects.HOSTED)
    name = f"{int(time.time())}-1-abcdefabcdef"
    file = hosting.get_repository_path(model.pushes.config, repository) / "pushmill" / f"{name}.push"
    file.write_text("\n".join(["pushmill-push 1", f"id {name}", "pusher ada", *lines, ""]))
    return file


def test_a_line_feed_in_a_push_option_reports_no_ref(model: Model, feature: str) -> None:
    main = model.pushes.pushes("model")[0].after
    forged = f"x\nref {main} {feature} refs/heads/main"
    raw_push.push(model.pushes, model.checkout, "model", "refs/heads/feature", feature, [forged, "a\\nb\n\\\n\n"])
    model.pushes.drain()
    (push,) = model.pushes.pushes("model")[1:]
    assert (push.ref, push.after) == ("refs/heads/feature", feature)
    assert push.options == (forged, "a\\nb\n\\\n")  # git itself drops one line feed at the end
    assert model.made == []


def test_a_forged_line_of_an_old_hook_runs_nothing_and_says_so(model: Model, feature: str) -> None:
    main = model.pushes.pushes("model")[0].after
    model.checkout.git("push", "-q", model.pushes.git_url("model"), "feature")
    model.pushes.drain()
    forged = write_push_file(
        model,
        f"option x\nref {main} {feature} refs/heads/main",
        f"ref {main} {ZERO} refs/heads/main",
        f"ref {ZERO} {feature} refs/heads/absent",
        f"ref {ZERO} {feature} refs/heads/feature",
    )
    model.pushes.drain()
    assert not forged.exists()
    outcomes = [push.outcome for push in model.pushes.pushes("model")[2:]]
    assert (
        outcomes[0] == f"nothing runs: the repository does not show that refs/heads/main has ever pointed to {feature}"
    )
    assert "refs/heads/absent has ever pointed" in outcomes[1]
    assert model.made == []
    (delivery,) = model.pushes.deliveries("model")[2:]
    assert outcomes[0] in delivery.message
    model.checkout.git("checkout", "-q", "main")
    assert model.change({}, "main") == "2 executions"  # main is recorded where it was


def test_a_deletion_that_did_not_happen_moves_nothing(model: Model) -> None:
    main = model.pushes.pushes("model")[0].after
    write_push_file(model, f"ref {main} {ZERO} refs/heads/main")
    model.pushes.drain()
    assert "was not deleted" in model.pushes.pushes("model")[1].outcome
    assert model.change({}, "main") == "2 executions"


def test_a_push_file_of_an_old_hook_is_handled(model: Model) -> None:
    (path,) = model.pushes.config.git_dir.glob("*.git")
    (path / "hooks" / "post-receive").unlink()
    sha = model.checkout.commit({})
    model.checkout.git("push", "-q", str(path), "main")
    write_push_file(model, "option a\\nb", f"ref {model.pushes.pushes('model')[0].after} {sha} refs/heads/main")
    model.pushes.drain()
    push = model.pushes.pushes("model")[1]
    assert (push.after, push.options, push.outcome) == (sha, ("a\\nb",), "2 executions")


def test_commits_that_were_forced_away_before_they_were_ingested_run(model: Model) -> None:
    first = model.checkout.commit({})
    model.pushes.push(model.checkout, "model")
    model.checkout.git("commit", "-q", "--amend", "--allow-empty", "-m", "second")
    second = model.checkout.git("rev-parse", "HEAD").stdout.strip()
    model.pushes.push(model.checkout, "model", "--force", "main")
    model.pushes.drain()
    assert [(push.after, push.outcome) for push in model.pushes.pushes("model")[1:]] == [
        (first, "2 executions"),
        (second, "2 executions"),
    ]


def test_a_hook_elsewhere_that_is_old_cannot_be_made_to_report_other_refs(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    path = bare_repository(tmp_path / "elsewhere.git")
    main = checkout.commit({"valohai.yaml": step("train")})
    checkout.git("checkout", "-q", "-b", "feature")
    feature = checkout.commit({"valohai.yaml": step("stolen")})
    checkout.git("push", "-q", str(path), "main", "feature")
    secret = pushes.with_git(allow_local=True).add_project("model", "plain", f"file://{path}")
    lines = ["option x", f"ref {main} {feature} refs/heads/main", f"ref {ZERO} {feature} refs/heads/feature"]
    body = "\n".join(["pushmill-push 1", "id forged-push", *lines, ""]).encode()
    signed = {"X-Pushmill-Signature-256": signatures.sign(body, secret.encode()), "Prefer": "respond-async"}
    assert pushes.post("/hooks/model/plain", body, **signed).status_code == 202
    (delivery,) = pushes.deliveries("model")
    pushes.drain()
    assert pushes.pushes("model") == []
    for _ in range(6):  # a mirror may lag behind, so this is tried again
        with transaction(pushes.db):
            deliveries.retry_now(pushes.db, delivery.id)
        pushes.drain()
    assert [(push.ref, push.after) for push in pushes.pushes("model")] == [
        ("refs/heads/main", feature),
        ("refs/heads/feature", feature),
    ]
    assert "has ever pointed" in pushes.pushes("model")[0].outcome
    assert pushes.steps("model") == ["stolen"]  # as a push to feature


def test_push_options_beyond_the_limits_are_reported(model: Model) -> None:
    sha = model.checkout.commit({})
    options = ["pushmill.step=train", "pushmill.parameter=x=" + "y" * 1000, *(f"o{n}" for n in range(40))]
    before = model.pushes.pushes("model")[0].after
    raw_push.push(model.pushes, model.checkout, "model", "refs/heads/main", sha, options, before)
    model.pushes.drain()
    push = model.pushes.pushes("model")[1]
    assert [execution.step for execution in model.made] == ["train"]
    assert push.skipped[0][0].startswith("push option pushmill.parameter=x=yyy")
    assert "more than 1,000 characters" in push.skipped[0][1]
    assert push.skipped[1] == ("push options", "only the first 32 of a push are read")

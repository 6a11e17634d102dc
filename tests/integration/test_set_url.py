"""A repository that was renamed, or moved to another forge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from instance import Checkout
from push_server import PushServer, step
from test_polling import MAIN, Polled
from test_webhooks import ZERO, payload
from test_webhooks_of_forges import pushmill

from core.model import Repository
from web.store import projects


def repository(pushes: PushServer) -> Repository:
    return projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]


def named(full_name: str, sha: str, before: str = ZERO) -> dict[str, object]:
    return payload(sha, before) | {"repository": {"full_name": full_name}}


def test_after_a_rename_the_new_name_is_learned_and_the_old_one_is_a_stranger(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    forge = Polled(pushes, checkout, tmp_path / "forge.git")
    a = forge.push({"valohai.yaml": step("train")})
    forge.deliver(named("ada/model", a))
    b = forge.push({"a": "1"})
    forge.deliver(named("ada/renamed", b, a), delivery="d-2")
    pushes.drain()
    assert "`pushmill project set-url model URL`" in pushes.deliveries("model")[1].message
    moved = forge.path.rename(tmp_path / "renamed.git")
    (pushes.config.data / "config.toml").write_text("[git]\nallow_local = true\n")
    assert pushmill(pushes, "set-url", "model", f"file://{moved}").returncode == 0
    forge.deliver(named("ada/renamed", b, a), delivery="d-3")
    forge.deliver(named("ada/model", "a" * 40), delivery="d-4")
    pushes.drain()
    assert repository(pushes).full_name == "ada/renamed"
    assert forge.outcomes() == [(MAIN, a, "1 execution"), (MAIN, b, "1 execution")]
    assert [delivery.state for delivery in pushes.deliveries("model")] == ["done", "ignored", "done", "ignored"]


def test_at_another_forge_it_says_what_to_enter_there(pushes: PushServer) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://github.com/ada/model.git")
    said = pushmill(pushes, "set-url", "model", "git@codeberg.org:ada/model.git").stdout
    shown = json.loads(pushmill(pushes, "show", "model", "--json").stdout)
    assert (shown["forge"], shown["repository"]) == ("gitea", "git@codeberg.org:ada/model.git")
    assert shown["deploy_key"]
    for name in ("webhook_url", "webhook_page", "deploy_key", "deploy_key_page"):
        assert shown[name] in said


def test_a_host_that_tells_no_forge_leaves_it_as_it_was(pushes: PushServer) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://github.com/ada/model.git")
    pushmill(pushes, "set-url", "model", "https://git.example.org/ada/model.git")
    assert repository(pushes).forge == "github"
    pushmill(pushes, "set-url", "model", "https://git.example.org/ada/model.git", "--forge", "forgejo")
    assert repository(pushes).forge == "forgejo"


@pytest.mark.parametrize(
    ("added", "url", "said"),
    [
        (("--repo", "https://github.com/ada/model.git"), "ext::sh", "cannot be fetched"),
        ((), "https://github.com/ada/model.git", "pushed to this server"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    pushes: PushServer, added: tuple[str, ...], url: str, said: str
) -> None:
    pushmill(pushes, "add", "model", *added)
    before = repository(pushes)
    done = pushmill(pushes, "set-url", "model", url)
    assert done.returncode == 1
    assert said in done.stderr
    assert repository(pushes) == before

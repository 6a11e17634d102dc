"""From a webhook to the statuses on the forge, with a real server and container and a fake of the forge's API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_forge import FakeForge
from fake_forge import running as forge_running
from forge_deliveries import GitHub, Moved, Request, encoded
from instance import Checkout, Instance, running, wait_for
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

URL = "https://pushmill.example.org"
CONFIG = f"""
[server]
url = "{URL}"
[git]
allow_local = true
"""
ACCURACY = """echo '{{"epoch": 2, "accuracy": {}}}'"""


class Site:
    def __init__(self, server: Instance, forge: FakeForge, checkout: Checkout, folder: Path) -> None:
        self.server, self.forge, self.checkout, self.path = server, forge, checkout, folder / "model.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.path)], check=True)
        added = self.server.pushmill("project", "add", "model", "--repo", str(self.path), "--forge", "github", "--json")
        self.sender = GitHub()
        self.sender.secret = json.loads(added)["webhook_secret"]

    def commit(self, accuracy: float, ref: str) -> str:
        yaml = step("train", "sleep 2", ACCURACY.format(accuracy)) + step("check", "sh -c 'exit 3'")
        sha = self.checkout.commit({"valohai.yaml": yaml})
        self.checkout.git("push", "-q", "-f", str(self.path), f"HEAD:{ref}")
        return sha

    def tell(self, event: str, payload: Any, delivery: str) -> None:
        body = encoded(payload)
        headers = self.sender.headers(body, delivery, event)
        answer = httpx.post(f"{self.server.url}/hooks/model/github", content=body, headers=headers, trust_env=False)
        assert answer.status_code == 202

    def push(self, accuracy: float) -> str:
        sha = self.commit(accuracy, "refs/heads/main")
        self.tell("push", self.sender.push(Moved(ref="refs/heads/main", after=sha)), sha)
        return sha


@pytest.fixture
def site(tmp_path: Path, checkout: Checkout) -> Iterator[Site]:
    with running(tmp_path / "data", CONFIG) as server, forge_running("github") as forge:
        yield Site(server, forge, checkout, tmp_path)


def test_a_push_and_a_pull_request_are_shown_on_the_forge(site: Site) -> None:
    forge = site.forge
    first = site.push(0.9)
    wait_for(lambda: len(site.server.executions("model")) == 2)
    site.server.pushmill("project", "set-token", "model", "--api-url", forge.api_url, given=f"{forge.token}\n")
    site.server.pushmill("project", "comments", "model", "on")
    wait_for(lambda: forge.shown(first).get("pushmill/train", ("",))[0] == "success")
    wait_for(lambda: forge.shown(first)["pushmill"] == ("failure", "failed: check"))
    assert forge.shown(first)["pushmill/train"][1].startswith("accuracy 0.9 · ")
    assert forge.shown(first)["pushmill/check"][0] == "failure"
    train = [state for name, state in forge.told() if name == "pushmill/train"]
    assert train[-1] == "success"
    assert set(train[:-1]) <= {"pending"}

    sha = site.commit(0.942, "refs/pull/7/head")
    site.tell(*site.sender.pull_request(Request(sha=sha)), delivery="pull-7")
    wait_for(lambda: forge.comments and "1 succeeded, 1 failed" in forge.comments[0]["body"])
    (comment,) = forge.comments
    assert "`accuracy` 0.942 (+0.042)" in comment["body"]
    assert f"{URL}/p/model/commits/{sha}/" in comment["body"]
    assert forge.shown(sha)["pushmill"][0] == "failure"
    assert forge.overlaps() == 0

"""The other two ways to push: a bare repository elsewhere with our hook, and GitHub's webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from instance import Checkout, Instance, wait_for
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]


def bare_with_a_commit(folder: Path, checkout: Checkout) -> str:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    return checkout.commit({"valohai.yaml": step("hello", "echo hello")})


def test_a_bare_repository_elsewhere_tells_by_its_hook(server: Instance, checkout: Checkout, tmp_path: Path) -> None:
    bare = tmp_path / "elsewhere.git"
    bare_with_a_commit(bare, checkout)
    server.pushmill("project", "add", "elsewhere", "--repo", str(bare), "--forge", "plain")
    server.pushmill("hook", "install", str(bare), "--project", "elsewhere", "--url", server.url)
    said = checkout.push(str(bare))
    assert "/p/elsewhere/commits/" in said
    execution = server.run("elsewhere", "hello")
    assert (execution["status"], server.events(execution["id"], "stdout")) == ("complete", ["hello"])


def test_a_signed_github_push_runs_and_a_replay_under_a_new_delivery_id_does_not(
    server: Instance, checkout: Checkout, tmp_path: Path
) -> None:
    bare = tmp_path / "hub.git"
    sha = bare_with_a_commit(bare, checkout)
    checkout.push(str(bare))
    shown = json.loads(server.pushmill("project", "add", "hub", "--repo", str(bare), "--forge", "github", "--json"))
    body = json.dumps(
        {
            "ref": "refs/heads/main",
            "before": "0" * 40,
            "after": sha,
            "repository": {"full_name": "ada/hub"},
            "pusher": {"name": "ada"},
            "head_commit": {"id": sha, "message": "work"},
        }
    ).encode()
    signature = "sha256=" + hmac.new(shown["webhook_secret"].encode(), body, hashlib.sha256).hexdigest()

    def deliver(delivery: str, signature: str = signature) -> Any:
        headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature}
        return httpx.post(f"{server.url}/hooks/hub/github", content=body, headers=headers, trust_env=False)

    assert deliver("1", signature[:-1] + "0" if signature[-1] != "0" else signature[:-1] + "1").status_code == 401
    assert deliver("2").status_code == 202
    assert server.run("hub", "hello")["status"] == "complete"
    assert deliver("2").status_code == 200
    assert deliver("3").status_code == 202

    def activity() -> str:
        headers = {"Authorization": f"Token {server.token}"}
        return httpx.get(f"{server.url}/p/hub/activity/", headers=headers, trust_env=False).text

    wait_for(lambda: "was recorded before" in activity())
    assert len(server.executions("hub")) == 1
    assert [activity().count(text) for text in ("rejected: The signature is not valid", "1 execution succeeded")] == [
        1,
        1,
    ]

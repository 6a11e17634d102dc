"""A pull request from a fork waits, and runs with the project's secrets after its approval; everything is real."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest
from forge_deliveries import GitHub, Request, encoded
from instance import Checkout, Instance, wait_for
from test_push import step
from test_routes import bare_with_a_commit
from test_secrets import set_variable

pytestmark = [pytest.mark.docker, pytest.mark.redis]

TELL = 'test -n "$TOKEN" && echo trusted || echo "no secret"; echo "mode $MODE"'


def test_a_forks_commit_runs_and_gets_secrets_after_it_was_approved(
    server: Instance, checkout: Checkout, tmp_path: Path
) -> None:
    bare, sender = tmp_path / "pulled.git", GitHub()
    bare_with_a_commit(bare, checkout)
    checkout.push(str(bare))
    added = server.pushmill("project", "add", "pulled", "--repo", str(bare), "--forge", "github", "--json")
    sender.secret = json.loads(added)["webhook_secret"]
    set_variable(server, "pulled", "TOKEN", "correct-horse", "--secret")
    set_variable(server, "pulled", "MODE", "plain")
    sha = checkout.commit({"valohai.yaml": step("stranger", TELL)})
    checkout.git("push", "-q", str(bare), "HEAD:refs/pull/7/head")
    event, said = sender.pull_request(Request(sha=sha, fork="mallory/model", author="mallory"))
    body, client = encoded(said), httpx.Client(base_url=server.url, trust_env=False, timeout=30)
    assert (
        client.post("/hooks/pulled/github", content=body, headers=sender.headers(body, "1", event)).status_code == 202
    )

    client.headers["Authorization"] = f"Token {server.token}"
    page = f"/p/pulled/commits/{sha}/"
    wait_for(lambda: "waiting for approval" in client.get(page).text)
    assert server.executions("pulled") == []
    assert client.post(f"{page}approve").status_code == 303
    execution = server.run("pulled", "stranger")
    assert (execution["status"], server.events(execution["id"], "stdout")) == ("complete", ["trusted", "mode plain"])
    assert server.pushmill("project", "approve", "pulled", sha).endswith("nothing else starts.\n")
    refs = subprocess.run(["git", "ls-remote", server.git_url("pulled")], capture_output=True, text=True, check=True)
    assert sha not in refs.stdout
    client.close()

"""A working server is backed up, and its backup continues on another one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from instance import PUSHMILL, Checkout, running, wait_for
from machines import SMALL_BOUNDS
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]


def test_a_backup_of_a_working_server_is_restored_with_everything_that_it_had_stored(
    tmp_path: Path, checkout: Checkout
) -> None:
    archive = tmp_path / "backup.tar"
    with running(tmp_path / "old", SMALL_BOUNDS) as old:
        files = step("train", "echo hello", "echo '{\"loss\": 0.5}'", "echo model > /valohai/outputs/model.txt")
        sha = checkout.commit({"valohai.yaml": files})
        checkout.push(old.git_url("kept"))
        trained = old.run("kept", "train")
        checkout.commit({"valohai.yaml": step("count", "for i in $(seq 1 600); do echo line $i; sleep 0.1; done")})
        checkout.push(old.git_url("kept"))
        counting = wait_for(lambda: old.executions("kept")[1:])[0]
        wait_for(lambda: "line 5" in old.events(counting["id"], "stdout"))
        command = [str(PUSHMILL), "backup", str(archive), "--data", str(old.data)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "repositories: " in said.stderr
        assert old.execution(counting["id"])["status"] == "started"
        old.client.post(f"/executions/{counting['id']}/stop/").raise_for_status()
        old.wait_final(counting["id"])
        token = old.token

    restored = tmp_path / "new"
    subprocess.run([str(PUSHMILL), "restore", str(archive), "--data", str(restored)], check=True, capture_output=True)
    with running(restored, SMALL_BOUNDS) as new:
        assert new.token == token
        again = new.execution(trained["id"])
        assert (again["status"], again["cumulative_metadata"]) == ("complete", {"loss": 0.5})
        assert new.events(trained["id"], "stdout") == ["hello", '{"loss": 0.5}']
        (output,) = new.outputs(trained["id"])
        assert new.download(output["id"]) == b"model\n"
        lost = new.wait_final(counting["id"])
        assert lost["status"] == "error"
        assert new.events(counting["id"], "stdout")[:5] == [f"line {i}" for i in range(1, 6)]
        clone = tmp_path / "clone"
        checkout.git("clone", "-q", new.git_url("kept"), str(clone))
        assert checkout.git("-C", str(clone), "log", "--format=%H").stdout.split()[-1] == sha
        checkout.commit({"valohai.yaml": step("after", "echo after")})
        checkout.push(new.git_url("kept"))
        assert new.run("kept", "after")["status"] == "complete"

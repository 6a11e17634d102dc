"""A project is removed while the server runs, and its name can be used again at once."""

from __future__ import annotations

import pytest
from instance import Checkout, Instance, wait_for
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]


def names(server: Instance) -> list[str]:
    return [project["name"] for project in server.get("/projects/", limit=1000)["results"]]


def test_a_running_project_is_killed_removed_and_pushed_again(server: Instance, checkout: Checkout) -> None:
    yaml = step("train", "echo first", "echo 1 >/valohai/outputs/model", "sleep 1000")
    checkout.commit({"valohai.yaml": yaml})
    checkout.push(server.git_url("removable"))
    execution = wait_for(lambda: next(iter(server.executions("removable")), None))
    wait_for(lambda: "first" in server.events(execution["id"], "stdout"))
    assert "1 execution\n" in server.pushmill("project", "remove", "--yes", "removable", "--force")
    assert "removable" not in names(server)
    checkout.commit({"valohai.yaml": step("train", "echo second")})
    checkout.push(server.git_url("removable"))
    execution = server.run("removable", "train")
    assert (execution["status"], execution["counter"]) == ("complete", 1)
    assert server.events(execution["id"], "stdout") == ["second"]
    server.pushmill("project", "remove", "--yes", "removable")
    assert "removable" not in names(server)

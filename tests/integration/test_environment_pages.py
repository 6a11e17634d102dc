"""Changes of environments, quotas and single executions, on pages and by command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_server import ApiServer
from click.testing import CliRunner
from site_client import Person

from web.cli.main import group
from web.services.executions import lifecycle
from web.store import environments, executions, projects, users
from web.store.db import execute, transaction

FORM = {"slug": "gpu-a100", "gpus": "2", "memory": "64 GiB", "cpus": "8.5", "pull": "always", "network": "none",
        "max_executions": "3", "images": "nvcr.io/* pytorch/*", "mounts": "/data, /scratch:rw", "description": "A100s",
        "autorestart": "on"}  # fmt: skip


@pytest.fixture
def person(api: ApiServer) -> Person:
    person = Person(api)
    person.log_in()
    return person


def test_an_administrator_makes_and_changes_an_environment(api: ApiServer, person: Person) -> None:
    assert person.post("/environments/", "/environments/", **FORM).status_code == 303
    made = environments.get_by_slug(api.db, "gpu-a100")
    assert (made.gpus, made.memory, made.cpus, made.pull, made.network) == (2, 64 * 2**30, 8.5, "always", "none")
    assert (made.images, made.mounts) == (("nvcr.io/*", "pytorch/*"), ("/data", "/scratch:rw"))
    assert (made.max_executions, made.autorestart) == (3, True)
    page = person.get("/environments/").text
    assert 'value="64 GiB"' in page
    assert "2 GPUs" in page
    assert "no runners" in page
    assert person.post("/environments/gpu-a100/remove", "/environments/").status_code == 303
    assert [e.slug for e in environments.list_environments(api.db)] == ["default"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"slug": "../x"}, {"slug": ""}, {"gpus": "-1"}, {"gpus": "many"}, {"memory": "a lot"}, {"cpus": "nan"},
        {"pull": "never"}, {"network": "host"}, {"mounts": "/"}, {"mounts": "data"}, {"mounts": "/a/../b"},
        {"max_executions": "1e99"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_sentence_and_changes_nothing(
    api: ApiServer, person: Person, wrong: dict[str, str]
) -> None:
    answer = person.post("/environments/", "/environments/", **FORM | wrong)
    assert answer.status_code == 400
    assert [e.slug for e in environments.list_environments(api.db)] == ["default"]


def test_only_administrators_change_environments(api: ApiServer) -> None:
    with transaction(api.db):
        other = users.add(api.db, "grace", is_admin=False)
        users.add_token(api.db, other.id, "pm_grace", "test")
    grace = Person(api)
    grace.log_in("grace", "pm_grace")
    assert grace.get("/environments/").status_code == 200
    assert grace.post("/environments/", "/runners/", **FORM).status_code == 403
    assert [e.slug for e in environments.list_environments(api.db)] == ["default"]


def test_a_project_s_default_environment_and_quota_are_set_on_its_settings(api: ApiServer, person: Person) -> None:
    person.post("/environments/", "/environments/", **FORM)
    answer = person.post("/p/demo/settings/runs", "/p/demo/settings/", environment="gpu-a100", max_executions="2")
    assert answer.status_code == 303
    found = projects.get_by_name(api.db, "demo")
    assert (found.environment, found.max_executions) == ("gpu-a100", 2)
    for wrong in ({"max_executions": "-1"}, {"max_executions": "x"}, {"environment": "nowhere"}):
        form = {"environment": "default", "max_executions": "1"} | wrong
        assert person.post("/p/demo/settings/runs", "/p/demo/settings/", **form).status_code in (400, 404)
    assert projects.get_by_name(api.db, "demo").max_executions == 2


def test_what_has_ended_is_run_again_with_everything_as_it_was(api: ApiServer, person: Person) -> None:
    failed = api.execution(api.finished("stopped"))
    page = f"/p/demo/executions/{failed.counter}/"
    answer = person.post(f"{page}again", page)
    assert answer.location.endswith(f"/p/demo/executions/{failed.counter + 1}/")
    again = executions.get_by_counter(api.db, api.demo.id, failed.counter + 1)
    assert (again.commands, again.parameters, again.image) == (failed.commands, failed.parameters, failed.image)
    assert f">#{again.counter}</a>" in person.get(f"{page}configuration/").text
    assert f'Re-run of <a href="{page}">#{failed.counter}</a>.' in person.get(f"{answer.location}configuration/").text


def test_what_still_runs_is_not_run_again_unless_it_is_out_of_contact(api: ApiServer, person: Person) -> None:
    uuid, attempt = api.started()
    page = f"/p/demo/executions/{api.execution(uuid).counter}/"
    assert "Re-run with the same values" not in person.get(page).text
    assert person.post(f"{page}again", "/runners/").status_code == 409
    api.call(f"executions/{uuid}/container", {"attempt": attempt, "container_id": "abc"})
    with transaction(api.db):
        execute(api.db, "UPDATE execution SET lease_expires_at = '2026-01-01T00:00:00.000000Z'")
    page_now = person.get(page).text
    assert "No contact with the runner since <time" in page_now
    assert "2025-12-31 23:59:48 UTC" in page_now
    assert person.post(f"{page}again", page).status_code == 303
    assert api.execution(uuid).failure_reason == "runner_lost"
    assert lifecycle.is_out_of_contact(api.execution(uuid)) is False


def test_one_that_waits_is_let_go_first_and_back_in_order(api: ApiServer, person: Person) -> None:
    waiting = api.add_execution()
    page = f"/p/demo/executions/{waiting.counter}/"
    for priority in ("1", "0"):
        assert person.post(f"{page}priority", page, priority=priority).status_code == 303
        assert api.execution(waiting.uuid).priority == int(priority)


def command(api: ApiServer, *arguments: str) -> Any:
    return CliRunner().invoke(group, ["environment", *arguments, "--data", str(api.config.data)])


def test_the_command_makes_lists_and_removes_environments(api: ApiServer) -> None:
    done = command(api, "set", "gpu", "--gpus", "1", "--memory", "16 GiB", "--mount", "/data", "--autorestart")
    assert done.output == "gpu: 1 GPU; 16.0 GiB of memory; mounts /data; restarts lost executions\n"
    assert (
        command(api, "set", "gpu", "--mount", "").output == "gpu: 1 GPU; 16.0 GiB of memory; restarts lost executions\n"
    )
    listed = json.loads(command(api, "list", "--json").output)
    assert [(e["slug"], e["runners"]) for e in listed][1] == ("gpu", [])
    assert "one, two" in command(api, "list").output
    assert command(api, "remove", "gpu").exit_code == 0
    refused = command(api, "remove", "default")
    assert "cannot be removed" in str(refused.exception)

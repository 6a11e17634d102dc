"""What the page and the commands show of runners, and how administrators manage them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_server import ApiServer
from click.testing import CliRunner
from redis_site import RedisSite
from site_client import Person

from core.states import State
from web.cli import doctor
from web.cli.main import group
from web.services.runners import overview
from web.store import audit, runners, users
from web.store.audit import Act, AuditQuery, Kind
from web.store.db import execute, transaction

MACHINE = {
    "version": "0.1.0", "docker_version": "27.5.1", "driver_version": "570.86.15", "cpu_count": 64, "load": 12.34,
    "memory_bytes": 512 * 2**30, "free_disk_bytes": 800 * 2**30, "clock_off_s": -75.0, "problems": ["Docker has no NVIDIA"],
    "gpus": [{"uuid": f"GPU-{n}", "name": "NVIDIA A100-SXM4-80GB", "memory_bytes": 80 * 2**30} for n in range(8)],
}  # fmt: skip
HOSTILE = {
    "version": ["x"], "docker_version": "<b>\u202e", "cpu_count": "many", "load": float("1e300"), "memory_bytes": None,
    "free_disk_bytes": True, "clock_off_s": "soon", "gpus": {"a": 1}, "problems": [1, "<script>", {}], "driver_version": 5,
}  # fmt: skip


def person_of(api: ApiServer, username: str = "admin") -> Person:
    person = Person(api)
    if username == "admin":
        person.log_in()
        return person
    with transaction(api.db):
        user = users.add(api.db, username, is_admin=False)
        users.add_token(api.db, user.id, f"pm_{username}", "test")
    person.log_in(username, f"pm_{username}")
    return person


def seen(api: ApiServer, name: str, info: dict[str, Any], slots: int = 4, ago_s: float = 0.0) -> None:
    runner = runners.find_by_name(api.db, name)
    assert runner is not None
    runners.record_heartbeat(api.db, runner.id, slots, info)
    if ago_s:
        execute(api.db, "UPDATE runner SET last_seen_at = '2026-01-01T00:00:00.000000Z' WHERE id = ?", (runner.id,))


def command(api: ApiServer, *arguments: str, exit_code: int = 0) -> str:
    config = api.config.data / "config.toml"
    redis = api.config.redis
    lines = [f'{name} = "{value}"' for name in ("url", "listen", "cert", "key") if (value := getattr(redis, name))]
    config.write_text("[redis]\n" + "\n".join(lines) + '\n[server]\nurl = "https://pushmill.example"\n')
    done = CliRunner().invoke(group, ["runner", *arguments, "--data", str(api.config.data)])
    assert done.exit_code == exit_code, done.output
    return done.output if done.exception is None else str(done.exception)


def test_the_page_and_the_list_show_what_a_machine_says_of_itself(api: ApiServer) -> None:
    uuid, _ = api.started()
    seen(api, "one", MACHINE)
    page = person_of(api).get("/runners/").text
    listed = command(api, "list")
    for text in (
        "pushmill 0.1.0, Docker 27.5.1, driver 570.86.15", "8 x NVIDIA A100-SXM4-80GB (80.0 GiB)", "12.3 of 64",
        "512 GiB", "800 GiB", "Docker has no NVIDIA",
    ):  # fmt: skip
        assert text in page
        assert text in listed
    assert "1 min 15 s behind the server" in page
    assert "1 of 4 slots and 0 of 8 GPUs in use" in page
    assert "/p/demo/executions/1/" in page
    assert "demo #1  Train model" in listed
    item = next(item for item in json.loads(command(api, "list", "--json")) if item["name"] == "one")
    assert item["running"] == [{"project": "demo", "counter": 1, "step": "Train model"}]
    assert (len(item["gpus"]), item["clock_off_s"], item["state"]) == (8, -75.0, "online")
    assert api.execution(uuid).state is State.STARTED


def test_the_doctor_reports_the_problems_of_runners_that_are_online(api: ApiServer) -> None:
    for name, ago_s in (("one", 0.0), ("two", 1.0)):
        seen(api, name, MACHINE, ago_s=ago_s)
    found = [finding for finding in doctor.examine(api.config, {}) if finding.check == "runners"]
    assert [(finding.level, finding.message) for finding in found] == [("warn", "one: Docker has no NVIDIA")]
    execute(api.db, "DELETE FROM _sqlite_migrations WHERE name = 'required_statuses'")  # as before an upgrade
    assert [finding for finding in doctor.examine(api.config, {}) if finding.check == "runners"] == []


def test_states_are_told_apart(api: ApiServer) -> None:
    seen(api, "one", {}, ago_s=1)
    with transaction(api.db):
        for name in ("busy", "leaving"):
            runners.add(api.db, name, f"pm_{name}", ["default"])
    seen(api, "busy", {})
    seen(api, "leaving", {})
    command(api, "drain", "leaving")
    states = {view.name: view.state for view in overview.list_runner_views(api.db)}
    assert states == {
        "busy": "online",
        "leaving": "draining",
        "local": "never connected",
        "one": "offline",
        "two": "never connected",
    }


def test_nothing_that_a_runner_says_can_break_the_page_or_the_list(api: ApiServer) -> None:
    seen(api, "one", HOSTILE)
    person = person_of(api)
    answer = person.get("/runners/")
    assert answer.status_code == 200
    assert "<script>" not in answer.text.replace("<script type", "")
    assert "\u202e" not in answer.text
    assert "\u202e" not in command(api, "list")
    json.loads(command(api, "list", "--json"))


def test_draining_gives_back_what_was_not_claimed_and_resuming_ends_it(api: ApiServer) -> None:
    person = person_of(api)
    uuid, _ = api.placed()
    assert person.post("/runners/one/drain", "/runners/").status_code == 303
    assert (api.execution(uuid).state, api.execution(uuid).runner_id) == (State.QUEUED, None)
    assert api.call("heartbeat", {"slots": 1, "info": {}}).json["draining"] is True  # type: ignore[index]
    assert api.execution(uuid).runner_id is None
    assert "Resume" in person.get("/runners/").text
    assert person.post("/runners/one/resume", "/runners/").status_code == 303
    assert api.execution(uuid).runner_id is not None


def test_a_runner_that_runs_something_is_removed_by_force_alone(api: ApiServer) -> None:
    person = person_of(api)
    uuid, attempt = api.started()
    api.call(
        f"executions/{uuid}/container", {"attempt": attempt, "container_id": "c", "image_digest": None, "devices": []}
    )
    refused = person.post("/runners/one/remove", "/runners/")
    assert refused.status_code == 409
    assert "runner one runs 1 execution" in refused.text
    assert person.post("/runners/one/remove", "/runners/", force="on").status_code == 303
    found = api.execution(uuid)
    assert (found.state, str(found.failure_reason)) == (State.ERROR, "runner_lost")
    assert [runner.name for runner in runners.list_runners(api.db)] == ["local", "two"]
    assert "Started on runner one" in person.get("/p/demo/executions/1/").text
    assert api.call(f"executions/{uuid}/heartbeat", {"attempt": attempt}).status_code == 401


@pytest.mark.redis
def test_an_administrator_registers_a_runner_and_sees_its_token_once(site: RedisSite) -> None:
    person = person_of(site.api)
    made = person.post("/runners/", "/runners/", name="gpu-1", environments="gpu-a100, default")
    assert made.status_code == 200
    assert made.headers["Cache-Control"] == "no-store"
    runner = runners.find_by_name(site.api.db, "gpu-1")
    assert runner is not None
    assert runner.environments == ("gpu-a100", "default")
    token = made.text.split("token = &#34;")[1].split("&#34;")[0]
    assert runners.find_by_token(site.api.db, token) == runner
    for text in (
        "rediss://runner-gpu-1:pm_",
        "server = &#34;https://pushmill.example&#34;",
        "copy it to /etc/pushmill",
    ):
        assert text in made.text
    again = person.post("/runners/", "/runners/", name="gpu-1", environments="default")
    assert again.status_code == 409
    assert token not in person.get("/runners/").text
    new = person.post("/runners/gpu-1/token", "/runners/")
    assert new.status_code == 200
    assert runners.find_by_token(site.api.db, token) is None
    entries = audit.search(site.api.db, AuditQuery(kind=Kind.RUNNER), 9)
    assert [(entry.action, entry.name) for entry in entries] == [(Act.CHANGE, "gpu-1"), (Act.CREATE, "gpu-1")]
    assert token not in str(entries)


@pytest.mark.redis
def test_the_command_prints_a_configuration_that_can_be_pasted(site: RedisSite) -> None:
    import tomllib

    said = command(site.api, "register", "gpu-1", "--environment", "default", "--environment", "gpu")
    pasted = tomllib.loads(said[said.index("[runner]") : said.index("and then, as root")])
    assert pasted["runner"]["name"] == "gpu-1"
    assert pasted["runner"]["server"] == "https://pushmill.example"
    assert runners.find_by_token(site.api.db, pasted["runner"]["token"]) == runners.find_by_name(site.api.db, "gpu-1")
    machine = json.loads(command(site.api, "register", "gpu-1", "--environment", "gpu", "--json"))
    assert tomllib.loads(machine["config"])["redis"]["url"] == machine["redis_url"]
    assert runners.find_by_token(site.api.db, pasted["runner"]["token"]) is None
    found = runners.find_by_name(site.api.db, "gpu-1")
    assert found is not None
    assert found.environments == ("gpu",)


@pytest.mark.parametrize(
    ("name", "environments"), [("", "default"), ("a b", "default"), ("x" * 64, "default"), ("gpu", ""), ("gpu", "../x")]
)
def test_names_that_cannot_be_are_refused(api: ApiServer, name: str, environments: str) -> None:
    answer = person_of(api).post("/runners/", "/runners/", name=name, environments=environments)
    assert answer.status_code == 400
    assert len(runners.list_runners(api.db)) == 3


def test_what_is_in_the_way_of_registering_is_said_to_who_asks(api: ApiServer) -> None:
    person = person_of(api)  # whose server has a Redis that does not answer
    answer = person.post("/runners/", "/runners/", name="gpu-1", environments="default")
    assert answer.status_code == 409
    assert "remote runners are off" in answer.text
    own = person.post("/runners/local/token", "/runners/")
    assert own.status_code == 400
    assert "runner of the server&#39;s own machine" in own.text
    assert len(runners.list_runners(api.db)) == 3


def test_a_name_that_nobody_has_is_answered_with_those_there_are(api: ApiServer) -> None:
    said = command(api, "rotate-token", "nobody", exit_code=1)
    assert 'there is no runner "nobody"; there are: local, one, two' in said


@pytest.mark.parametrize("path", ["", "one/token", "one/drain", "one/resume", "one/remove"])
def test_only_administrators_change_runners(api: ApiServer, path: str) -> None:
    grace = person_of(api, "grace")
    assert grace.post(f"/runners/{path}", "/runners/", name="x", environments="default").status_code == 403
    page = grace.get("/runners/").text
    assert "Add a runner" not in page
    assert "Remove" not in page
    assert person_of(api).client.post(f"/runners/{path}").status_code == 403

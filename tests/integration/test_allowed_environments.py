"""A project that is limited to some environments cannot run anything in others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import by_hand
import pytest
from api_server import ApiServer
from click.testing import CliRunner
from instance import Checkout, wait_for
from push_server import PushServer
from ruled_project import FULL, SEARCH, TRAIN, Model
from site_client import Person

from core.rights import Role
from web.cli.main import group
from web.config.steps.resolve import resolve
from web.services import launch
from web.services.executions import environments
from web.services.triggers import dry_run
from web.services.triggers.dry_run import HypotheticalEvent
from web.store import members, projects, users
from web.store.db import transaction

REFUSED = "Project model may not use environment open; it may use locked"


@pytest.fixture
def here(pushes: PushServer, checkout: Checkout) -> Model:
    """A project that is limited to the environment `locked`."""
    environments.change(pushes.db, "locked", {"network": "none"})
    environments.change(pushes.db, "open", {"mounts": ["/data:rw"], "gpus": 8})
    model = Model(pushes, checkout, '[[rule]]\nname = "main"\nsteps = ["train"]\n')
    project = projects.get_by_name(pushes.db, "model")
    environments.set_run_defaults(pushes.db, project, "locked", 0)
    environments.allow(pushes.db, project, ["locked"])
    return model


TRAIN_ANYWHERE = TRAIN.replace("    environment: default\n", "")
TRAIN_OPEN = TRAIN.replace("environment: default", "environment: open")


@pytest.mark.parametrize(
    ("config", "rule", "message", "options"),
    [
        (TRAIN_OPEN, "", "work", []),
        (TRAIN_ANYWHERE, 'environment = "open"\n', "work", []),
        (TRAIN_ANYWHERE, "", "work\n\nPushmill-Environment: open", []),
        (TRAIN_ANYWHERE, "", "work", ["-o", "pushmill.environment=open"]),
        (TRAIN_OPEN, "", "work", ["-o", "pushmill.environment=nowhere"]),
    ],
)
def test_what_names_another_environment_fails_at_once_with_the_reason(
    pushes: PushServer, here: Model, config: str, rule: str, message: str, options: list[str]
) -> None:
    here.rules(f'[[rule]]\nname = "main"\nsteps = ["train"]\n{rule}')
    here.change({"valohai.yaml": config}, *options, "main", message=message)
    [made] = here.made
    assert (made.state, made.failure_reason, made.failure_message) == ("error", "environment", REFUSED)
    question = HypotheticalEvent(name="main", branch="main", options=tuple(options[1:]))
    [run] = dry_run.evaluate_event(pushes.context, projects.get_by_name(pushes.db, "model"), question).runs
    assert REFUSED in run.notes


def test_tasks_and_pipelines_are_held_to_it_too(pushes: PushServer, here: Model) -> None:
    here.rules('[[rule]]\nname = "main"\nsteps = []\ntasks = ["*"]\npipelines = ["*"]\n')
    config = TRAIN_OPEN + "- step: {name: check, image: busybox, command: check, environment: open}\n" + SEARCH + FULL
    here.change({"valohai.yaml": config})
    with pushes.worker():
        wait_for(lambda: {made.step for made in here.made} == {"train", "check"})
    assert {(made.state, made.failure_message) for made in here.made} == {("error", REFUSED)}


def test_inside_the_limit_all_is_as_without_one(pushes: PushServer, here: Model) -> None:
    here.change({"valohai.yaml": TRAIN_ANYWHERE})
    here.change({"valohai.yaml": TRAIN.replace("environment: default", "environment: aws-p2")})
    assert [made.environment for made in here.made] == ["locked", "locked"]
    assert not any(made.failure_reason for made in here.made)


def test_running_again_is_held_to_it_and_to_the_mounts_of_now(pushes: PushServer, here: Model) -> None:
    project, admin = projects.get_by_name(pushes.db, "model"), users.find_by_name(pushes.db, "admin")
    assert admin is not None
    environments.allow(pushes.db, project, [])
    mounts = "    mounts: [/data:/data]\n"
    here.change({"valohai.yaml": TRAIN_OPEN.replace("    parameters:", f"{mounts}    parameters:")})
    [first] = here.made
    assert [dict(mount)["source"] for mount in first.mounts] == ["/data"]
    environments.allow(pushes.db, project, ["locked"])
    environments.change(pushes.db, "open", {"mounts": []})
    with transaction(pushes.db):
        again = launch.rerun(pushes.context, first, admin, "Repeats")
    assert (again.failure_reason, again.failure_message) == ("environment", REFUSED)
    assert again.mounts == ()


def test_a_push_to_a_new_project_is_no_way_around_it(pushes: PushServer, checkout: Checkout) -> None:
    for slug in ("locked", "open"):
        environments.change(pushes.db, slug, {})
    limits = replace(pushes.config.limits, environments=("locked",))
    pushes.config = replace(pushes.config, limits=limits)
    pushes.stop()
    pushes.start()
    model = Model(pushes, checkout, "")
    model.change({"valohai.yaml": TRAIN_ANYWHERE})
    model.change({"valohai.yaml": TRAIN_OPEN})
    assert [(made.environment, made.failure_message) for made in model.made] == [("locked", None), ("open", REFUSED)]


def person(api: ApiServer, name: str = "admin", token: str = "") -> Person:
    made = Person(api)
    made.log_in(*([name, token] if token else []))
    return made


def test_only_an_administrator_sets_the_limit_on_the_settings_page(api: ApiServer) -> None:
    environments.change(api.db, "gpu", {})
    with transaction(api.db):
        grace_id = users.add(api.db, "grace", is_admin=False).id
        users.add_token(api.db, grace_id, "pm_grace", "test")
        members.set_role(api.db, api.demo.id, grace_id, Role.OWNER)
    limit = ("/p/demo/settings/environments", "/p/demo/settings/")
    admin, grace = person(api), person(api, "grace", "pm_grace")
    assert grace.post(*limit, environments="default").status_code == 403
    assert admin.post(*limit, environments="default").status_code == 303
    assert projects.get_by_name(api.db, "demo").environments == ("default",)
    assert 'value="default" checked' in admin.get("/p/demo/settings/runs/").text
    assert "Allowed environments: default." in grace.get("/p/demo/settings/runs/").text
    form = {"environment": "gpu", "max_executions": "1"}
    assert grace.post("/p/demo/settings/runs", "/p/demo/settings/", **form).status_code == 400
    for wrong in ("gpu", "nowhere"):  # the default one must be among them
        assert admin.post(*limit, environments=wrong).status_code in (400, 404)
    assert projects.get_by_name(api.db, "demo").environments == ("default",)
    assert admin.post(*limit).status_code == 303
    assert projects.get_by_name(api.db, "demo").environments == ()


def test_the_commit_s_page_has_the_reason(api: ApiServer) -> None:
    environments.change(api.db, "gpu", {})
    environments.allow(api.db, api.demo, ["default"])
    resolved = resolve([{"step": {"name": "x", "image": "i", "command": "c", "environment": "gpu"}}], "x")
    with transaction(api.db):
        by_hand.execution(api.context, projects.get(api.db, api.demo.id), api.commit, resolved, api.admin)
    page = person(api).get(f"/p/demo/commits/{api.commit.identifier}/").text
    assert "Project demo may not use environment gpu; it may use default" in page


def command(api: ApiServer, *arguments: str) -> Any:
    return CliRunner().invoke(group, [*arguments, "--data", str(api.config.data)])


def test_the_command_shows_sets_and_lifts_the_limit(api: ApiServer) -> None:
    environments.change(api.db, "gpu", {})
    show = ("project", "environments", "demo")
    assert command(api, *show).output == "Project demo may use every environment.\n"
    both = ("--allow", "default", "--allow", "gpu")
    assert command(api, *show, *both).output == "Project demo may use default, gpu.\n"
    assert "is one of the environments of demo" in str(command(api, "environment", "remove", "gpu").exception)
    assert "cannot be used together" in str(command(api, *show, *both, "--allow-all").exception)
    assert command(api, *show, "--allow-all").output == "Project demo may use every environment.\n"
    assert command(api, "environment", "remove", "gpu").exit_code == 0

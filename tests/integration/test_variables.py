"""Variables and secrets of projects: which executions get their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import by_hand
import pytest
from api_server import ApiServer, problem
from command_line import pushmill
from site_client import Person

from web.config.steps.parse import parse
from web.config.steps.resolve import resolve
from web.services.executions import variables
from web.services.executions.spec import build_execution_spec
from web.store.db import execute, fetch_rows, transaction

SECRET = "correct-horse"
URL = "projects/demo/environment_variable/"
STEP = b"""
- step:
    name: Train model
    image: python:3.12
    command: python train.py
    environment-variables:
      - {name: MODE, default: fast}
      - {name: TOKEN, optional: false}
"""


def stored(api: ApiServer, name: str, value: str, *, secret: bool = False) -> None:
    answer = api.post(URL, json={"name": name, "value": value, "secret": secret})
    assert answer.status_code == 201, answer.text


def listed(api: ApiServer) -> Any:
    return api.json("projects/demo/")["environment_variables"]


def claimed(api: ApiServer) -> Any:
    execution, attempt = api.placed()
    return api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": False}).json


def test_a_runner_gets_values_and_the_names_of_the_secret_ones(api: ApiServer) -> None:
    stored(api, "MODE", "slow")
    stored(api, "TOKEN", SECRET, secret=True)
    spec = claimed(api)
    assert spec["environment_variables"] == {"MODE": "slow", "TOKEN": SECRET}
    assert spec["secrets"] == ["TOKEN"]


def test_what_a_step_sets_itself_goes_first_and_is_no_secret(api: ApiServer) -> None:
    stored(api, "MODE", SECRET, secret=True)
    stored(api, "TOKEN", SECRET, secret=True)
    with transaction(api.db):
        resolved = resolve(parse(STEP).config, "Train model", provided={"TOKEN"})
        execution = by_hand.execution(api.context, api.demo, api.commit, resolved, api.admin)
    spec = build_execution_spec(api.context, execution)
    assert spec.environment_variables == {"MODE": "fast", "TOKEN": SECRET}
    assert spec.secrets == ["TOKEN"]
    assert SECRET not in repr(spec)


def test_a_resuming_runner_gets_the_present_values(api: ApiServer) -> None:
    stored(api, "TOKEN", "before-1", secret=True)
    execution, attempt = api.started()
    stored(api, "TOKEN", "after-22", secret=True)
    again = api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": True}).json
    assert again["environment_variables"] == {"TOKEN": "after-22"}


def test_a_secret_is_in_no_answer_no_page_and_no_row(api: ApiServer) -> None:
    stored(api, "TOKEN", SECRET, secret=True)
    stored(api, "MODE", "slow-and-public")
    execution = claimed(api)["uuid"]
    assert listed(api) == {
        "MODE": {"value": "slow-and-public", "secret": False},
        "TOKEN": {"value": None, "secret": True},
    }
    person = Person(api)
    person.log_in()
    shown = [person.get(path).text for path in ("/p/demo/settings/variables/", "/p/demo/executions/1/", "/p/demo/")]
    shown += [api.get(path).text for path in ("projects/demo/", f"executions/{execution}/", "projects/", "executions/")]
    assert "slow-and-public" in shown[0]
    assert not [text for text in shown if SECRET in text]
    execute(api.db, "PRAGMA wal_checkpoint(TRUNCATE)")
    on_disk = [path for path in api.config.data.rglob("*") if path.is_file()]
    assert len(on_disk) > 2
    assert not [path for path in on_disk if SECRET.encode() in path.read_bytes()]
    assert not [path for path in on_disk if b"slow-and-public" in path.read_bytes()]


def test_a_value_is_replaced_and_removed(api: ApiServer) -> None:
    stored(api, "TOKEN", SECRET, secret=True)
    stored(api, "TOKEN", "public now")
    assert listed(api) == {"TOKEN": {"value": "public now", "secret": False}}
    removal = {"json": {"name": "TOKEN"}, "headers": api.as_admin}
    assert api.client.delete(f"/api/v0/{URL}", **removal).status_code == 204
    again = api.client.delete(f"/api/v0/{URL}", **removal)
    assert (again.status_code, again.json) == (404, {"detail": "project demo has no variable 'TOKEN'"})
    assert fetch_rows(api.db, "SELECT * FROM variable") == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "", "value": SECRET}, "name is required"),
        ({"name": "A=B", "value": SECRET}, "'A=B' cannot name a variable"),
        ({"name": "A" * 65, "value": SECRET}, "1 to 64 letters"),
        ({"name": "A\n", "value": SECRET}, "cannot name a variable"),
        ({"name": "VH_JOB_ID", "value": SECRET}, "VH_JOB_ID cannot be set: the runner sets it itself or refuses it"),
        ({"name": "LD_PRELOAD", "value": SECRET}, "LD_PRELOAD cannot be set"),
        ({"name": "NVIDIA_VISIBLE_DEVICES", "value": SECRET}, "NVIDIA_VISIBLE_DEVICES cannot be set"),
        ({"name": "A", "value": f"{SECRET}\0"}, "NUL"),
        ({"name": "A", "value": SECRET + "x" * 65536}, "larger than 65,536 bytes"),
        ({"name": "A", "value": 5}, "value must be text"),
        ({"name": "A"}, "value is required"),
        ({"value": SECRET}, "name is required"),
        ({"name": "A", "value": SECRET, "secret": "yes"}, "secret must be true or false"),
    ],
)
def test_what_cannot_be_a_variable_is_refused_in_a_sentence_without_its_value(
    api: ApiServer, given: dict[str, Any], why: str
) -> None:
    answer = api.post(URL, json=given)
    assert answer.status_code == 400
    assert why in problem(answer)
    assert SECRET not in answer.text
    assert listed(api) == {}


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ("12345", "Logs show it: text of fewer than 6 characters is not masked"),
        (" 12345 ", "Logs show it: text of fewer than 6 characters is not masked"),
        ("long enough\nok\n", "Logs show a line of it: text of fewer than 6 characters is not masked"),
        ('{\n "password": "123456"\n}', ""),
        ("123456", ""),
    ],
)
def test_a_secret_too_short_to_be_masked_is_taken_and_said(api: ApiServer, value: str, note: str) -> None:
    answer = api.post(URL, json={"name": "PIN", "value": value, "secret": True})
    assert (answer.status_code, answer.json["note"]) == (201, note)
    person = Person(api)
    person.log_in()
    assert ("is not masked" in person.get("/p/demo/settings/variables/").text) == bool(note)


def test_variables_belong_to_one_project(api: ApiServer) -> None:
    other = api.project("other")
    stored(api, "TOKEN", SECRET, secret=True)
    assert variables.list_variables(api.context, other) == []
    execution = api.add_execution(api.add_commit(other))
    assert build_execution_spec(api.context, execution).secrets == []


def test_the_settings_page_sets_replaces_and_removes(api: ApiServer) -> None:
    person = Person(api)
    person.log_in()
    page, form = "/p/demo/settings/variables/", "/p/demo/settings/variables"
    answer = person.post(form, page, variable="KEY", value="line one\r\nline two", secret="on")
    assert (answer.status_code, answer.location) == (303, "/p/demo/settings/variables/")
    assert listed(api) == {"KEY": {"value": None, "secret": True}}
    assert claimed(api)["environment_variables"] == {"KEY": "line one\nline two"}
    assert person.post(form, page, variable="KEY", value="now public").status_code == 303
    assert "now public" in person.get(page).text
    refused = person.post(form, page, variable="VH_JOB_ID", value=SECRET, secret="on")
    assert refused.status_code == 400
    assert "VH_JOB_ID cannot be set" in refused.text
    assert 'value="VH_JOB_ID"' in refused.text
    assert SECRET not in refused.text
    assert person.post(f"{form}/remove", page, variable="KEY").status_code == 303
    assert listed(api) == {}
    assert person.client.post(form, data={"variable": "A", "value": "b"}).status_code == 403
    assert api.app.test_client().post(form, data={"variable": "A", "value": "b"}).status_code == 401


class Shell:
    """The command line on the server's machine."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *arguments: str, stdin: bytes = b"", rc: int = 0) -> tuple[str, str]:
        done = pushmill(self.data, "project", "variable", *arguments, stdin=stdin)
        assert done.returncode == rc, done.stderr
        return done.stdout, done.stderr


def test_the_command_line_sets_lists_and_removes(api: ApiServer) -> None:
    variable = Shell(api.config.data)
    assert "no variables" in variable("list", "demo")[0]
    variable("set", "demo", "MODE", "slow and\nlong")
    variable("set", "demo", "TOKEN", "--secret", stdin=f"{SECRET}\n".encode())
    _, warned = variable("set", "demo", "PIN", "--secret", stdin=b"1234")
    assert warned == "Logs show it: text of fewer than 6 characters is not masked.\n"
    assert claimed(api)["environment_variables"] == {"MODE": "slow and\nlong", "TOKEN": SECRET, "PIN": "1234"}
    said, _ = variable("list", "demo")
    assert [line.split(maxsplit=1) for line in said.splitlines() if line[0] != " "] == [
        ["MODE", "slow and…"], ["PIN", "(secret)"], ["TOKEN", "(secret)"],
    ]  # fmt: skip
    assert SECRET not in variable("list", "demo", "--json")[0]
    variable("remove", "demo", "TOKEN")
    assert "has no variable 'TOKEN'" in variable("remove", "demo", "TOKEN", rc=1)[1]
    assert set(listed(api)) == {"MODE", "PIN"}


def test_a_secret_is_never_taken_from_the_command_line(api: ApiServer) -> None:
    said, why = Shell(api.config.data)("set", "demo", "TOKEN", SECRET, "--secret", rc=1)
    assert "leave out the value of TOKEN" in why
    assert SECRET not in said + why
    assert listed(api) == {}
    _, why = Shell(api.config.data)("set", "demo", "KEY", "--secret", stdin=b"\xff\xfe", rc=1)
    assert "is not UTF-8 text" in why

"""The form that runs steps, tasks and pipelines: what it launches, refuses and copies."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from api_server import ApiServer, listening
from grouped_project import Grouped
from werkzeug.test import TestResponse

from core.model import Commit, EventKind, Execution, Origin, PullRequestEvent, PushEvent
from core.rights import Role
from web.services.executions import environments
from web.store import audit, data, executions, members, pipelines, projects, pull_requests, pushes, tasks, users
from web.store.audit import Act, AuditQuery
from web.store.db import execute, fetch_rows, transaction
from web.store.pushes import NewPush, PushOutcome

SHA = "e" * 40
EVIL = "a/b?c#d \"<i>'&"
YAML = b"""
- step:
    name: train
    description: Fits the model
    category: Models
    image: python:3.12
    command: python train.py {parameters}
    parameters:
      - {name: epochs, type: integer, default: 10, min: 1, max: 100, category: Training}
      - {name: kind, choices: [a, b], default: a}
    inputs:
      - {name: images, optional: true}
- step: {name: "a/b?c#d \\"<i>'&", image: i, command: c, parameters: [{name: "x<y\\"", default: "<b>"}]}
- task:
    name: search
    step: train
    type: grid_search
    parameters: [{name: epochs, style: multiple, rules: {items: [1, 2]}}]
- pipeline:
    name: full
    parameters: [{name: epochs, targets: [one.parameter.epochs], default: 3}]
    nodes: [{name: one, type: execution, step: train}]
    edges: []
"""


class Site(Grouped):
    """`commit` declares a step, a task and a pipeline."""

    def __init__(self, api: ApiServer) -> None:
        super().__init__(api)
        self.commit = self.add(SHA)

    def add(self, sha: str) -> Commit:
        return self.api.add_commit(self.api.demo, sha, YAML, message="work")

    def address(self, sha: str = SHA, **query: Any) -> str:
        return f"/p/demo/commits/{sha}/run/?{urlencode(query or {'step': 'train'})}"

    def form(self, **query: Any) -> str:
        answer = self.person.get(self.address(**query))
        assert answer.status_code == 200, answer.text
        return answer.text

    def submit(self, texts: Mapping[str, Any], action: str = "run", key: str = "k", **query: Any) -> TestResponse:
        address = self.address(**query)
        given = {"csrf_token": self.person.csrf(address), "key": key, "action": action, **texts}
        return self.person.client.post(address, data=given)

    def newest(self) -> Execution:
        return executions.get_newest(self.api.db, self.api.demo.id)

    def pushed(self, commit: Commit, *, from_fork: bool = False) -> None:
        """A push to main, or the head of a fork's pull request."""
        db, request = self.api.db, None
        with transaction(db):
            if from_fork:
                head = PullRequestEvent(number=7, sha=commit.identifier, title="", author="", url="", head_branch="x",
                                        base_branch="main", from_fork=True)  # fmt: skip
                request = pull_requests.save(db, commit.repository_id, head, head.sha, "2026-11-22T23:40:00.000000Z")
            kind, ref = (EventKind.PULL_REQUEST, "refs/pull/7/head") if request else (EventKind.PUSH, "refs/heads/main")
            event = PushEvent(kind=kind, ref=ref, before="1" * 40, after=commit.identifier, identity=commit.identifier)
            new = NewPush(
                repository_id=commit.repository_id, event=event, pull_request_id=request.id if request else None
            )
            pushes.finish_push(db, pushes.add_push(db, new), PushOutcome(commit_id=commit.id))

    def audited(self) -> list[str]:
        """The launches of the audit trail, the newest first."""
        return [entry.name for entry in audit.search(self.api.db, AuditQuery(action=Act.LAUNCH), 10)]

    def count(self, table: str = "execution") -> int:
        return len(fetch_rows(self.api.db, f"SELECT id FROM {table}"))


@pytest.fixture
def site(api: ApiServer) -> Site:
    return Site(api)


def changed(page: str) -> list[str]:
    """The names of the fields that are marked as changed."""
    found = re.findall(
        r'data-number="(\d+)">.*?<label[^>]*>(.*?)</label>.*?id="field-\1-marks">(.*?)</div>', page, re.S
    )
    return [html.unescape(name) for _, name, marks in found if "changed" in marks]


def test_every_step_task_and_pipeline_of_a_commit_can_be_run(site: Site) -> None:
    page = html.unescape(site.page(f"commits/{SHA}/"))
    for query in ({"step": "train"}, {"step": EVIL}, {"task": "search"}, {"pipeline": "full"}):
        assert site.person.get(site.address(**query)).status_code == 200
    assert len(re.findall(r">Run…</a>", page)) == 4
    assert ("Fits the model" in page, '<span class="tag">Models</span>' in page) == (True, True)


def test_running_a_step_with_a_change(site: Site) -> None:
    answer = site.submit({"parameter:epochs": "50", "parameter:kind": "a", "title": "Longer", "tags": "x, y"})
    assert (answer.status_code, answer.location) == (303, f"/p/demo/executions/{site.newest().counter}/")
    made = site.newest()
    assert (made.parameters, made.title, made.tags) == ({"epochs": 50, "kind": "a"}, "Longer", ("x", "y"))
    assert (made.origin, made.creator) == (Origin.PAGE, "admin")
    assert [(one.name, one.before, one.after) for one in made.changed] == [("epochs", "10", "50")]
    assert site.audited() == [f"#{made.counter}"]


def test_the_same_form_runs_once_and_with_other_values_again(site: Site) -> None:
    before = site.count()
    first, second = (site.submit({"parameter:epochs": "50"}) for _ in range(2))
    assert (first.location, site.count()) == (second.location, before + 1)
    assert site.submit({"parameter:epochs": "51"}).location != first.location
    assert site.submit({"parameter:epochs": "50"}, key="another").location != first.location
    assert site.count() == before + 3


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"parameter:epochs": "many"}, "many is not an integer"),
        ({"parameter:epochs": "101"}, "101 is greater than the maximum allowed (100)"),
        ({"parameter:kind": "c"}, "c is not among the choices allowed"),
        ({"input:images": "ftp://x/y"}, "ftp://x/y is not supported"),
        ({"environment": "mars"}, 'there is no environment "mars"'),
        ({"image": "a b"}, "'a b' is not the name of an image"),
        ({"priority": "5000"}, "priority is 5000"),
        ({"title": "x" * 201}, "a title has at most 200 characters"),
        ({"variables": "MODE"}, "'MODE' is not NAME=VALUE"),
    ],
)
def test_an_error_stands_beside_its_field_and_what_was_typed_is_kept(
    site: Site, texts: dict[str, str], said: str
) -> None:
    before, ((key, text),) = site.count(), texts.items()
    answer = site.submit(texts)
    page = html.unescape(answer.text)
    assert (answer.status_code, site.count()) == (400, before)
    number = re.search(rf'id="field-(\d+)" name="{re.escape(key)}"', page)
    assert number is not None
    beside = re.search(rf'id="field-{number[1]}-marks">(.*?)</div>', page, re.S)
    assert beside is not None
    assert said in beside[1]
    assert text in page.split('id="commands"')[0].replace(beside[1], "")


def test_checking_says_what_is_wrong_and_runs_nothing(site: Site) -> None:
    before = site.count()
    answer = site.submit({"parameter:epochs": "many", "title": "T"}, action="check")
    assert (answer.status_code, site.count()) == (200, before)
    assert "many is not an integer" in answer.text
    assert "--title=T" in answer.text
    assert changed(answer.text) == ["epochs", "Title"]


def test_values_may_come_with_the_address(site: Site) -> None:
    page = site.form(step="train", **{"parameter:epochs": "50"})
    assert changed(page) == ["epochs"]
    assert "--epochs=50" in page


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("parameter:epoch", 'there is no parameter "epoch": did you mean "epochs"?'),
        ("input:data", 'there is no input "data"; there are: images'),
        ("variable:MODE", 'there is no environment variable "MODE"; there are: none'),
    ],
)
def test_a_value_for_what_the_step_does_not_declare_is_refused(site: Site, key: str, sentence: str) -> None:
    before, answer = site.count(), site.submit({key: "1"})
    assert (answer.status_code, site.count()) == (400, before)
    assert sentence in html.unescape(answer.text)
    assert sentence in html.unescape(site.form(step="train", **{key: "1"}))


def test_names_and_values_are_text_and_come_back_as_they_are(site: Site) -> None:
    page = site.form(step=EVIL)
    assert "<b>&lt;b&gt;" not in page
    assert "<i>'" not in page
    answer = site.submit({'parameter:x<y"': "<b>\u200b"}, step=EVIL)
    assert answer.status_code == 303, answer.text
    assert site.newest().parameters == {'x<y"': "<b>\u200b"}
    again = site.form(step=EVIL, **{"from": site.newest().counter})
    assert 'value="&lt;b&gt;\u200b"' in again


def test_an_unknown_step_commit_or_run_is_not_found(site: Site) -> None:
    for address in (
        site.address(step="nope"), site.address("d" * 40), site.address(step="train", **{"from": 999}),
    ):  # fmt: skip
        assert site.person.get(address).status_code == 404
    assert site.person.get(f"/p/demo/commits/{SHA}/run/").status_code == 303


def test_copying_an_execution_has_its_values(site: Site) -> None:
    environments.change(site.api.db, "rtx", {})
    given = {
        "parameter:epochs": "50", "parameter:kind": "b", "input:images": "https://x/1\nhttps://x/2", "title": "T",
        "tags": "a, b", "variables": "A=1", "image": "python:3.13", "time_limit": "90 min", "environment": "rtx",
        "priority": "2", "command:0": "echo {parameters}",
    }  # fmt: skip
    site.submit(given)
    first = site.newest()
    link = re.search(r'href="([^"]+/run/[^"]+)"[^>]*>Re-run with changes', site.page(f"executions/{first.counter}/"))
    assert link is not None
    page = site.person.get(html.unescape(link[1])).text
    assert sorted(changed(page)) == sorted(
        ["epochs", "kind", "images", "Title", "Tags", "More variables", "Image", "Time limit", "Environment",
         "Priority", "Command 1"]
    )  # fmt: skip
    texts = {**given, "time_limit": "1 h 30 min", "command:0": first.commands[0], "parameter:epochs": "51"}
    copied = site.submit(texts, key="k2", step="train", **{"from": first.counter})
    assert copied.status_code == 303, copied.text
    second = site.newest()
    for name in (
        "inputs",
        "title",
        "tags",
        "environment_variables",
        "image",
        "time_limit_s",
        "environment",
        "commands",
    ):
        assert getattr(second, name) == getattr(first, name), name


def test_copying_a_task_has_its_search_and_its_given_values(site: Site) -> None:
    site.submit({"items:epochs": "5\n6\n7", "parameter:kind": "b", "title": "S"}, task="search")
    first = tasks.get_by_counter(site.api.db, site.api.demo.id, site.count("task"))
    assert (first.planned, first.parameters, first.title) == (3, {"kind": "b"}, "S")
    page = site.form(task="search", **{"from": first.counter})
    assert "5\n6\n7</textarea>" in page
    assert re.search(r'value="b" selected', page)
    assert ">Copy</a>" in site.page(f"tasks/{first.counter}/")


def test_copying_a_pipeline_has_its_parameters(site: Site) -> None:
    assert site.submit({"parameter:epochs": "8"}, pipeline="full").status_code == 303
    first = pipelines.get_by_counter(site.api.db, site.api.demo.id, site.count("pipeline"))
    assert first.parameters == {"epochs": 8}
    page = site.form(pipeline="full", **{"from": first.counter})
    assert changed(page) == ["epochs"]
    assert ">Copy</a>" in site.page(f"pipelines/{first.counter}/")


def test_a_run_whose_target_the_commit_no_longer_declares_can_be_copied(site: Site) -> None:
    site.submit({"items:epochs": "5\n6"}, task="search")
    first = tasks.get_by_counter(site.api.db, site.api.demo.id, site.count("task"))
    execute(site.api.db, "UPDATE git_commit SET config = ? WHERE id = ?", ("[]", site.commit.id))
    assert "5\n6</textarea>" in site.form(task="search", **{"from": first.counter})
    assert site.submit({"items:epochs": "5\n6"}, key="2", task="search", **{"from": first.counter}).status_code == 303


def test_the_values_can_move_to_the_newest_commit_of_the_branch(site: Site) -> None:
    site.pushed(site.add("d" * 40))
    page = html.unescape(site.form())
    button = re.search(r'formaction="([^"]+)"[^>]*>Use newest commit of main', page)
    assert button is not None
    assert button[1].startswith(f"/p/demo/commits/{'d' * 40}/run/?")
    given = {"csrf_token": site.person.csrf(site.address()), "action": "check", "parameter:epochs": "50"}
    moved = site.person.client.post(button[1], data=given)
    assert changed(moved.text) == ["epochs"]
    assert "Use newest commit" not in moved.text


def test_outputs_of_the_project_are_found_and_added_to_an_input(site: Site) -> None:
    uuid, _ = site.api.stored("model.pt"), site.api.stored("labels.csv")
    made = executions.get(site.api.db, data.get_by_uuid(site.api.db, uuid).execution_id)
    page = site.form()
    assert ("model.pt" in page, "labels.csv" in page) == (True, True)
    for text, found in (("MODEL", True), (f"#{made.counter}", True), ("#999", False), ("csv", False)):
        shown = site.submit({"search": text}, action="pick").text
        assert ("model.pt" in shown) == found, text
    added = site.submit({"input:images": "https://x/1", "pick": uuid, "pick-for": "images"}, action="pick")
    assert f"https://x/1\ndatum://{uuid}</textarea>" in added.text
    assert site.submit({"pick": uuid, "pick-for": "images"}).status_code == 303
    assert site.newest().inputs["images"]["urls"] == [f"datum://{uuid}"]


def test_only_environments_of_the_project_are_offered(site: Site) -> None:
    for slug in ("rtx", "a100"):
        environments.change(site.api.db, slug, {})
    projects.set_environments(site.api.db, site.api.demo.id, ["default", "rtx"])
    page = site.form()
    assert ('value="rtx"' in page, 'value="a100"' in page) == (True, False)
    assert site.submit({"environment": "a100"}).status_code == 400


def test_a_commit_of_a_fork_says_who_may_approve_it(site: Site) -> None:
    site.pushed(site.commit, from_fork=True)
    page = html.unescape(site.form())
    assert "comes from a fork and is not approved" in page
    assert "admin and administrators may approve it" in page
    assert re.search(r'name="action" value="run" disabled', page)
    before = site.count()
    answer = site.submit({})
    assert (answer.status_code, site.count()) == (400, before)
    assert "is not approved" in answer.text


def test_chosen_executions_run_again_once(site: Site) -> None:
    first, second = (site.run("train") for _ in range(2))
    page = site.page("")
    assert len(re.findall(r'form="chosen" name="e"', page)) == 2
    action = re.search(r'formaction="(/p/demo/executions/again[^"]+)" name="csrf_token" value="([^"]+)"', page)
    assert action is not None
    given = {"csrf_token": action[2], "e": [first.counter, second.counter]}
    for _ in range(2):
        assert site.person.client.post(action[1], data=given).status_code == 303
    again = [executions.list_reruns(site.api.db, one.id) for one in (first, second)]
    assert [len(found) for found in again] == [1, 1]
    assert again[0][0].origin is Origin.RERUN
    assert site.audited() == [f"#{found[0].counter}" for found in reversed(again)]


def test_running_again_is_all_or_nothing_and_bounded(site: Site) -> None:
    first, running = site.run("train"), site.api.add_execution()
    token = site.person.csrf("/p/demo/settings/")
    for counters, status, said in (
        ([first.counter, running.counter], 409, f"#{running.counter} has not finished"),
        ([], 400, "choose 1 to 50 executions"),
        (list(range(1, 52)), 400, "51 are chosen"),
    ):
        answer = site.person.client.post("/p/demo/executions/again", data={"csrf_token": token, "e": counters})
        assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert executions.list_reruns(site.api.db, first.id) == []


def test_without_the_forms_token_nothing_runs(site: Site) -> None:
    before = site.count()
    assert site.person.client.post(site.address(), data={"action": "run"}).status_code == 403
    assert site.count() == before


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ({"step": "train"}, {"parameter:epochs": "50", "input:images": "https://x/1", "title": "T", "tags": "a"}),
        ({"step": EVIL}, {'parameter:x<y"': "it's <b>"}),
        ({"task": "search"}, {"parameter:kind": "b", "title": "T"}),
        ({"task": "search"}, {"items:epochs": "5\n6\n7", "parameter:kind": "b", "maximum-queued-executions": "2"}),
        ({"pipeline": "full"}, {"parameter:epochs": "8"}),
    ],
)
def test_the_call_with_curl_launches_the_same(site: Site, query: dict[str, str], given: dict[str, str]) -> None:
    words = shlex.split(command(site.submit(given, action="check", **query).text, "curl").replace("\\\n", ""))
    path, body = words[1].partition("/api/v0/")[2], json.loads(words[-1])
    answer = site.api.post(path, json=body)
    assert answer.status_code == 201, answer.text
    assert site.submit(given, **query).status_code == 303
    table = {"step": "execution", "task": "task", "pipeline": "pipeline"}[next(iter(query))]
    by_api, by_page = fetch_rows(site.api.db, f"SELECT * FROM {table} ORDER BY id DESC LIMIT 2")
    for name in ("parameters", "inputs", "title", "tags", "planned", "commands", "changed"):
        assert by_api.get(name) == by_page.get(name), name


def test_the_command_line_of_vh_launches_the_same(site: Site, tmp_path: Path) -> None:
    given = {"parameter:epochs": "50", "input:images": "https://x/1\nhttps://x/2", "title": "it's", "tags": "a, b"}
    line = command(site.submit(given, action="check").text, "vh")
    vh = Path(sys.executable).with_name("vh")
    with listening(site.api.app) as url:
        settings = {"VALOHAI_HOST": url, "VALOHAI_TOKEN": site.api.token, "VALOHAI_PROJECT": site.api.demo.uuid}
        done = subprocess.run(
            ["sh", "-c", line.replace("vh ", f"{vh} ", 1)], env={"HOME": str(tmp_path), "LANG": "C.UTF-8", **settings},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = site.newest()
    assert (made.parameters, made.title, made.tags) == ({"epochs": 50, "kind": "a"}, "it's", ("a", "b"))
    assert made.inputs["images"]["urls"] == ["https://x/1", "https://x/2"]
    assert (made.origin, made.client) == (Origin.API, "vh")


def command(page: str, name: str) -> str:
    found = re.search(rf'<pre class="command" id="command-{name}"[^>]*>(.*?)</pre>', page, re.S)
    assert found is not None
    return html.unescape(found[1])


def test_readers_see_the_form_and_cannot_run_it(site: Site) -> None:
    with transaction(site.api.db):
        user = users.add(site.api.db, "reader", is_admin=False)
        members.set_role(site.api.db, site.api.demo.id, user.id, Role.READER)
        users.add_token(site.api.db, user.id, "pm_reader", "test")
    headers = {"Authorization": "Token pm_reader"}
    page = site.api.app.test_client().get(site.address(), headers=headers)
    assert "you need the role writer" in page.text
    assert site.api.app.test_client().post(site.address(), headers=headers).status_code == 403

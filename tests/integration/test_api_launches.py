"""What `POST` to executions, tasks and pipelines launches, and what it refuses with which message."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from api_server import ApiServer
from grouped_project import Grouped

from core.identity import Scope
from core.model import EventKind, PullRequestEvent, PushEvent
from core.rights import Role
from web.services import identities, launch, reruns
from web.services import pipelines as pipeline_service
from web.services import tasks as task_service
from web.services.executions import environments
from web.store import approvals, executions, pull_requests, pushes, users
from web.store.db import execute, fetch_rows, transaction
from web.store.pushes import NewPush, PushOutcome

VH = "valohai-cli/0.37.0 on CPython 3.11.7 (Linux;vm;;;x86_64;)"


class Launches:
    """Posts bodies as an administrator; `commit` declares steps, tasks and a pipeline."""

    def __init__(self, api: ApiServer) -> None:
        self.api, self.grouped = api, Grouped(api)

    def post(self, noun: str, body: dict[str, Any], **headers: str) -> Any:
        own = {"project": self.api.demo.uuid, "commit": self.grouped.commit.identifier}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.client.post(
            f"/api/v0/{noun}/", json=own | body, headers=self.api.as_admin | {"User-Agent": VH} | named
        )

    def made(self, noun: str, body: dict[str, Any], **headers: str) -> Any:
        answer = self.post(noun, body, **headers)
        assert answer.status_code == 201, answer.text
        return answer.json

    def refused(self, noun: str, body: dict[str, Any], **headers: str) -> dict[str, list[str]]:
        """Return the messages by field."""
        answer = self.post(noun, body, **headers)
        assert answer.status_code == 400, answer.text
        return {field: [problem["message"] for problem in found] for field, found in answer.json.items()}


@pytest.fixture
def launches(api: ApiServer) -> Launches:
    return Launches(api)


def test_an_execution_gets_the_given_values_and_shows_what_was_changed(launches: Launches) -> None:
    given = {
        "step": "train", "parameters": {"epochs": 50, "rate": None, "kind": "a"}, "inputs": {}, "title": "Long",
        "tags": ["a", "b", "a"], "environment_variables": {"MODE": "fast"}, "image": "busybox:1", "priority": 1,
        "time_limit": 5400, "runtime_config": {"autorestart": True}, "command": "echo {parameters}",
    }  # fmt: skip
    found = launches.made("executions", given)
    assert (found["status"], found["title"], found["tags"], found["priority"]) == ("created", "Long", ["a", "b"], 1)
    assert found["parameters"] == {"epochs": 50, "rate": 0.5, "kind": "a"}
    assert (found["image"], found["command"]) == ("busybox:1", "echo --rate=0.5 --kind=a --epochs=50")
    assert (found["origin"], found["client"], found["creator_name"]) == ("api", "vh", "admin")
    changed = {one["name"]: (one["before"], one["after"]) for one in found["changed"]}
    assert changed == {
        "epochs": ("3", "50"), "MODE": ("", "fast"), "image": ("python:3.12", "busybox:1"),
        "command": ("python train.py {parameters}", "echo {parameters}"), "time limit": ("", "1 h 30 min"),
    }  # fmt: skip
    row = executions.get_by_uuid(launches.api.db, found["id"])
    assert (row.time_limit_s, row.autorestart, row.environment_variables) == (5400, True, {"MODE": "fast"})
    assert found["urls"]["display"].endswith("/p/demo/executions/1/")


def test_without_overrides_nothing_is_changed(launches: Launches) -> None:
    body = {"step": "Train model", "commit": launches.api.commit.identifier, "parameters": {"layers": [3, 4]},
            "inputs": {"images": ["https://example.org/a.png", "https://example.org/b.png"], "labels": []}}  # fmt: skip
    assert launches.made("executions", body)["changed"] == []
    changed = launches.made("executions", body | {"inputs": {"images": "https://example.org/c.png"}})["changed"]
    assert [one["name"] for one in changed] == ["images"]


def test_a_form_and_a_branch_name_work_too(launches: Launches) -> None:
    api = launches.api
    with transaction(api.db):
        event = PushEvent(ref="refs/heads/main", before="0" * 40, after=api.commit.identifier, identity="x")
        push = pushes.add_push(api.db, NewPush(repository_id=api.commit.repository_id, event=event))
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id))
    for commit in ("main", api.commit.identifier[:7]):
        form = {"project": "demo", "commit": commit, "step": "Train model", "parameters": '{"steps": 7}', "tags": "x"}
        answer = api.post("executions/", data=form)
        assert answer.status_code == 201, answer.text
        assert answer.json["commit"]["identifier"] == api.commit.identifier
        assert (answer.json["parameters"]["steps"], answer.json["tags"]) == (7, ["x"])


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"step": "trian"}, "step", 'there is no step "trian": did you mean "train"?'),
        ({"step": ""}, "step", "step is required"),
        ({"step": 7}, "step", "step must be text, got 7"),
        ({"step": "train", "commit": ""}, "commit", "commit is required"),
        ({"step": "train", "commit": "f" * 40}, "commit", "there is no commit"),
        ({"step": "train", "parameters": {"epoch": 1}}, "parameters", 'did you mean "epochs"?'),
        ({"step": "train", "parameters": {"epochs": "x"}}, "parameters", 'parameter "epochs"'),
        ({"step": "train", "parameters": []}, "parameters", "parameters must be an object"),
        ({"step": "train", "inputs": {"data": ["https://a/b"]}}, "inputs", 'there is no input "data"'),
        ({"step": "train", "inputs": {"data": 1}}, "inputs", "must be an object of lists of text"),
        ({"step": "train", "environment": "gpuu"}, "environment", 'there is no environment "gpuu"'),
        ({"step": "train", "environment": "gpu"}, "environment", "Project demo may not use environment gpu"),
        ({"step": "train", "image": "evil:1"}, "image", "runs images that match python:*"),
        ({"step": "train", "image": "a b"}, "image", "is not the name of an image"),
        ({"step": "train", "command": ["x" * 20_000]}, "command", "at most 16,384 are allowed"),
        ({"step": "train", "environment_variables": {"A=B": "x"}}, "environment_variables", "a name cannot be empty"),
        ({"step": "train", "environment_variables": {"A": 1}}, "environment_variables", "must be an object of text"),
        ({"step": "train", "time_limit": 0}, "time_limit", "between 1 and"),
        ({"step": "train", "time_limit": True}, "time_limit", "must be a whole number"),
        ({"step": "train", "priority": 10**9}, "priority", "between -1,000 and 1,000"),
        ({"step": "train", "title": "x" * 201}, "title", "at most 200 characters"),
        ({"step": "train", "tags": ["a\nb"]}, "tags", "is not a tag"),
        ({"step": "train", "tags": ["a"] * 101}, "tags", "at most 100"),
        (
            {"step": "train", "runtime_config": {"remote_debug": {"debug_port": 1}}},
            "runtime_config",
            "remote debugging",
        ),
    ],
)
def test_bad_values_are_refused_at_their_field(launches: Launches, body: Any, field: str, message: str) -> None:
    environments.change(launches.api.db, "gpu", {})
    environments.change(launches.api.db, "default", {"images": ["python:*"]})
    environments.allow(launches.api.db, launches.api.demo, ["default"])
    found = launches.refused("executions", body)
    assert list(found) == [field]
    assert message in found[field][0]
    assert executions.list_for_commit(launches.api.db, launches.grouped.commit.id) == []


def test_all_problems_are_told_at_once(launches: Launches) -> None:
    body = {"step": "train", "parameters": {"epoch": 1, "rate": "x"}, "title": "x" * 300, "environment": "nope"}
    found = launches.refused("executions", body)
    assert {field: len(messages) for field, messages in found.items()} == {
        "parameters": 2,
        "title": 1,
        "environment": 1,
    }


def test_a_repeated_request_with_the_same_key_gets_the_first_run(launches: Launches) -> None:
    first = launches.made("executions", {"step": "train"}, Idempotency_Key="k1")
    again = launches.made("executions", {"step": "train"}, Idempotency_Key="k1")
    other = launches.made("executions", {"step": "train"}, Idempotency_Key="k2")
    assert (again["id"], other["counter"]) == (first["id"], first["counter"] + 1)
    body = {"step": "train", "parameters": {"rate": {"style": "multiple", "rules": {"items": [1, 2]}}}}
    assert "was used for a step" in launches.refused("tasks", body, Idempotency_Key="k1")["key"][0]
    assert (
        "at most 200"
        in launches.refused("executions", {"step": "train"}, Idempotency_Key="k" * 201)["idempotency_key"][0]
    )
    execute(launches.api.db, "UPDATE launch_key SET created_at = '2020-01-01T00:00:00.000000Z'")
    launches.made("executions", {"step": "train"}, Idempotency_Key="k3")
    assert [found["key"] for found in fetch_rows(launches.api.db, "SELECT key FROM launch_key")] == ["k3"]


def test_somebody_elses_key_is_another_key(launches: Launches) -> None:
    api = launches.api
    identities.add_user(api.db, "grace", is_admin=False)
    identities.set_role(api.db, api.demo, "grace", Role.WRITER)
    secret = identities.create_token(api.db, "grace", [Scope.LAUNCH]).secret
    body = {"project": "demo", "commit": launches.grouped.commit.identifier, "step": "train"}
    found = []
    for headers in (api.as_admin, {"Authorization": f"Token {secret}"}):
        answer = api.client.post("/api/v0/executions/", json=body, headers={**headers, "Idempotency-Key": "k"})
        assert answer.status_code == 201, answer.text
        found.append(answer.json["id"] if answer.json else "")
    assert len(set(found)) == 2


def test_two_requests_at_once_with_one_key_launch_one(launches: Launches) -> None:
    found: list[str] = []
    body = {"project": "demo", "commit": launches.grouped.commit.identifier, "step": "train"}

    def send() -> None:
        client = launches.api.app.test_client()
        headers = launches.api.as_admin | {"Idempotency-Key": "k"}
        found.append(client.post("/api/v0/executions/", json=body, headers=headers).json["id"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_commit_of_a_fork_does_not_run_before_it_is_approved(launches: Launches) -> None:
    api, commit = launches.api, launches.grouped.commit
    request = PullRequestEvent(number=7, sha=commit.identifier, title="t", author="eve", url="https://f/7",
                               head_branch="w", base_branch="main", from_fork=True)  # fmt: skip
    event = PushEvent(kind=EventKind.PULL_REQUEST, ref="refs/pull/7/head", before="0" * 40, after=commit.identifier,
                      identity="p")  # fmt: skip
    with transaction(api.db):
        known = pull_requests.save(
            api.db, commit.repository_id, request, commit.identifier, "2026-11-22T23:39:48.000000Z"
        )
        push = pushes.add_push(
            api.db, NewPush(repository_id=commit.repository_id, event=event, pull_request_id=known.id)
        )
        pushes.finish_push(api.db, push, PushOutcome(commit_id=commit.id))
    for noun, body in (
        ("executions", {"step": "train"}),
        ("tasks", {"task": "search"}),
        ("pipelines", {"blueprint": "full"}),
    ):
        assert "not approved" in launches.refused(noun, body)["commit"][0]
    with transaction(api.db):
        approvals.add(api.db, commit.repository_id, commit.identifier, api.admin.id)
    launches.made("executions", {"step": "train"})


def test_a_strangers_project_does_not_exist(launches: Launches) -> None:
    with transaction(launches.api.db):
        ada = users.add(launches.api.db, "ada", is_admin=False)
        users.add_token(launches.api.db, ada.id, "pm_ada", "test")
    body = {"project": launches.api.demo.uuid, "commit": launches.grouped.commit.identifier, "step": "train"}
    answer = launches.api.client.post("/api/v0/executions/", json=body, headers={"Authorization": "Token pm_ada"})
    assert (answer.status_code, list(answer.json)) == (404, ["detail"])


def test_a_task_of_a_step_searches_what_the_body_says(launches: Launches) -> None:
    body = {
        "step": "train", "type": "grid_search", "title": "Rates", "tags": ["q"], "priority": 3,
        "parameters": {
            "rate": {"style": "multiple", "rules": {"items": [0.1, 0.2]}},
            "epochs": {"style": "linear", "rules": {"min": 1, "max": 3, "step": 1}},
            "kind": {"style": "single", "rules": {"value": "b"}},
        },
        "on_child_error": "continue_and_error", "maximum_queued_executions": 4,
    }  # fmt: skip
    found = launches.made("tasks", body)
    assert (found["title"], found["type"], found["tags"], found["status"]) == ("Rates", "grid_search", ["q"], "created")
    assert [one["name"] for one in found["changed"]] == ["kind"]
    task_service.advance(launches.api.context)
    made = executions.search(launches.api.db, query_all(launches.api))[0]
    assert len(made) == 4
    assert {execution.parameters["kind"] for execution in made} == {"b"}
    assert {execution.origin for execution in made} == {"trial"}
    bayes = body | {"type": "bayesian_tpe", "configuration": {
        "execution_count": 10, "execution_batch_size": 2, "optimization_target_metric": "loss",
        "optimization_target_value": 0.1}}  # fmt: skip
    assert launches.made("tasks", bayes)["type"] == "bayesian_tpe"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"step": "trian"}, 'did you mean "train"?'),
        ({"step": "train", "type": "bayesian_tpe"}, "needs optimization-target-metric"),
        ({"step": "train", "type": "distributed"}, "distributed tasks are not supported here"),
        ({"step": "train", "type": "wild"}, "wild"),
        ({"step": "train", "parameters": {"rate": {"style": "spiral", "rules": {}}}}, "spiral"),
        (
            {"step": "train", "parameters": {"rat": {"style": "multiple", "rules": {"items": [1]}}}},
            'no parameter "rat"',
        ),
        ({"step": "train", "parameters": {"epochs": {"style": "multiple", "rules": {"items": ["x"]}}}}, '"epochs"'),
        ({"task": "serch"}, 'did you mean "search"?'),
    ],
)
def test_tasks_that_cannot_run_are_refused(launches: Launches, body: Any, message: str) -> None:
    found = launches.refused("tasks", body)
    assert message in str(found)


def query_all(api: ApiServer) -> Any:
    from web.store.selection import Selection

    return Selection(projects=[api.demo.id])


def template(launches: Launches, step: str, **more: Any) -> dict[str, Any]:
    return {"commit": launches.grouped.commit.identifier, "step": step, "name": step, "image": "busybox:1"} | more


def test_a_pipeline_of_templates_runs_with_their_values(launches: Launches) -> None:
    api = launches.api
    train = template(launches, "train", **{"environment-variables": {"MODE": "fast", "NODEF": None}, "time-limit": 3600,
                     "runtime_config": {"no_output_timeout": 600, "autorestart": False}, "priority": 2,
                     "parameters": {"rate": "0.25", "kind": None, "epochs": 3}, "inputs": {}})  # fmt: skip
    body = {
        "title": "Mine", "tags": ["x"],
        "nodes": [
            {"name": "pre", "type": "execution", "template": template(launches, "prepare", command="echo pre")},
            {"name": "fit", "type": "execution", "on-error": "stop-next", "edge-merge-mode": "append", "template": train},
        ],
        "edges": [{"source_node": "pre", "source_type": "dependency", "source_key": "x", "target_node": "fit",
                   "target_type": "dependency", "target_key": "x"}],
        "parameters": {"epochs": {"config": {"name": "epochs", "targets": ["fit.parameters.epochs"], "default": "7"},
                                  "expression": "99"}},
    }  # fmt: skip
    found = launches.made("pipelines", body)
    assert (found["title"], found["tags"], found["priority"]) == ("Mine", ["x"], 2)
    assert found["changed"] == [{"name": "epochs", "before": "7", "after": "99"}]
    assert [(node["name"], node["status"]) for node in found["nodes"]] == [("pre", "created"), ("fit", "created")]
    pipeline_service.advance(api.context)
    (pre,) = executions.search(api.db, query_all(api))[0]
    assert (pre.image, pre.commands, pre.origin, pre.priority) == ("busybox:1", ("echo pre",), "node", 2)
    execute(api.db, "UPDATE execution SET state = 'complete', ended_at = '2026-11-22T23:50:00.000000Z'")
    pipeline_service.advance(api.context)
    fit = executions.get_newest(api.db, api.demo.id)
    assert fit.parameters == {"rate": 0.25, "kind": "a", "epochs": 99}
    assert (fit.time_limit_s, fit.no_output_limit_s, fit.environment_variables) == (3600, 600, {"MODE": "fast"})


def test_a_node_of_an_earlier_pipeline_is_reused(launches: Launches) -> None:
    api = launches.api
    nodes = [
        {"name": "pre", "type": "execution", "template": template(launches, "prepare")},
        {"name": "fit", "type": "execution", "template": template(launches, "train")},
    ]
    edges = [{"source_node": "pre", "source_type": "output", "source_key": "*", "target_node": "fit",
              "target_type": "dependency", "target_key": "x"}]  # fmt: skip
    first = launches.made("pipelines", {"title": "First", "nodes": nodes, "edges": edges})
    mimic = {"name": "pre", "type": "mimic", "source": first["nodes"][0]["id"]}
    again = {"title": "Again", "nodes": [mimic, nodes[1]], "edges": edges}
    assert "only complete nodes are reused" in launches.refused("pipelines", again)["nodes"][0]
    pipeline_service.advance(api.context)
    execute(api.db, "UPDATE execution SET state = 'complete', ended_at = '2026-11-22T23:50:00.000000Z'")
    pipeline_service.advance(api.context)
    second = launches.made("pipelines", again)
    assert (second["nodes"][0]["status"], second["nodes"][0]["execution"]["counter"]) == ("complete", 1)
    pipeline_service.advance(api.context)
    shown = api.json(f"pipelines/{second['id']}/")
    assert [node["status"] for node in shown["nodes"]] == ["complete", "started"]
    third = launches.made("pipelines", again | {"nodes": [mimic | {"source": second["nodes"][0]["id"]}, nodes[1]]})
    assert third["nodes"][0]["execution"]["counter"] == 1
    assert (
        "there is no pipeline node"
        in launches.refused("pipelines", again | {"nodes": [mimic | {"source": "x"}]})["nodes"][0]
    )


def test_a_declared_pipeline_or_task_is_launched_by_name(launches: Launches) -> None:
    assert launches.made("pipelines", {"blueprint": "full"})["title"] == "full"
    assert launches.made("tasks", {"task": "search", "parameters": {"epochs": 9}})["changed"] == [
        {"name": "epochs", "before": "3", "after": "9"}
    ]
    assert 'did you mean "full"?' in launches.refused("pipelines", {"blueprint": "ful"})["pipeline"][0]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "a pipeline needs nodes"),
        ([{"type": "execution"}], "each node needs a name"),
        ([{"name": "a", "type": "deployment"}], "nodes of type deployment do not run here"),
        ([{"name": "a", "type": "execution", "template": {"step": "trian"}}], 'did you mean "train"?'),
        ([{"name": "a", "type": "execution", "template": {"step": "train", "parameters": {"epochs": "x"}}}], "epochs"),
        ([{"name": "a", "type": "execution", "template": {"step": "train", "environment": "nope"}}], "no environment"),
        ([{"name": "a", "type": "execution", "template": {"step": "train", "command": {"x": 1}}}], "valid"),
        (7, "nodes must be a list"),
    ],
)
def test_pipelines_that_cannot_run_are_refused(launches: Launches, nodes: Any, message: str) -> None:
    assert message in str(launches.refused("pipelines", {"title": "t", "nodes": nodes}))


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_pages_show_where_a_run_comes_from_and_what_was_changed(launches: Launches) -> None:
    launches.made("executions", {"step": "train", "parameters": {"epochs": 50}})
    launches.made("tasks", {"task": "search", "title": "Long <search>", "tags": ["x"], "parameters": {"epochs": 50}})
    launches.made("pipelines", {"blueprint": "full", "environment": "default"})
    page = words(launches.grouped.person.get("/p/demo/executions/1/").text)
    assert "by admin, with vh" in page
    assert "changed: epochs 3 → 50" in page
    page = words(launches.grouped.person.get("/p/demo/tasks/1/").text)
    assert "by admin, with vh" in page
    assert "changed: epochs 3 → 50" in page
    assert "Long &lt;search&gt;" in page
    page = words(launches.grouped.person.get("/p/demo/pipelines/1/").text)
    assert "by admin, with vh" in page
    assert "changed: environment" in page


def test_each_way_in_leaves_its_origin(launches: Launches) -> None:
    api = launches.api
    first = launches.made("executions", {"step": "train"})
    execute(api.db, "UPDATE execution SET state = 'error', failure_reason = 'runner_lost', autorestart = 1")
    reruns.restart_lost(api.context)
    with transaction(api.db):
        launch.rerun(api.context, executions.get_by_uuid(api.db, first["id"]), api.admin, "Re-run of")
    launches.made("tasks", {"task": "search"})
    launches.made("pipelines", {"blueprint": "full"})
    pipeline_service.advance(api.context)
    task_service.advance(api.context)
    found = executions.search(api.db, query_all(api))[0]
    assert [str(one.origin) for one in reversed(found)] == [
        "api",
        "restart",
        "rerun",
        "node",
        "trial",
        "trial",
        "trial",
    ]
    assert [one.client for one in found if one.client] == ["vh"]

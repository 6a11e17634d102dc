"""Quotas, the order of executions, and the reasons shown for waiting."""

from __future__ import annotations

from typing import Any

import by_hand
from api_server import ApiServer
from instance import Checkout
from push_server import PushServer, step

from core.model import Execution
from core.states import State
from web.services.scheduling import wait_reason
from web.services.scheduling.dispatch import dispatch
from web.store import environments, executions, projects
from web.store.db import execute, transaction


def change(api: ApiServer, table: str, **columns: Any) -> None:
    with transaction(api.db):
        assignments = ", ".join(f"{name} = ?" for name in columns)
        execute(api.db, f"UPDATE {table} SET {assignments}", list(columns.values()))


def added(api: ApiServer, **columns: Any) -> Execution:
    execution = api.add_execution()
    if columns:
        with transaction(api.db):
            assignments = ", ".join(f"{name} = ?" for name in columns)
            execute(api.db, f"UPDATE execution SET {assignments} WHERE id = ?", [*columns.values(), execution.id])
    return api.execution(execution.uuid)


def dispatched(api: ApiServer) -> None:
    dispatch(api.context, api.app.extensions["pushmill"].queues)


def reason(api: ApiServer, execution: Execution) -> str:
    return wait_reason.explain_wait(api.context, api.execution(execution.uuid))


def claim(api: ApiServer, execution: Execution) -> None:
    attempt = api.execution(execution.uuid).attempt
    assert api.call(f"executions/{execution.uuid}/claim", {"attempt": attempt}).status_code == 200


def end(api: ApiServer, execution: Execution) -> None:
    attempt = api.execution(execution.uuid).attempt
    body = {"attempt": attempt, "state": "complete"}
    assert api.call(f"executions/{execution.uuid}/final", body).status_code == 200


def test_a_project_runs_as_many_as_its_quota_and_says_so(api: ApiServer) -> None:
    change(api, "project", max_executions=2)
    api.online()
    first, second, third, fourth = (added(api) for _ in range(4))
    dispatched(api)
    assert [api.execution(e.uuid).state for e in (first, second, third)] == ["queued", "queued", "created"]
    assert reason(api, third) == "2 of 2 executions of this project are queued or running"
    claim(api, first)
    claim(api, second)
    assert reason(api, third) == "2 of 2 executions of this project are running"
    assert reason(api, fourth).endswith("; 1 execution is ahead in the queue")
    end(api, first)
    assert [api.execution(e.uuid).state for e in (third, fourth)] == ["queued", "created"]


def test_an_environment_has_a_quota_over_all_projects(api: ApiServer) -> None:
    change(api, "environment", max_executions=1)
    api.online()
    other = api.add_commit(api.project("other"))
    first, second = added(api), api.add_execution(other)
    dispatched(api)
    claim(api, first)
    assert reason(api, second) == "1 of 1 executions in environment default are running"


def test_a_project_at_its_quota_holds_back_nobody_else(api: ApiServer) -> None:
    change(api, "project", max_executions=1)
    api.online()
    other = api.add_commit(api.project("other"))
    first, second, third = added(api), added(api), api.add_execution(other)
    dispatched(api)
    assert [api.execution(e.uuid).state for e in (first, second, third)] == ["queued", "created", "queued"]


def test_higher_priority_goes_first_and_else_who_came_first(api: ApiServer) -> None:
    one, two, urgent = added(api), added(api), added(api, priority=1)
    api.call("heartbeat", {"slots": 1, "info": {}})
    order = []
    for _ in range(3):
        dispatched(api)
        (placed,) = [e for e in executions.list_in_states(api.db, State.QUEUED) if e.runner_id is not None]
        order.append(placed.id)
        claim(api, placed)
        end(api, placed)
    assert order == [urgent.id, one.id, two.id]


def test_the_waiting_are_told_why_no_runner_takes_them(api: ApiServer) -> None:
    gpus = {"gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]}
    plain, big, elsewhere = added(api), added(api, gpus=4), added(api, environment="gpu-a100")
    dispatched(api)
    assert reason(api, elsewhere) == "There is no runner of environment gpu-a100"
    assert reason(api, plain) == "No runner of environment default is online"
    change(api, "runner", draining=1)
    api.call("heartbeat", {"slots": 1, "info": gpus})
    assert reason(api, plain) == "Every online runner of environment default is draining"
    change(api, "runner", draining=0)
    dispatched(api)
    assert reason(api, plain) == "Sent to runner one"
    assert reason(api, big) == "No online runner of environment default has 4 GPUs: the most is 2"
    one, pair, late = added(api, gpus=1), added(api, gpus=2), added(api)
    dispatched(api)
    assert reason(api, one) == "Sent to runner one"
    assert reason(api, pair).startswith("Needs 2 GPUs: 1 of 2 in environment default are free")
    assert reason(api, late).startswith("1 of 1 slots of environment default are in use")


def test_a_draining_runner_is_told_so_and_gets_nothing(api: ApiServer) -> None:
    api.online()
    change(api, "runner", draining=1)
    assert api.call("heartbeat", {"slots": 1, "info": {}}).json == {"draining": True, "heartbeat_s": 5.0}
    execution = added(api)
    dispatched(api)
    assert api.execution(execution.uuid).runner_id is None


def test_a_step_s_unknown_environment_falls_back_to_the_project_s_default_with_a_line(api: ApiServer) -> None:
    from api_server import said

    from web.config.steps.resolve import resolve
    from web.store import projects

    with transaction(api.db):
        made = environments.ensure(api.db, "small")
        environments.change(api.db, made.id, gpus=1, memory=4096, cpus=2.0, autorestart=True)
        execute(api.db, "UPDATE project SET environment = 'small'")
    config = [{"step": {"name": "x", "image": "i", "command": "c", "environment": "aws-eu-west-1-p2-xlarge"}}]
    with transaction(api.db):
        project = projects.get(api.db, api.demo.id)
        execution = by_hand.execution(api.context, project, api.commit, resolve(config, "x"), api.admin)
    assert (execution.environment, execution.gpus, execution.memory, execution.cpus) == ("small", 1, 4096, 2.0)
    assert execution.autorestart
    line = "There is no environment 'aws-eu-west-1-p2-xlarge' here: the execution runs in small"
    assert line in said(api, execution.uuid, "status")


def test_an_image_that_the_environment_does_not_run_ends_it_at_once_with_a_sentence(api: ApiServer) -> None:
    with transaction(api.db):
        environments.change(api.db, environments.get_by_slug(api.db, "default").id, images=["nvcr.io/*"])
    found = added(api)
    assert (found.state, found.failure_reason) == ("error", "image")
    assert found.failure_message == "Environment default runs images that match nvcr.io/*; the step's is python:3.12"


def test_a_new_project_has_the_quota_of_the_configuration(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    pushes.push(checkout, "model", "main")
    assert projects.get_by_name(pushes.db, "model").max_executions == pushes.config.limits.max_executions == 200

"""The first page shows what happens now in the projects of a user; of other projects, only that machines are busy."""

from __future__ import annotations

import json

from api_server import ApiServer
from site_client import Person

from core import clock
from core.model import PushEvent
from core.rights import Role, Scope
from core.states import State
from web.services import identities
from web.services.presentation import machines, now
from web.store import activity, executions, members, projects, pushes, runners, usage
from web.store.db import execute, transaction
from web.store.pushes import NewPush, PushOutcome, PushResult


def push(api: ApiServer, name: str, project: str = "demo", result: PushResult = PushResult.NOTHING) -> int:
    found = projects.get_by_name(api.db, project)
    repository = projects.list_repositories(api.db, found.id)[0]
    commit = api.commit if project == "demo" else api.add_commit(found, "7" * 40)
    event = PushEvent(ref="refs/heads/main", before="0" * 40, after=commit.identifier, identity=name)
    outcome = PushOutcome(text=name, commit_id=commit.id, result=result)
    with transaction(api.db):
        return pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event, outcome=outcome))


def running(api: ApiServer, project: str) -> int:
    uuid, _ = api.started(
        commit=api.add_commit(projects.get_by_name(api.db, project), ("8" if project == "demo" else "9") * 40)
    )
    return api.execution(uuid).id


def test_one_sees_the_executions_and_pushes_of_ones_own_projects_alone(api: ApiServer) -> None:
    api.project("secret-plan")
    mine, hidden = running(api, "demo"), running(api, "secret-plan")
    push(api, "no rule matched: here")
    push(api, "no rule matched: elsewhere", "secret-plan")
    device = "GPU-0"
    runner = executions.get(api.db, hidden).runner_id
    runners.record_heartbeat(api.db, runner or 0, 4, {"gpus": [{"uuid": device, "name": "A100"}]})
    execute(api.db, "UPDATE execution SET devices = ?, gpus = 1 WHERE id = ?", (json.dumps([device]), hidden))
    user = identities.add_user(api.db, "reader", is_admin=False)
    members.set_role(api.db, api.demo.id, user.id, Role.READER)
    person = Person(api)
    person.log_in("reader", identities.create_token(api.db, "reader", [Scope.ADMIN]).secret)
    page = person.get("/").text
    assert "no rule matched: here" in page
    assert f"demo #{executions.get(api.db, mine).counter}" in page
    assert "1 of 1 GPU in use" in page
    assert "secret-plan" not in page
    assert "elsewhere" not in page
    everything = Person(api)
    everything.log_in()
    assert "no rule matched: elsewhere" in everything.get("/").text


def test_a_push_is_a_problem_until_a_newer_one_of_its_branch(api: ApiServer) -> None:
    def problems() -> list[str]:
        return [problem.verdict.text for problem in now.collect_activity(api.context, None).problems]

    push(api, "no rule matched")
    assert problems() == ["no rule matched"]
    row = push(api, "1 execution", result=PushResult.LAUNCHED)
    execution = api.add_execution()
    execute(api.db, "UPDATE execution SET push_id = ? WHERE id = ?", (row, execution.id))
    assert problems() == []
    execute(api.db, "UPDATE execution SET state = ? WHERE id = ?", (State.ERROR, execution.id))
    assert problems() == [f"1 execution, 1 failed: {execution.step}"]
    assert activity.list_recent_problems(api.db, None, clock.add_to_now(60), 10) == []
    assert activity.list_recent_problems(api.db, [], clock.add_to_now(-60), 10) == []


def test_lists_are_bounded_and_the_page_says_how_many_more_there_are(api: ApiServer) -> None:
    for _ in range(now.WAITING + 3):
        api.add_execution()
    person = Person(api)
    person.log_in()
    page = person.get("/").text
    assert len(now.collect_activity(api.context, None).waiting) == now.WAITING
    assert "And 3 more waiting." in page


def test_a_gpu_is_as_warm_as_it_was_at_its_last_sample(api: ApiServer) -> None:
    execution = running(api, "demo")
    runner = executions.get(api.db, execution).runner_id or 0
    devices = ["GPU-0", "GPU-1", "GPU-2"]
    runners.record_heartbeat(api.db, runner, 4, {"gpus": [{"uuid": name} for name in devices]})
    execute(api.db, "UPDATE execution SET devices = ? WHERE id = ?", (json.dumps(["GPU-2", "GPU-1"]), execution))
    with transaction(api.db):
        samples = [usage.Sample(time_us=at, series="gpu:0", value=value) for at, value in ((1, 10.0), (2, 100.0))]
        usage.add(api.db, execution, samples)
    (machine,) = [found for found in machines.list_machines(api.db, {}) if found.cells]
    assert [(cell.level, cell.percent, cell.busy) for cell in machine.cells] == [
        (0, None, False), (1, None, True), (machines.LEVELS, 100.0, True),
    ]  # fmt: skip
    assert {cell.holder for cell in machine.cells} == {""}

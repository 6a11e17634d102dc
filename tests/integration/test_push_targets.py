"""Tasks and pipelines chosen by rules and pushers: launched once by real pushes, and stopped by newer ones."""

from __future__ import annotations

import pytest
from instance import Checkout
from push_server import PushServer
from ruled_project import ALL, FULL, TRAIN, Model

from core.states import State
from web.services import pipelines as pipeline_service
from web.services import tasks as service
from web.services.deliveries import push_reply
from web.services.executions import environments
from web.services.triggers import dry_run
from web.services.triggers.dry_run import HypotheticalEvent
from web.store import deliveries, pipelines, projects, tasks
from web.store.db import execute, fetch_rows, transaction

EVERYTHING = '[[rule]]\nname = "all"\nsteps = ["*"]\ntasks = ["*"]\npipelines = ["*"]\n'
CANCEL = '[[rule]]\nname = "main"\ntasks = ["*"]\npipelines = ["*"]\ncancel_older = true\n'


@pytest.fixture
def here(pushes: PushServer, checkout: Checkout) -> Model:
    return Model(pushes, checkout, EVERYTHING)


def said(here: Model) -> str:
    """Return the reply that the pusher sees."""
    pushes = here.pushes
    return push_reply.format_reply(pushes.db, pushes.deliveries("model")[-1].id, "http://here/p/model")


def asked_to_stop(here: Model, place: int) -> list[str]:
    return [one.number for one in here.of_push(place) if one.stop_requested_at]


def test_a_push_launches_what_its_rules_choose_of_each_kind_with_where_and_how(here: Model) -> None:
    environments.change(here.pushes.db, "gpu", {})
    here.rules(f'{EVERYTHING}environment = "gpu"\npriority = 4\nparameters = {{ epochs = 5, length = 6 }}\n')
    assert here.change({"valohai.yaml": ALL}) == "2 executions, 1 task and 1 pipeline"
    assert here.launched() == ["#1 train", "#2 check", "!1 task train", "=1 pipeline full"]
    push = here.pushes.pushes("model")[-1]
    (task,), (pipeline,) = here.tasks(push.id), here.pipelines(push.id)
    for made in (task, pipeline):
        assert (made.environment, made.priority, made.creator) == ("gpu", 4, "admin")
        assert (made.commit_id, made.why) == (push.commit_id, "Chosen by rule all")
    assert task.parameters == {"epochs": 5}
    assert pipeline.parameters == {"length": 6}
    assert [node.name for node in pipelines.list_nodes(here.pushes.db, pipeline.id)] == ["ready", "fit"]


def test_the_pusher_reads_where_each_of_them_is_and_what_is_skipped(here: Model) -> None:
    broken = FULL.replace("full", "broken").replace("step: check", "step: gone")
    here.change({"valohai.yaml": ALL + broken})
    lines = said(here).splitlines()
    assert lines[1:5] == [
        "  train #1: http://here/p/model/executions/1/",
        "  check #2: http://here/p/model/executions/2/",
        "  task train !1: http://here/p/model/tasks/1/",
        "  pipeline full =1: http://here/p/model/pipelines/1/",
    ]
    assert lines[5].startswith("  skipped pipeline broken: ")
    assert "gone" in lines[5]


def test_the_pusher_reads_at_which_lines_the_configuration_is_not_valid(here: Model) -> None:
    here.change({"valohai.yaml": "- step:\n    name: a\n    image: b\n    comand: c\n    time-limt: 3\n"})
    assert said(here).splitlines()[1:] == [
        "  valohai.yaml line 4: unknown key 'comand', did you mean 'command'? (and 1 more)",
        "  line 5: unknown key 'time-limt', did you mean 'time-limit'?",
    ]


def test_a_push_that_names_a_task_or_a_pipeline_runs_that_alone(here: Model) -> None:
    here.rules("")
    assert here.change({"valohai.yaml": ALL}, "-o", "pushmill.task=train", "main") == "1 task"
    assert here.change({"a": "1"}, message="x\n\nPushmill-Pipeline: full\nPushmill-Parameter: length=9") == "1 pipeline"
    (pipeline,) = here.pipelines(here.pushes.pushes("model")[-1].id)
    assert pipeline.parameters == {"length": "9"}
    assert pipeline.why == ""
    assert here.change({"a": "2"}) == "2 executions"
    outcome = here.change({"a": "3"}, "-o", "pushmill.task=gone", "main")
    assert outcome == "nothing runs: everything was skipped"
    assert dict(here.pushes.pushes("model")[-1].skipped)["task gone"].startswith('there is no task "gone"')


def test_a_parameter_that_is_pushed_twice_is_tried_by_a_task_and_refused_by_a_step(here: Model) -> None:
    here.rules("")
    twice = ("-o", "pushmill.parameter=epochs=7", "-o", "pushmill.parameter=epochs=8", "main")
    assert here.change({"valohai.yaml": ALL}, "-o", "pushmill.task=train", *twice) == "1 task"
    service.advance(here.pushes.context)
    assert [trial.parameters["epochs"] for trial in tasks.list_trials(here.pushes.db, 1)] == [7, 8]
    assert here.change({"a": "1"}, "-o", "pushmill.step=train", *twice) == "nothing runs: everything was skipped"
    assert 'skipped train: parameter "epochs" takes one value and was given 2: "7", "8"' in said(here)


def test_a_newer_push_stops_whole_tasks_and_pipelines_and_no_step_that_is_called_like_one(here: Model) -> None:
    here.change({"valohai.yaml": ALL})
    here.rules(CANCEL)
    assert here.change({"a": "1"}) == "1 task and 1 pipeline"
    assert asked_to_stop(here, -2) == ["!1", "=1"]  # and neither #1 nor #2
    task, pipeline = tasks.get(here.pushes.db, 1), pipelines.get(here.pushes.db, 1)
    assert (task.stopped_by, pipeline.stopped_by) == ("!2", "!2")
    assert here.change({"a": "2"}, "HEAD:refs/heads/dev") == "1 task and 1 pipeline"
    assert asked_to_stop(here, -2) == asked_to_stop(here, -1) == []  # another branch


def test_what_a_superseded_task_still_runs_is_stopped_with_the_number_of_what_came_instead(here: Model) -> None:
    db = here.pushes.db
    here.rules('[[rule]]\nname = "main"\ntasks = ["*"]\ncancel_older = true\n')
    here.change({"valohai.yaml": ALL})
    service.advance(here.pushes.context)
    older = tasks.list_trials(db, 1)
    assert len(older) == 3
    here.change({"a": "1"})
    service.advance(here.pushes.context)
    assert [execution.state for execution in tasks.list_trials(db, 1)] == [State.STOPPED] * 3
    assert all("Superseded by !2" in here.log(execution) for execution in older)
    assert State.STOPPED not in [execution.state for execution in tasks.list_trials(db, 2)]
    task = tasks.get(db, 1)
    assert (task.state, task.message, task.stopped_by) == (State.STOPPED, "Superseded by !2", "!2")


def test_one_that_a_person_has_asked_to_stop_keeps_who_that_was(here: Model) -> None:
    db = here.pushes.db
    here.rules(CANCEL)
    here.change({"valohai.yaml": ALL})
    with transaction(db):
        service.request_stop(here.pushes.context, tasks.get(db, 1), "ada")
    sha = here.commit({"a": "1"})
    here.push("-o", "ci.skip", f"{sha}:refs/heads/parked")
    question = HypotheticalEvent(name=sha, branch="main")
    said = dry_run.evaluate_event(here.pushes.context, projects.get_by_name(db, "model"), question)
    assert [one.number for one in said.stops] == ["=1"]
    here.push()
    assert (tasks.get(db, 1).stopped_by, pipelines.get(db, 1).stopped_by) == ("ada", "!2")


def test_executions_of_tasks_and_pipelines_are_not_superseded_one_by_one(here: Model) -> None:
    here.change({"valohai.yaml": ALL})
    service.advance(here.pushes.context)
    pipeline_service.advance(here.pushes.context)
    assert here.launched() == ["#1 train", "#2 check", "!1 task train", "=1 pipeline full"]
    parts = [execution.id for execution in here.made[2:]]
    assert len(parts) == 4  # of the task three, of the pipeline one
    here.rules('[[rule]]\nname = "steps"\ncancel_older = true\n')
    here.change({"a": "1"})
    assert asked_to_stop(here, -2) == ["#1", "#2"]
    assert [execution.stop_requested_at for execution in here.made if execution.id in parts] == [None] * 4


def test_an_event_that_comes_late_runs_no_task_of_a_rule_that_stops_what_is_older(here: Model) -> None:
    here.rules(CANCEL)
    here.change({"valohai.yaml": ALL}, "-o", "ci.skip", "main")
    older, newer = here.commit({"a": "1"}), here.commit({"a": "2"})
    for sha in (older, newer):
        here.pushes.push(here.checkout, "model", f"{sha}:refs/heads/main")
    waiting = [delivery.id for delivery in here.pushes.deliveries("model") if delivery.state == "stored"]
    execute(here.pushes.db, "UPDATE delivery SET id = id + 10 WHERE id = ?", (waiting[0],))  # the first comes last
    here.pushes.drain()
    assert here.pushes.pushes("model")[-1].skipped == (
        ("task train", "a newer push of this branch already runs"),
        ("pipeline full", "a newer push of this branch already runs"),
    )
    assert asked_to_stop(here, -2) == []


def test_what_fails_between_launching_one_kind_and_another_leaves_nothing_and_is_done_whole_later(here: Model) -> None:
    db = here.pushes.db
    execute(db, "CREATE TRIGGER full BEFORE INSERT ON pipeline BEGIN SELECT RAISE(ABORT, 'no room'); END")
    here.change({"valohai.yaml": ALL})
    assert here.made == []
    assert fetch_rows(db, "SELECT * FROM task") == []
    execute(db, "DROP TRIGGER full")
    with transaction(db):
        deliveries.retry_now(db, here.pushes.deliveries("model")[-1].id)
    here.pushes.drain()
    assert here.launched() == ["#1 train", "#2 check", "!1 task train", "=1 pipeline full"]


def test_running_a_delivery_again_makes_all_of_it_anew(here: Model) -> None:
    here.change({"valohai.yaml": ALL})
    with transaction(here.pushes.db):
        deliveries.store_again(here.pushes.db, here.pushes.deliveries("model")[-1].id)
    here.pushes.drain()
    assert [one.target.label for one in here.of_push()] == ["train", "check", "task train", "pipeline full"]
    assert {one.number for one in here.of_push()}.isdisjoint(one.number for one in here.of_push(-2))


def test_a_configuration_with_pipelines_runs_its_steps_alone_without_rules(here: Model) -> None:
    here.rules("")
    assert here.change({"valohai.yaml": ALL}) == "2 executions"


def test_a_rule_for_pipelines_does_not_also_run_their_steps(here: Model) -> None:
    here.rules('[[rule]]\nname = "r"\npipelines = ["*"]\n')
    assert here.change({"valohai.yaml": ALL}) == "1 pipeline"
    assert here.change({"valohai.yaml": TRAIN}) == "nothing runs: the rules choose nothing that valohai.yaml declares"

"""A dry run shows what then really runs, on the pages and on the command line."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import command_line
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from instance import Checkout
from push_server import PushServer, needy_step, step
from ruled_project import ALL, CANCEL, FULL, TRAIN, Model

from core.model import TargetKind
from web.services.executions import environments
from web.services.triggers import dry_run
from web.services.triggers.dry_run import DryRun, HypotheticalEvent
from web.store import projects

PATTERNS = st.lists(st.sampled_from(["main", "dev", "*", "!main", "x/**", "!x/1"]), min_size=1, max_size=3)
VALUES = {
    "events": st.lists(st.sampled_from(["push", "tag", "pull_request"]), min_size=1, max_size=3, unique=True),
    "branches": PATTERNS,
    "paths": st.lists(st.sampled_from(["src/**", "!**/*.md", "docs/*", "valohai.yaml"]), min_size=1, max_size=2),
    "steps": st.lists(st.sampled_from(["train", "*", "!train", "none", "check"]), min_size=1, max_size=2),
    "tasks": st.lists(st.sampled_from(["train", "*", "none"]), min_size=1, max_size=2),
    "pipelines": st.lists(st.sampled_from(["full", "*", "!full", "none"]), min_size=1, max_size=2),
    "environment": st.sampled_from(["gpu", "nowhere"]),
    "priority": st.integers(-3, 3),
    "parameters": st.sampled_from([{"epochs": 3}, {"epochs": "x"}, {"rate": 0.5}, {"nope": True}]),
    "cancel_older": st.just(True),
}
RULE = st.fixed_dictionaries({}, optional=VALUES)
EVENT = st.fixed_dictionaries(
    {
        "rules": st.lists(RULE, min_size=1, max_size=3),
        "to": st.sampled_from(["refs/heads/main", "refs/heads/dev", "refs/heads/x/1", "refs/tags/v"]),
        "files": st.lists(st.sampled_from(["src/a.py", "src/a.md", "docs/a"]), min_size=1, max_size=2, unique=True),
        "message": st.sampled_from(["work", "work [skip ci]", "work\n\nPushmill-Parameter: epochs=9"]),
        "options": st.lists(
            st.sampled_from(
                [
                    *("pushmill.step=check", "pushmill.task=train", "pushmill.pipeline=full"),
                    *("pushmill.parameter=epochs=4", "pushmill.environment=gpu", "x"),
                ]
            ),
            max_size=2,
        ),
    }
)


NUMBERS = itertools.count()


def toml(rules: list[dict[str, Any]]) -> str:
    def value(given: Any) -> str:
        if isinstance(given, dict):
            return "{" + ", ".join(f"{name} = {value(item)}" for name, item in given.items()) + "}"
        return json.dumps(given)

    lines = []
    for number, rule in enumerate(rules):
        lines += ["[[rule]]", f'name = "r{number}"', *(f"{key} = {value(given)}" for key, given in rule.items())]
    return "\n".join(lines)


def asked(pushes: PushServer, question: HypotheticalEvent) -> DryRun:
    return dry_run.evaluate_event(pushes.context, projects.get_by_name(pushes.db, "model"), question)


@pytest.fixture
def here(pushes: PushServer, checkout: Checkout) -> Model:
    environments.change(pushes.db, "gpu", {})
    return Model(pushes, checkout, "")


def stopped(here: Model) -> set[str]:
    """Return the numbers of the runs with a stop request."""
    found = [one for place in range(len(here.pushes.pushes("model"))) for one in here.of_push(place)]
    return {one.number for one in found if one.stop_requested_at}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(EVENT)
def test_what_a_dry_run_says_is_what_a_push_then_does(here: Model, event: dict[str, Any]) -> None:
    pushes, number = here.pushes, next(NUMBERS)
    files = {name: str(number) for name in event["files"]}
    sha = here.commit(files | {"valohai.yaml": ALL + needy_step("needy")}, event["message"])
    here.push("-o", "ci.skip", f"{sha}:refs/heads/parked-{number}")
    text = toml(event["rules"])
    branch, ref = event["to"].removeprefix("refs/heads/"), event["to"]
    options = tuple(event["options"])
    if ref.startswith("refs/tags/"):
        ref, branch = f"{ref}{number}", ""
        here.rules("")
        here.push("-o", "ci.skip", f"{sha}:{ref}")  # a tag must be here to be asked about
        said = asked(pushes, HypotheticalEvent(name=f"v{number}", event="tag", options=options, rules=text))
        here.push(f":{ref}")
    else:
        said = asked(pushes, HypotheticalEvent(name=sha, branch=branch, options=options, rules=text))
    before = stopped(here)
    here.rules(text)
    here.push(*(part for option in options for part in ("-o", option)), f"{sha}:{ref}")
    push = pushes.pushes("model")[-1]
    assert (push.ref, push.outcome, push.skipped) == (ref, said.outcome, said.skipped)
    assert [one.target for one in here.of_push()] == [run.target for run in said.runs]
    steps = [run for run in said.runs if run.target.kind is TargetKind.STEP]
    alone = [e for e in here.made if e.push_id == push.id and e.task_id is None and e.pipeline_node_id is None]
    assert [(e.parameters, e.environment, e.priority) for e in alone] == [
        (run.parameters, run.environment, run.priority) for run in steps
    ]
    groups = [*here.tasks(push.id), *here.pipelines(push.id)]
    assert [made.priority for made in groups] == [run.priority for run in said.runs[len(steps) :]]
    assert stopped(here) - before == {one.number for one in said.stops}


def test_a_commit_that_is_not_yet_pushed_changes_what_its_branch_has_not(here: Model) -> None:
    here.change({"src/a": "1"})
    sha = here.commit({"docs/a": "1"})
    here.push("-o", "ci.skip", f"{sha}:refs/heads/parked")
    paths = '[[rule]]\nname = "code"\npaths = ["src/**"]\n'
    said = asked(here.pushes, HypotheticalEvent(name=sha, branch="main", rules=paths))
    assert said.verdicts[0].why == "runs only for changes of src/**, not docs/a"
    here.rules(paths)
    assert here.push() == said.outcome


def test_a_commit_that_was_pushed_is_asked_about_as_it_was_pushed(here: Model) -> None:
    paths = '[[rule]]\nname = "code"\npaths = ["src/**"]\n'
    first = here.pushes.pushes("model")[0].after
    here.change({"src/a": "1"})
    code = here.pushes.pushes("model")[-1].after
    here.change({"docs/a": "1"})
    assert [
        asked(here.pushes, HypotheticalEvent(name=name, rules=paths)).runs != () for name in (code, code[:8], "main")
    ] == [
        True,
        True,
        False,
    ]
    assert asked(here.pushes, HypotheticalEvent(name=first, rules=paths)).outcome.startswith("skipped: [skip ci]")


def test_a_pull_request_is_asked_about_by_its_base_branch(here: Model) -> None:
    here.change({"docs/a": "1"}, "HEAD:refs/heads/dev")
    rules = '[[rule]]\nname = "r"\nevents = ["pull_request"]\nbranches = ["main"]\npaths = ["docs/**"]\n'
    said = asked(here.pushes, HypotheticalEvent(name="dev", event="pull_request", rules=rules))
    assert (said.event, said.outcome) == ("pull request to main", "2 executions")
    assert said.verdicts[0].why == "base branch main matches main; docs/a changed, which matches docs/**"
    said = asked(here.pushes, HypotheticalEvent(name="dev", event="pull_request", branch="gone", rules=rules))
    assert said.verdicts[0].why == "runs only for base branch main, not gone"
    said = asked(
        here.pushes,
        HypotheticalEvent(name="dev", event="pull_request", branch="gone", rules=rules.replace("main", "*")),
    )
    assert said.verdicts[0].why == (
        "base branch gone matches *; all paths count as changed: its base branch gone is not here"
    )


def test_a_schedule_is_asked_about_by_its_rule(here: Model) -> None:
    rules = '[[rule]]\nname = "night"\nschedule = "0 3 * * *"\nsteps = ["train"]\n[[rule]]\nname = "r"\n'
    said = asked(here.pushes, HypotheticalEvent(name="main", event="schedule", rules=rules))
    assert (said.event, [run.target.name for run in said.runs]) == ("schedule of rule night on main", ["train"])
    assert [verdict.why for verdict in said.verdicts] == [
        "due",
        "runs only for push, pull_request, not for a scheduled run",
    ]


def test_a_dry_run_records_and_pins_nothing(here: Model) -> None:
    sha = here.commit({"a": "1"})
    here.push("-o", "ci.skip", f"{sha}:refs/heads/other")
    before = list(here.pushes.db.conn.iterdump())
    asked(here.pushes, HypotheticalEvent(name=sha, rules=CANCEL, branch="main"))
    assert list(here.pushes.db.conn.iterdump()) == before


def pushmill(pushes: PushServer, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return command_line.pushmill(pushes.config.data, "project", *arguments, stdin=given)


def test_the_command_line_prints_sets_and_clears_rules(here: Model) -> None:
    pushes = here.pushes
    assert "has the default rules" in pushmill(pushes, "rules", "model").stderr
    done = pushmill(pushes, "rules", "model", "--set", "-", given=CANCEL)
    assert done.stdout == "Project model now has 2 rules.\n"
    assert pushmill(pushes, "rules", "model").stdout == CANCEL
    done = pushmill(pushes, "rules", "model", "--set", "-", given="[[rule]]\nname = 3")
    assert (done.returncode, done.stderr) == (1, "pushmill: rule 1: name must have 1 to 64 characters, got 3\n")
    assert pushmill(pushes, "rules", "model").stdout == CANCEL
    assert pushmill(pushes, "rules", "model", "--default").returncode == 0
    assert projects.get_by_name(pushes.db, "model").rules == ""


GROUPS = """[[rule]]
name = "r"
tasks = ["*"]
pipelines = ["*"]
parameters = { length = 4 }
cancel_older = true
"""


def test_of_a_task_it_says_what_it_varies_and_of_a_pipeline_its_nodes(here: Model) -> None:
    sha = here.commit({"valohai.yaml": ALL})
    here.push()
    said = asked(here.pushes, HypotheticalEvent(name=sha, rules=GROUPS))
    assert said.outcome == "1 task and 1 pipeline"
    task, pipeline = said.runs
    assert (task.target.label, str(task.makes)) == (
        "task train", "3 executions of step train by grid search, varying epochs"
    )  # fmt: skip
    assert (task.parameters, task.environment) == ({"layers": [3]}, "default")
    assert (pipeline.target.label, str(pipeline.makes)) == ("pipeline full", "nodes ready (check), fit (train)")
    assert (pipeline.parameters, pipeline.environment) == ({"length": 4}, "")
    said = asked(
        here.pushes, HypotheticalEvent(name=sha, rules=GROUPS.replace("length", "epochs") + 'environment = "gpu"\n')
    )
    task, pipeline = said.runs
    assert (str(task.makes), task.parameters) == (
        "1 execution of step train by grid search",
        {"epochs": 4, "layers": [3]},
    )
    assert (task.environment, pipeline.environment) == ("gpu", "gpu")
    assert pipeline.parameters == {"length": 1}


def test_what_an_environment_refuses_is_said_of_the_nodes_that_would_run_there(here: Model) -> None:
    environments.change(here.pushes.db, "gpu", {"images": ["registry/*"]})
    sha = here.commit({"valohai.yaml": ALL})
    here.push()
    said = asked(here.pushes, HypotheticalEvent(name=sha, rules=GROUPS + 'environment = "gpu"\n'))
    task, pipeline = said.runs
    assert "busybox" in task.notes[0]
    assert [note.partition(":")[0] for note in pipeline.notes] == ["ready", "fit"]


def test_the_command_line_says_it_of_tasks_and_pipelines_in_words_and_as_json(here: Model) -> None:
    here.rules(GROUPS)
    here.change({"valohai.yaml": ALL})
    here.commit({"a": "1"})
    here.push("-o", "ci.skip", "HEAD:refs/heads/parked")
    done = pushmill(here.pushes, "trigger", "model", "parked", "--branch", "main")
    assert done.stdout.splitlines()[1:] == [
        "  rule r matches: branch main",
        "  runs task train in default, priority 0, by rule r layers=[3]",
        "    3 executions of step train by grid search, varying epochs",
        "  runs pipeline full in the environments of its steps, priority 0, by rule r length=4",
        "    nodes ready (check), fit (train)",
        "  stops !1 task train",
        "  stops =1 pipeline full",
    ]
    done = pushmill(here.pushes, "trigger", "model", "parked", "--branch", "main", "--json")
    said = json.loads(done.stdout)
    usual = {"priority": 0, "rule": "r", "notes": []}
    assert said["runs"] == [
        {
            "kind": "task",
            "name": "train",
            "parameters": {"layers": [3]},
            "environment": "default",
            "makes": {"count": 3, "step": "train", "search": "grid_search", "varied": ["epochs"]},
            **usual,
        },
        {
            "kind": "pipeline",
            "name": "full",
            "parameters": {"length": 4},
            "environment": "",
            "makes": {"nodes": [{"name": "ready", "runs": "check"}, {"name": "fit", "runs": "train"}]},
            **usual,
        },
    ]
    assert said["stops"] == [
        {"kind": "task", "name": "train", "number": "!1"},
        {"kind": "pipeline", "name": "full", "number": "=1"},
    ]


def test_names_that_a_terminal_would_obey_are_shown_as_signs(here: Model) -> None:
    here.change({"valohai.yaml": ALL + FULL.replace("full", '"\\e[31mred"')})
    here.rules(GROUPS)
    said = pushmill(here.pushes, "trigger", "model", "main").stdout
    assert "skips pipeline \u241b[31mred: its name has control characters" in said
    assert "\x1b" not in said


def test_the_command_line_says_what_a_ref_would_trigger(here: Model) -> None:
    pushes = here.pushes
    here.change({"valohai.yaml": TRAIN + step("check")}, "HEAD:refs/heads/dev")
    rules = '[[rule]]\nname = "r"\nbranches = ["dev"]\nsteps = ["train"]\npriority = 2\ncancel_older = true\n'
    done = pushmill(pushes, "trigger", "model", "dev", "--rules", "-", given=rules)
    sha = pushes.pushes("model")[-1].after
    assert done.stdout.splitlines() == [
        f"push to dev, commit {sha[:8]}: 1 execution",
        "  rule r matches: branch dev matches dev",
        "  runs train in default, priority 2, by rule r epochs=1 layers=[3]",
    ]
    done = pushmill(pushes, "trigger", "model", "dev", "--branch", "main", "--json", "--rules", "-", given=rules)
    assert json.loads(done.stdout) == {
        "event": "push to main",
        "commit": sha,
        "outcome": 'no rule matched: "r" runs only for branch dev, not main',
        "rules": [{"name": "r", "matches": False, "why": "runs only for branch dev, not main"}],
        "runs": [],
        "skipped": [],
        "stops": [],
    }
    done = pushmill(pushes, "trigger", "model", "dev", "-o", "pushmill.step=check", "-o", "pushmill.parameter=a=1")
    assert "  runs check in default, priority 0" in done.stdout
    assert "  skips parameter a: nothing that runs has it" in done.stdout
    assert "there is no commit, branch or tag 'none' here" in pushmill(pushes, "trigger", "model", "none").stderr

"""The form of a run: fields made from valohai.yaml, submitted values as a launch, and commands to copy."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from core.errors import Problem
from core.model import Target, TargetKind
from web.config.forms import commands
from web.config.forms.fields import Control, group_by_category
from web.config.forms.run_form import Places, RunForm, build_launched_items, make_run_form, read_form
from web.config.forms.search_fields import apply_search
from web.config.overrides import Overrides
from web.config.steps.parse import parse
from web.config.tasks.plan import plan as plan_task

YAML = b"""
- step:
    name: train model
    description: Train it
    icon: "data:image/png;base64,AAAA"
    image: python:3.12
    command:
      - pip install x
      - python train.py {parameters}
    environment: rtx
    time-limit: 2h
    parameters:
      - {name: epochs, type: integer, default: 10, min: 1, max: 100, description: How many, category: Training}
      - {name: rate, type: float, default: 1e-5, category: Training}
      - {name: kind, choices: [a, b], default: a}
      - {name: layers, type: integer, multiple: separate, default: [3, 4]}
      - {name: heads, multiple: repeat, choices: [x, y, z], default: [x]}
      - {name: augment, type: flag, default: true}
      - {name: query, widget: SQL, default: "select 1"}
      - {name: note, optional: true, default: hello}
      - {name: must, type: integer}
    inputs:
      - {name: images, default: ["https://example.org/a.png"], description: Pictures}
      - {name: labels, optional: true}
    environment-variables:
      - {name: MODE, default: slow}
- task:
    name: search
    step: train model
    type: grid_search
    parameters:
      - {name: rate, style: logspace, rules: {start: -4, end: -2, count: 3}}
      - {name: epochs, style: multiple, rules: {items: [10, 20]}}
      - {name: must, style: single, rules: {value: 1}}
- pipeline:
    name: full
    parameters:
      - {name: epochs, targets: [one.parameter.epochs], default: 5, category: Sizes}
      - {name: rate, targets: [many.parameter.rate]}
      - {name: augment, targets: [one.parameter.augment]}
    nodes:
      - {name: one, type: execution, step: train model, override: {parameters: [{name: must, default: 1}]}}
      - {name: many, type: task, task: search}
    edges: []
"""
CONFIG = parse(YAML).config
PLACES = Places(slugs=("default", "rtx"), default="default")
STEP, TASK, PIPELINE = (
    Target(kind=kind, name=name)
    for kind, name in ((TargetKind.STEP, "train model"), (TargetKind.TASK, "search"), (TargetKind.PIPELINE, "full"))
)


def form(target: Target = STEP, **texts: str | list[str]) -> RunForm:
    """The form with these texts; `parameter_x` is the field `parameter:x`."""
    keys = {key.replace("_", ":", 1) if key.split("_")[0] in KINDS else key: value for key, value in texts.items()}
    return make_run_form(CONFIG, target, PLACES).filled(
        {key: [value] if isinstance(value, str) else value for key, value in keys.items()}
    )


KINDS = ("parameter", "input", "variable", "style", "items", "command")


def read(target: Target = STEP, **texts: str | list[str]) -> Overrides:
    overrides, problems = read_form(form(target, **texts))
    assert problems == []
    return overrides


def test_a_form_that_nobody_touched_changes_nothing() -> None:
    for target in (STEP, TASK, PIPELINE):
        untouched = form(target)
        again = untouched.filled({key: list(field.values) or [""] for key, field in untouched.fields.items()})
        assert [field.key for field in again.fields.values() if field.changed] == []
        assert read_form(again) == (Overrides(), [])
        assert build_launched_items(CONFIG, again) is None


@pytest.mark.parametrize(
    ("name", "control", "values", "notes"),
    [
        ("epochs", Control.TEXT, ("10",), "integer, 1 to 100"),
        ("rate", Control.TEXT, ("1e-05",), "float"),
        ("kind", Control.SELECT, ("a",), ""),
        ("layers", Control.LINES, ("3", "4"), "integer, one per line"),
        ("heads", Control.CHECKS, ("x",), ""),
        ("augment", Control.FLAG, ("true",), ""),
        ("query", Control.TEXTAREA, ("select 1",), ""),
        ("note", Control.TEXT, ("hello",), "optional"),
        ("must", Control.TEXT, (), "integer"),
    ],
)
def test_each_type_of_parameter_has_its_control(name: str, control: Control, values: Any, notes: str) -> None:
    field = form().fields[f"parameter:{name}"]
    assert (field.control, field.values, field.notes) == (control, values, notes)


def test_parameters_are_grouped_by_category_and_described() -> None:
    groups = group_by_category(form().parameters)
    assert [(category, len(fields)) for category, fields in groups] == [("", 7), ("Training", 2)]
    assert form().fields["parameter:epochs"].description == "How many"
    assert form().fields["input:images"].description == "Pictures"


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("epochs", ["50"], 50),
        ("rate", ["0.5"], 0.5),
        ("kind", ["b"], "b"),
        ("layers", ["5\r\n\r\n6\r\n"], [5, 6]),
        ("heads", ["", "y", "z"], ["y", "z"]),
        ("augment", ["false"], False),
        ("query", ["select 1\r\nfrom t"], "select 1\nfrom t"),
        ("epochs", ["x"], "x"),  # the launch says what is wrong with it
    ],
)
def test_a_changed_field_is_a_typed_value(name: str, texts: list[str], value: Any) -> None:
    filled = form(**{f"parameter_{name}": texts})
    assert filled.fields[f"parameter:{name}"].changed
    assert read_form(filled)[0].parameters == {name: value}


def test_what_is_not_a_parameter() -> None:
    overrides = read(
        title=" Night run ", tags="a, b,,", environment="default", priority="-3", time_limit="90 min",
        image="python:3.13", input_images="https://x/1\nhttps://x/2", variable_MODE="fast", variables="A=1\nB=x=y",
        command_1="python other.py",
    )  # fmt: skip
    assert overrides == Overrides(
        title="Night run", tags=("a", "b"), environment="default", priority=-3, time_limit_s=5400, image="python:3.13",
        inputs={"images": ("https://x/1", "https://x/2")}, environment_variables={"MODE": "fast", "A": "1", "B": "x=y"},
        command=["pip install x", "python other.py"],
    )  # fmt: skip


def test_the_environment_of_the_step_comes_first_and_is_no_override() -> None:
    assert form().fields["environment"].choices == (("", "rtx (default)"), ("default", "default"))
    assert form(PIPELINE).fields["environment"].choices[0] == ("", "as each step says")


@pytest.mark.parametrize(
    ("texts", "field", "said"),
    [
        ({"priority": "high"}, "priority", "'high' is not a whole number"),
        ({"time_limit": "soon"}, "time_limit", "'soon' is not a time"),
        ({"variables": "MODE"}, "variables", "'MODE' is not NAME=VALUE"),
        ({"parameter_epochs": ""}, "parameter:epochs", "needs a value"),
        ({"image": " "}, "image", "the image needs a name"),
    ],
)
def test_what_cannot_be_read_is_said_beside_its_field(texts: dict[str, str], field: str, said: str) -> None:
    filled = form(**texts)
    shown = filled.with_problems(read_form(filled)[1])
    (problem,) = shown.fields[field].problems
    assert said in problem
    assert shown.problems == ()


def test_problems_of_the_launch_find_their_fields() -> None:
    problems = [
        Problem('parameter "epochs": x is not an integer', "parameters", "epochs"),
        Problem('input "images" needs at least one URL', "inputs", "images"),
        Problem("environment variable MODE is bad", "environment_variables", "MODE"),
        Problem("environment variable NEW is bad", "environment_variables", "NEW"),
        Problem("bad command", "command"),
        Problem("not approved", "commit"),
        "no field at all",
    ]
    shown = form().with_problems(problems)
    assert {key: field.problems for key, field in shown.fields.items() if field.problems} == {
        "parameter:epochs": ("x is not an integer",),
        "input:images": ('input "images" needs at least one URL',),
        "variable:MODE": ("environment variable MODE is bad",),
        "variables": ("environment variable NEW is bad",),
        "command:0": ("bad command",),
    }
    assert shown.problems == ("not approved", "no field at all")


def test_an_emptied_optional_parameter_has_no_value() -> None:
    emptied = form(parameter_note="")
    assert read_form(emptied) == (Overrides(), [])
    (item,) = build_launched_items(CONFIG, emptied) or []
    (note,) = [one for one in item["step"]["parameters"] if one["name"] == "note"]
    assert "default" not in note


def test_the_search_of_a_task_can_be_changed() -> None:
    filled = form(
        TASK, style_rate="linear", **{"rule:start:rate": "0", "rule:end:rate": "1", "rule:step:rate": "0.25"},
        items_epochs="30\n40\n50", type="random_search", **{"execution-count": "7"},
    )  # fmt: skip
    items = build_launched_items(CONFIG, filled)
    found = plan_task(items, "search", parameters=read_form(filled)[0].parameters)
    assert found.count == 7
    assert {variant.name: dict(variant.rules) for variant in found.blueprint.variants} == {
        "rate": {"start": 0, "end": 1, "step": 0.25}, "epochs": {"items": [30, 40, 50]}, "must": {"value": 1},
    }  # fmt: skip


def test_one_value_in_a_task_is_not_varied_and_other_styles_ignore_it() -> None:
    filled = form(TASK, style_epochs="single", parameter_epochs="77", parameter_rate="5")
    assert read_form(filled)[0].parameters == {"epochs": 77}
    found = plan_task(build_launched_items(CONFIG, filled), "search", parameters={"epochs": 77})
    assert (found.count, found.first.parameters["epochs"]) == (3, 77)


def test_an_empty_list_is_no_value() -> None:
    fields = form(TASK, items_epochs="").fields
    assert apply_search(CONFIG[1]["task"], fields)["parameters"][0]["rules"] == {"items": []}


def test_parameters_of_a_pipeline_have_the_types_of_its_steps() -> None:
    fields = form(PIPELINE).fields
    assert (fields["parameter:epochs"].values, fields["parameter:epochs"].category) == (("5",), "Sizes")
    assert fields["parameter:augment"].choices == (("", "as each node says"), ("true", "true"), ("false", "false"))
    assert read(PIPELINE, parameter_epochs="6", parameter_rate="0.1\n0.2", parameter_augment="false") == Overrides(
        parameters={"epochs": 6, "rate": [0.1, 0.2], "augment": False}
    )
    assert read(PIPELINE, parameter_rate="0.1").parameters == {"rate": 0.1}


def launch(target: Target, overrides: Overrides, commit: str = "c" * 40) -> commands.FormLaunch:
    return commands.FormLaunch(target=target, project_uuid="p-1", commit=commit, overrides=overrides)


GIVEN = Overrides(
    parameters={"max_steps": 5, "layers": [3, 4], "augment": False}, inputs={"images": ("https://x/1", "https://x/2")},
    environment_variables={"A": "it's"}, image="python:3.13", environment="rtx", time_limit_s=60, priority=1, title="T",
    tags=("a",),
)  # fmt: skip


def test_the_command_line_of_vh_has_every_value() -> None:
    words = shlex.split(commands.format_vh_command(launch(STEP, GIVEN), []).replace("\\\n", ""))
    assert words == [
        "vh", "execution", "run", f"--commit={'c' * 40}", "--environment=rtx", "--title=T", "--tag=a", "--priority=1",
        "--image=python:3.13", "--var=A=it's", "--time-limit=60", "train model", "--max-steps=5", "--layers=3",
        "--layers=4", "--augment=false", "--images=https://x/1", "--images=https://x/2",
    ]  # fmt: skip


def test_what_vh_cannot_give_is_said() -> None:
    line = commands.format_vh_command(launch(STEP, Overrides(command=["x"], inputs={"images": ()})), ["the search"])
    assert line.endswith("\n# vh cannot give: the search, the command, no files for images")
    assert "--adhoc" in commands.format_vh_command(launch(STEP, Overrides(), "~abc"), [])


def test_the_call_with_curl_has_every_value() -> None:
    words = shlex.split(
        commands.format_curl_command(launch(STEP, GIVEN), "http://host", {"step": "it's"}).replace("\\\n", "")
    )
    assert words[:2] == ["curl", "http://host/api/v0/executions/"]
    assert json.loads(words[-1]) == {
        "project": "p-1", "commit": "c" * 40, "step": "it's", "parameters": {"max_steps": 5, "layers": [3, 4],
        "augment": False}, "inputs": {"images": ["https://x/1", "https://x/2"]}, "environment_variables": {"A": "it's"},
        "environment": "rtx", "image": "python:3.13", "time_limit": 60, "priority": 1, "title": "T", "tags": ["a"],
    }  # fmt: skip


def test_the_body_of_a_task_has_its_search() -> None:
    body = commands.build_task_body(
        apply_search(CONFIG[1]["task"], form(TASK).fields), Overrides(parameters={"kind": "b"})
    )
    assert body == {
        "step": "train model", "type": "grid_search", "on_child_error": "continue_and_error",
        "parameters": {
            "epochs": {"style": "multiple", "rules": {"items": [10, 20]}},
            "rate": {"style": "logspace", "rules": {"start": -4, "end": -2, "count": 3}},
            "must": {"style": "single", "rules": {"value": 1}},
            "kind": {"style": "single", "rules": {"value": "b"}},
        },
    }  # fmt: skip

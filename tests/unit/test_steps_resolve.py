"""resolve(): given value, else default, else none; typed, checked, with all problems reported at once."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import datum
from core.errors import InvalidInput, NotFound
from web.config.steps.model import Step, StepMount, load_step, map_step_items
from web.config.steps.parse import parse
from web.config.steps.resolve import ResolvedStep, UnresolvedStep, resolve
from web.config.steps.shell_script import build_script

DATUM = "datum://0190a1b2-0000-7000-8000-000000000001"


def config(command: object = "run {parameters}", **keys: object) -> Any:
    step = {"name": "train", "image": "python:3.12-slim", "command": command, **keys}
    return parse(json.dumps([{"step": step}]).encode()).config


def with_parameter(command: object = "run {parameters}", **keys: object) -> Any:
    return config(command, parameters=[{"name": "x", **keys}])


def problems_of(stored: Any, **given_values: Any) -> list[str]:
    with pytest.raises(UnresolvedStep) as caught:
        resolve(stored, "train", **given_values)
    assert isinstance(caught.value, InvalidInput)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def value_of(stored: Any, *given_value: Any) -> Any:
    parameters = {"x": given_value[0]} if given_value else None
    return resolve(stored, "train", parameters=parameters).parameters.get("x", "absent")


def test_an_unknown_step_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match='there is no step "nope"; there are: train'):
        load_step(config(), "nope")
    assert tuple(map_step_items(config())) == ("train",)
    assert tuple(map_step_items(None)) == ()


def test_of_several_steps_with_one_name_the_last_counts() -> None:
    steps = [{"step": {"name": "a", "image": image, "command": "c"}} for image in ("first", "last")]
    assert load_step(steps, "a").image == "last"


def test_a_step_is_loaded_with_everything_it_declares() -> None:
    step = load_step(
        config(
            ["a", "b"],
            environment="gpu",
            inputs=[{"name": "d", "default": "https://h/x", "filename": "f", "keep-directories": "suffix"}],
            parameters=[{"name": "p", "type": "integer", "multiple": "repeat", "default": 3, "choices": [3, 4]}],
            **{
                "environment-variables": [{"name": "E", "default": "v", "optional": False}],
                "time-limit": "1h 30m",
                "no-output-timeout": 0,
                "resources": {
                    "devices": {"nvidia.com/gpu": 2, "tpu": 1},
                    "cpu": {"max": 2, "min": 1},
                    "memory": {"max": 512},
                },
                "mounts": [
                    "/a:/b",
                    {"source": "/c", "destination": "/d", "readonly": True, "type": "bind"},
                    {"source": "nas:/e", "destination": "/f", "type": "NFS", "options": {"vers": 4}},
                ],
                "autorestart": True,
                "upload-store": "s",
                "stop-condition": "a > 1",
            },
        ),
        "train",
    )
    assert isinstance(step, Step)
    assert (step.commands, step.environment, step.gpus) == (("a", "b"), "gpu", 2)
    assert (step.time_limit_s, step.no_output_limit_s) == (5400.0, None)
    assert (step.memory, step.cpus) == (512 * 1024 * 1024, 2.0)
    assert (step.inputs[0].default, step.inputs[0].keep_directories) == (("https://h/x",), "suffix")
    assert (step.parameters[0].default, step.parameters[0].multiple, step.parameters[0].choices) == (
        [3],
        "repeat",
        (3, 4),
    )
    assert (step.environment_variables[0].default, step.environment_variables[0].optional) == ("v", False)
    assert step.mounts == (
        StepMount(source="/a", destination="/b", readonly=False),
        StepMount(source="/c", destination="/d", readonly=True),
    )
    assert step.autorestart
    noted = ("the mount of nas:/e", "upload-store", "stop-condition", "cpu", '"tpu"')
    assert [key for key in noted if key in str(step.notes)] == list(noted)
    assert "autorestart" not in str(step.notes)


@pytest.mark.parametrize(("devices", "gpus"), [(None, None), ({}, 0), ({"nvidia.com/gpu": 3}, 3)])
def test_gpus_are_none_without_devices_and_zero_for_explicitly_no_devices(devices: object, gpus: int | None) -> None:
    resources = {} if devices is None else {"devices": devices}
    assert load_step(config(resources=resources), "train").gpus == gpus


@pytest.mark.parametrize(
    ("declared", "given_value", "value"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, 5, 5),
        ({"type": "float", "default": "1e-5"}, None, 1e-05),
        ({"type": "float"}, "1e-5", 1e-05),
        ({"type": "float"}, 3, 3.0),
        ({"type": "float", "choices": ["1e-3", "1e-5"]}, "0.00001", 1e-05),
        ({"type": "float", "min": 0, "max": 1}, "0.5", 0.5),
        ({"type": "string"}, 16, "16"),
        ({"default": 16}, None, "16"),
        ({"default": True}, None, "True"),
        ({"type": "string", "choices": [1, 2]}, 2, "2"),
        ({"type": "string"}, "", ""),
        ({"type": "flag"}, "true", True),
        ({"type": "flag"}, "False", False),
        ({"type": "flag", "default": True}, None, True),
        ({"type": "flag"}, None, False),
        ({"type": "integer", "multiple": "separate"}, ["1", 2], [1, 2]),
        ({"type": "integer", "multiple": "repeat", "default": 7}, None, [7]),
        ({"type": "float", "multiple": "repeat"}, "0.5", [0.5]),
        ({"multiple": "repeat"}, [], []),
        ({"optional": True}, None, "absent"),
    ],
)
def test_values_have_the_declared_type(declared: dict[str, Any], given_value: Any, value: Any) -> None:
    found = value_of(with_parameter(**declared), given_value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("declared", "given_value", "message"),
    [
        ({}, None, 'parameter "x" needs a value'),
        ({"type": "integer"}, "5.5", "5.5 is not an integer"),
        ({"type": "integer"}, True, "True is not an integer"),
        ({"type": "integer"}, "", "No value supplied"),
        ({"type": "integer"}, 2**70, "does not fit into 64 bits"),
        ({"type": "float"}, "fast", "fast is not a floating-point number"),
        ({"type": "integer", "min": 3}, 2, "2 is less than the minimum allowed (3)"),
        ({"type": "float", "max": 0.001}, "1", "1.0 is greater than the maximum allowed (0.001)"),
        ({"choices": ["a", "b"]}, "c", "c is not among the choices allowed"),
        ({"type": "integer", "default": 9, "max": 3}, None, "greater than the maximum"),
        ({"type": "flag"}, "maybe", "'maybe' is neither true nor false"),
        ({}, ["a", "b"], "one value is expected"),
        ({}, {"a": 1}, "is not a value of type string"),
        ({"multiple": "repeat"}, ["a", None], "None is not a value of type string"),
        ({"multiple": "repeat"}, [["a"]], "is not a value of type string"),
        ({}, "x" * 65_537, "larger than 65,536 bytes"),
        ({"multiple": "repeat"}, ["x" * 1000] * 66, "larger than 65,536 bytes"),
        ({}, "a\0b", "NUL"),
        ({}, "\ud800", "not Unicode"),
    ],
)
def test_a_value_that_does_not_fit_is_a_problem(declared: dict[str, Any], given_value: Any, message: str) -> None:
    (problem,) = problems_of(with_parameter(**declared), parameters={"x": given_value})
    assert message in problem
    assert 'parameter "x"' in problem


def test_all_problems_are_told_at_once() -> None:
    stored = config(
        parameters=[{"name": "p"}, {"name": "q", "type": "integer"}],
        inputs=[{"name": "d"}, {"name": "s", "default": "s3://b/k"}],
        image="a b",
        **{"environment-variables": [{"name": "E", "optional": False}]},
    )
    problems = problems_of(
        stored,
        parameters={"q": "x", "r": 1},
        inputs={"z": ["https://h/x"]},
        environment_variables={"A=B": "v"},
    )
    expected = [
        'there is no parameter "r"; there are: p, q',
        'parameter "p" needs a value',
        'parameter "q": x is not an integer',
        'there is no input "z"; there are: d, s',
        'input "d" needs at least one URL',
        'input "s": s3://b/k is not supported; use http, https or datum',
        "environment variable E needs a value",
        "environment variable 'A=B': a name cannot be empty or contain = or control characters",
        "'a b' is not the name of an image",
    ]
    assert problems == expected


def test_a_variable_that_is_provided_later_is_not_missing_and_not_set() -> None:
    stored = config(**{"environment-variables": [{"name": "E", "optional": False}]})
    assert resolve(stored, "train", provided={"E"}).environment_variables == {}
    assert problems_of(stored) == ["environment variable E needs a value"]


def test_flag_defaults_are_passed_explicitly() -> None:
    stored = config(
        ["a {parameters}", "b {parameter-value:f}"],
        parameters=[{"name": "f", "type": "flag", "default": True}],
    )
    assert resolve(stored, "train").commands == ("a --f", "b True")
    assert resolve(stored, "train", parameters={"f": False}).commands == ("a", "b False")


def test_the_value_of_an_optional_parameter_without_one_is_empty() -> None:
    stored = config(
        ["a --x={parameter-value:x} b", "{parameter-value:other} c", "d {parameter-value:y}"],
        parameters=[
            {"name": "x", "type": "string", "optional": True},
            {"name": "y", "type": "integer", "default": 0},
        ],
    )
    assert resolve(stored, "train").commands == ("a --x= b", "{parameter-value:other} c", "d 0")
    assert resolve(stored, "train", parameters={"x": "v w"}).commands[0] == "a --x='v w' b"


def test_parameters_go_into_commands_by_their_pass_as() -> None:
    stored = config(
        ["run {parameters}", "one {parameter:a}", "brace ${HOME} {print $1}"],
        parameters=[
            {"name": "a", "type": "float", "default": "1e-5"},
            {"name": "b", "multiple": "repeat", "pass-as": "-b {v}", "default": ["x y", "z"]},
            {"name": "c", "multiple": "separate", "multiple-separator": ":", "default": ["p", "q"]},
            {"name": "d", "optional": True},
        ],
    )
    assert resolve(stored, "train").commands == (
        "run --a=1e-05 -b 'x y' -b z --c=p:q",
        "one --a=1e-05",
        "brace ${HOME} {print $1}",
    )


def test_a_number_that_json_cannot_hold_is_null_there_and_text_in_the_command() -> None:
    found = resolve(with_parameter(type="float", default="nan"), "train")
    assert found.commands == ("run --x=nan",)
    assert found.parameters == {"x": None}
    assert "nan, which JSON cannot represent" in found.notes[0]


def test_commands_that_would_fill_the_memory_are_refused() -> None:
    stored = with_parameter("run " + "{parameters} " * 1000)
    (problem,) = problems_of(stored, parameters={"x": "y" * 60_000})
    assert "too long" in problem


def test_every_input_is_there_in_declared_order_even_an_empty_one() -> None:
    stored = config(
        parameters=[{"name": "set", "default": "a/b"}],
        inputs=[
            {"name": "z", "default": ["https://h/{parameter:set}/1.zip", "http://h/2"], "filename": "one"},
            {"name": "a", "optional": True, "default": ""},
            {"name": "m", "download": "on-demand", "default": "https://h/m", "filename": "m.bin"},
        ],
    )
    inputs = resolve(stored, "train").inputs
    assert [(spec.name, spec.urls) for spec in inputs.values()] == [
        ("z", ["https://h/a/b/1.zip", "http://h/2"]),
        ("a", []),
        ("m", ["https://h/m"]),
    ]
    assert (inputs["z"].filename, inputs["m"].filename, inputs["m"].on_demand) == (None, "m.bin", True)


def test_a_given_input_replaces_the_default_list() -> None:
    stored = config(inputs=[{"name": "d", "default": ["https://h/1", "https://h/2"]}])
    assert resolve(stored, "train", inputs={"d": ["https://h/3"]}).inputs["d"].urls == ["https://h/3"]
    assert "needs at least one URL" in problems_of(stored, inputs={"d": []})[0]


def test_an_output_is_an_input_by_its_uuid_which_a_parameter_may_give() -> None:
    stored = config(
        inputs=[{"name": "d", "default": [DATUM, DATUM.upper(), "datum://{parameter:p}"]}],
        parameters=[{"name": "p", "default": datum.parse_datum_url(DATUM)}],
    )
    urls = resolve(stored, "train").inputs["d"].urls
    assert urls == [DATUM, DATUM.upper(), DATUM]
    assert {datum.parse_datum_url(url) for url in urls} == {"0190a1b2-0000-7000-8000-000000000001"}
    assert datum.make_datum_url(datum.parse_datum_url(DATUM) or "") == DATUM


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("datum://-1234", "'datum://-1234' does not name an output: write datum:// and its UUID or alias"),
        ("datum://", "does not name an output"),
        (f"{DATUM}/", "does not name an output"),
        (f"{DATUM}?x", "does not name an output"),
        ("datum://{0190a1b2-0000-7000-8000-000000000001}", "does not name an output"),
        ("file:///etc/passwd", "is not supported; use http, https or datum"),
        ("/etc/passwd", "is not supported; use http, https or datum"),
        ("https://", "has no host"),
        ("https://[::1", "is not a URL"),
        ("https://h/a b", "spaces or control characters"),
        ("https://h/\r\nX-Evil: 1", "spaces or control characters"),
        ("https://h/" + "x" * 70_000, "longer than 65,536"),
        ("https://h/{parameter:none}", "{parameter:none} in its URL has no value"),
        (7, "7 is not a URL"),
    ],
)
def test_what_cannot_be_fetched_is_a_problem(url: Any, message: str) -> None:
    problems = problems_of(config(inputs=[{"name": "d"}]), inputs={"d": [url]})
    assert message in problems[0]
    assert problems[0].startswith('input "d"')


def test_variables_come_from_the_step_and_the_caller_and_the_caller_wins() -> None:
    stored = config(
        **{"environment-variables": [{"name": "A", "default": "1"}, {"name": "B", "default": "2"}, {"name": "C"}]}
    )
    found = resolve(stored, "train", environment_variables={"B": "x", "D": ""})
    assert found.environment_variables == {"A": "1", "B": "x", "D": ""}


@pytest.mark.parametrize(
    "name",
    [
        *("VH_JOB_ID", "VH_OUTPUTS_DIR", "VH_TPU", "LD_PRELOAD", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"),
        *("NVIDIA_DRIVER_CAPABILITIES", "CUDA_VISIBLE_DEVICES", "DOCKER_HOST", "PUSHMILL_DATA"),
        *("NVIDIA_REQUIRE_CUDA", "NVIDIA_DISABLE_REQUIRE", "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_IMEX_CHANNELS"),
        *("NVIDIA_GDS", "DOCKER_RESOURCE_GPU", "SWARM_RESOURCE_GPU", "GPU_DEVICE_ORDINAL"),
    ],
)
def test_variables_that_are_not_the_users_are_dropped_with_a_note(name: str) -> None:
    stored = config(**{"environment-variables": [{"name": name, "default": "1", "optional": False}]})
    for given_variables in ({}, {name: "evil"}):
        found = resolve(stored, "train", environment_variables=given_variables)
        assert found.environment_variables == {}
        assert f"environment variable {name} is ignored" in found.notes[0]


@pytest.mark.parametrize(
    "name",
    ["VH_NO_DATA_CACHE", "VH_CPU_LIMIT", "VH_API_TOKEN", "PYTHONUNBUFFERED", "NVIDIA_API_KEY", "NVIDIA_TF32_OVERRIDE"],
)
def test_control_variables_and_the_users_own_are_kept(name: str) -> None:
    assert resolve(config(), "train", environment_variables={name: "1"}).environment_variables == {name: "1"}


@pytest.mark.parametrize("value", [1, "a\0b", "x" * 65_537, "\ud800"])
def test_a_variable_that_no_process_can_have_is_a_problem(value: Any) -> None:
    (problem,) = problems_of(config(), environment_variables={"A": value})
    assert problem.startswith("environment variable A")


def test_a_resolved_step_is_json_but_for_its_types() -> None:
    found = resolve(with_parameter(type="integer", default=1), "train")
    assert isinstance(found, ResolvedStep)
    assert json.loads(json.dumps(found.parameters, allow_nan=False)) == found.parameters


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(value=TEXT)
@settings(max_examples=60)
def test_a_value_reaches_the_program_exactly_as_given_whatever_the_shell_makes_of_it(value: str) -> None:
    stored = with_parameter("printf '%s\\n' {parameter-value:x}")
    text = build_script(resolve(stored, "train", parameters={"x": value}).commands)
    ran = subprocess.run(["sh", "-s"], input=text.encode(), capture_output=True, check=True)
    # The library strips blanks from a command, and a quoted value keeps its own.
    assert ran.stdout == f"{value}\n".encode()
    assert ran.stderr == b""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
KINDS = st.sampled_from(["integer", "float", "string", "flag"])


@given(kind=KINDS, multiple=st.sampled_from(["none", "repeat", "separate"]), value=ANYTHING, url=ANYTHING)
@settings(max_examples=200)
def test_values_of_any_shape_resolve_or_are_problems(kind: str, multiple: str, value: Any, url: Any) -> None:
    declared = {"name": "x", "type": kind} | ({} if kind == "flag" else {"multiple": multiple})
    stored = config("run {parameters} {parameter-value:x}", parameters=[declared], inputs=[{"name": "d"}])
    try:
        found = resolve(stored, "train", parameters={"x": value}, inputs={"d": url}, environment_variables={"E": value})
    except UnresolvedStep as error:
        assert error.problems  # noqa: PT017 - either way is right
    else:
        json.dumps(found.parameters, allow_nan=False)

"""parse(): which valohai.yaml files are valid, which are refused, and with which messages."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidYaml
from web.config.steps import version
from web.config.steps.parse import Configuration, parse
from web.config.steps.parse_in_child import parse_limited

STEP = "- step:\n    name: a\n    image: i\n    command: c\n"


def with_lines(*lines: str) -> bytes:
    return (STEP + "".join(f"    {line}\n" for line in lines)).encode()


def problems_of(data: bytes) -> str:
    with pytest.raises(InvalidYaml) as caught:
        parse(data)
    assert caught.value.problems
    return "\n".join(caught.value.problems)


def test_a_minimal_step_parses_without_advice() -> None:
    step = {"name": "a", "image": "i", "command": "c"}
    assert parse(STEP.encode()) == Configuration([{"step": step}], (), ("a",))


def test_an_empty_file_is_a_configuration_without_steps() -> None:
    found = parse(b"")
    assert (found.config, found.steps) == ([], ())
    assert "empty" in found.problems[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"- step:\n\tname: a", "line 2: found character that cannot start any token"),
        (b"step:\n  name: a", "must be a list"),
        (b'"- step: {name: a}"', "must be a list"),
        (b"- step:\n    name: a", "line 1: step: 'command' is missing\nline 1: step: 'image' is missing"),
        (with_lines("comand: x"), "line 5: unknown key 'comand', did you mean 'command'?"),
        (b"- step: {name: 12, image: [b], command: {x: 1}}", "line 1: step: name: 12 is not of type 'string'"),
        (b"- step:\n  name: a\n", "line 1: step is empty: indent what belongs to it further than 'step'"),
        (with_lines("time-limit: 3 fortnights"), "ValueError: Unknown duration suffix in '3 fortnights' (step \"a\")"),
        (with_lines("time-limit: '90'"), "IndexError"),
        (with_lines(f"time-limit: {10**17}"), "OverflowError"),
        (with_lines("time-limit: -5"), "it must be positive"),
        (
            with_lines("parameters: [{name: p, type: int}]"),
            "line 5: parameters 1: type: 'int' is unknown, did you mean 'integer'?",
        ),
        (with_lines("parameters: [{name: p, type: flag, multiple: repeat}]"), "Flag parameters can't be multiple"),
        (with_lines("environment-variables: [{name: E, default: 1}]"), "1 is not of type 'string'"),
        (b"- task: {name: t, step: a}", "line 1: task: "),
        (b"- pipeline: {name: p, nodes: [{name: n, type: foo}], edges: []}", "line 1: pipeline: nodes 1: "),
        (b"--- 1\n--- 2\n", "expected a single document"),
        (b"!!python/object/apply:os.system [id]", "line 1: could not determine a constructor"),
        (STEP.replace("name: a", "name: ''").encode(), "empty name"),
        (STEP.replace("name: a", 'name: "a\\nb"').encode(), "control characters"),
        (STEP.replace("image: i", "image: ' '").encode(), "image is empty"),
        (STEP.replace("command: c", "command: []").encode(), "command is empty"),
        (STEP.replace("command: c", "command: ['', ' ']").encode(), "command is empty"),
        (with_lines("inputs: [{name: ../../etc}]"), "cannot be the name of an input"),
        (with_lines("inputs: [{name: x, filename: /etc/passwd}]"), "cannot be the name of a file"),
        (with_lines("inputs: [{name: ''}]"), "cannot be the name of an input"),
        (with_lines("parameters: [{name: ''}]"), "cannot be the name of a parameter"),
        (with_lines("environment-variables: [{name: 'A=B'}]"), "'A=B'"),
        (with_lines("parameters: [{name: p, pass-as: '{v:>1000000000}'}]"), "pass-as"),
        (with_lines("parameters: [{name: p, pass-as: '{value.__class__}'}]"), "pass-as"),
        (with_lines("parameters: [{name: p, pass-as: '{value!r}'}]"), "pass-as"),
        (with_lines("parameters: [{name: p, pass-as: '{0}'}]"), "pass-as"),
        (with_lines("parameters: [{name: p, type: flag, pass-true-as: '{other}'}]"), "pass-true-as"),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason(data: bytes, message: str) -> None:
    assert message in problems_of(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (STEP + "- stepp: {}\n", "line 5: unknown key 'stepp', did you mean 'step'?"),
        (STEP + STEP, "Duplicate step name: a."),
        (STEP + "    stop-condition: import os\n", "`stop-condition` is not a valid expression"),
        (STEP + "    runtime-config-preset: x\n", 'missing "environment"'),
        (STEP + "- task: {name: t, step: a, type: foo, parameters: []}\n", 'task "t" is ignored'),
        (STEP + "- task: {name: t, step: zzz, parameters: []}\n", 'task "t": there is no step "zzz"'),
        (
            STEP + "- pipeline: {name: p, nodes: [{name: n, type: execution, step: zzz}], edges: []}\n",
            'pipeline "p" cannot run: node "n": there is no step "zzz"',
        ),
        (
            STEP + "- pipeline: {name: p, nodes: [{name: n, type: execution, step: a}], edges: [[a.b, n.input.x]]}\n",
            "must have 3 parts",
        ),
        (
            STEP + "- pipeline: {name: p, nodes: [{name: n, type: execution, step: a}], edges: [],"
            " parameters: [{name: q, target: n.x}]}\n",
            "parameter \"q\" of the pipeline: 'n.x' is not NODE.TYPE.NAME",
        ),
        (STEP + "- endpoint: {name: Bad_Name, image: i, wsgi: a}\n", 'endpoint "Bad_Name" is ignored'),
        (STEP + "- endpoint: {name: fine, image: i, wsgi: a}\n", "endpoints are not supported here: fine"),
        (STEP + "- deployment: 7\n", "is ignored"),
        (STEP + "    inputs: [{name: x}, {name: x}]\n", 'input "x" is declared 2 times'),
        (STEP.replace("command: c", 'command: echo "{parameter-value:x}"'), "is in quotes"),
    ],
)
def test_what_does_not_hinder_a_run_is_advice(data: str, message: str) -> None:
    found = parse(data.encode())
    assert found.steps == ("a",)
    assert message in "\n".join(found.problems)


def test_a_broken_endpoint_goes_and_the_step_in_the_same_item_stays() -> None:
    found = parse(b"- step: {name: a, image: i, command: c}\n  endpoint: {name: B}\n")
    assert found.config == [{"step": {"name": "a", "image": "i", "command": "c"}}]


def test_the_configuration_is_strict_json_whatever_yaml_made_of_the_scalars() -> None:
    found = parse(
        with_lines(
            "parameters:",
            "- {name: d, default: 2024-01-01}",
            "- {name: t, default: 2024-01-01 10:00:00}",
            "- {name: n, type: float, default: .nan}",
            "- {name: i, type: float, default: -.inf}",
            "- {name: b, default: !!binary aGVq}",
            "- {name: s, default: !!set {x}}",
            "- {name: h, type: integer, default: 99999999999999999999}",
            "- {name: w, widget: {type: x, settings: {7: a, yes: b, null: c, 2024-01-01: d}}}",
        )
    )
    assert json.loads(json.dumps(found.config, allow_nan=False)) == found.config
    parameters = {item["name"]: item for item in found.config[0]["step"]["parameters"]}
    defaults = {name: item.get("default") for name, item in parameters.items()}
    assert defaults == {
        "d": "2024-01-01",
        "t": "2024-01-01T10:00:00",
        "n": "nan",
        "i": "-inf",
        "b": "aGVq",
        "s": ["x"],
        "h": "99999999999999999999",
        "w": None,
    }
    assert parameters["w"]["widget"]["settings"] == {"7": "a", "true": "b", "null": "c", "2024-01-01": "d"}


def test_a_byte_order_mark_is_no_problem() -> None:
    assert parse(b"\xef\xbb\xbf" + STEP.encode()).steps == ("a",)


def test_steps_are_named_in_file_order_and_once() -> None:
    data = "".join(STEP.replace("name: a", f"name: {name}") for name in "zazb")
    assert parse(data.encode()).steps == ("z", "a", "b")


def test_messages_are_short_and_few_even_for_large_broken_values() -> None:
    data = "".join(f"- step: {{name: s{i}, image: i, command: {{k: {'x' * 900}}}}}\n" for i in range(200))
    with pytest.raises(InvalidYaml) as caught:
        parse(data.encode())
    assert len(caught.value.problems) <= 101
    assert max(map(len, caught.value.problems)) <= 600


def many_aliases() -> str:
    rows = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    return "\n".join(rows)


def merged_keys() -> str:
    rows = ["- &a0 {" + ", ".join(f"k{i}: 1" for i in range(50)) + "}"]
    rows += [f"- &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}" for i in range(1, 20)]
    return "\n".join(rows)


HOSTILE = {
    "larger than the cap": (b"#" + b"x" * 300_000, "at most 262,144"),
    "12,000 steps": ("".join(f"- step: {{name: s{i}}}\n" for i in range(12_000))[: 256 * 1024].encode(), "20,000"),
    "billion laughs": (many_aliases().encode(), "20,000"),
    "merge keys that multiply": (merged_keys().encode(), "20,000"),
    "repeated text": (("- &a " + "x" * 60_000 + "\n" + "- *a\n" * 100).encode(), "1,000,000 characters"),
    "open brackets": (b"[" * 200_000, "30 levels"),
    "nested lists": (b"[" * 1000 + b"]" * 1000, "30 levels"),
    "nesting through aliases": (
        ("- &a0 [x]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, 40))).encode(),
        "30 levels",
    ),
    "cycle": (b"&a [*a]", "refers to the value that contains it"),
    "cycle in a step": (b"- &a {step: *a}", "refers to the value that contains it"),
    "decimal integer of 5,000 digits": (b"- " + b"9" * 5000, "ValueError"),
    "hexadecimal integer of 50,000 digits": (b"- 0x" + b"f" * 50_000, "1024 bits"),
    "sexagesimal integer": (b"- 1" + b":1" * 30_000, "1024 bits"),
    "long value": (b"- " + b"x" * 70_000, "65,536 characters"),
    "NUL": (b'- "a\\0b"', "NUL"),
    "not UTF-8": (b"\xff\xfe\x00", "not UTF-8"),
    "braces without end": (STEP.replace("command: c", f"command: '{'{' * 16_000}'").encode(), "that no } follows"),
    "long command": (STEP.replace("command: c", f"command: {'x' * 17_000}").encode(), "16,384"),
    "many long commands": (
        STEP.replace("command: c", "command: [" + ", ".join(["x" * 16_000] * 5) + "]").encode(),
        "65,536",
    ),
    "unhashable key": (b"? [a]\n: b", "line 1: found unhashable key"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(5)
@pytest.mark.parametrize("reader", [parse, parse_limited])
def test_a_hostile_file_is_refused_quickly(reader: object, name: str) -> None:
    data, message = HOSTILE[name]
    with pytest.raises(InvalidYaml, match=message):
        reader(data)  # type: ignore[operator]


def test_python_tags_run_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    problems_of(f"- !!python/object/apply:os.mkdir [{trace}]".encode())
    assert not trace.exists()


@given(st.binary(max_size=300) | st.text(alphabet="- :{}[]&*!<>|\n\t'\"ab0.", max_size=120).map(str.encode))
@settings(max_examples=300)
def test_random_bytes_parse_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidYaml):
        parse(data)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(), st.text(max_size=8), st.just("{v.x}")
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
ITEM_KEYS = (
    "name",
    "type",
    "default",
    "optional",
    "multiple",
    "choices",
    "min",
    "max",
    "pass-as",
    "filename",
    "widget",
)
ITEMS = st.lists(st.dictionaries(st.sampled_from(ITEM_KEYS), VALUES, max_size=4) | VALUES, max_size=2)
STEP_KEYS = ("time-limit", "resources", "mounts", "environment", "stop-condition", "image", "command", "source-path")
STEPS = st.builds(
    lambda fixed, parameters, inputs, extra: {
        "step": {"name": "a", "image": "i", "command": fixed, "parameters": parameters, "inputs": inputs} | extra
    },
    st.just("c") | VALUES,
    ITEMS,
    ITEMS,
    st.dictionaries(st.sampled_from(STEP_KEYS), VALUES, max_size=2),
)
KINDS = ("step", "task", "pipeline", "blueprint", "endpoint", "deployment", "other")
DOCUMENTS = st.lists(STEPS | st.dictionaries(st.sampled_from(KINDS), VALUES, max_size=2), max_size=3)


@given(DOCUMENTS)
@settings(max_examples=300)
def test_random_structures_parse_to_strict_json_or_are_refused(document: object) -> None:
    try:
        found = parse(json.dumps(document).encode())
    except InvalidYaml:
        return
    assert json.loads(json.dumps(found.config, allow_nan=False)) == found.config


def test_the_parsers_version_is_another_after_any_change_of_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the server would reuse what an older parser read."""
    monkeypatch.setattr(version, "__file__", str(tmp_path / "steps" / "version.py"))
    (tmp_path / "steps").mkdir()
    seen = {version.compute_parser_version.__wrapped__()}
    for number, name in enumerate(("load.py", "steps/new.py", "load.py"), 2):
        (tmp_path / name).write_text(f"# {number}\n")
        seen.add(version.compute_parser_version.__wrapped__())
        assert len(seen) == number

"""docs/steps.md lists the keys of the schema of valohai-yaml, and those that the page of a commit reports as unused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from valohai_yaml.validation import get_json_schema

from web.config.steps import unused
from web.config.steps.parse import parse

PAGE = Path(__file__).parents[2] / "docs" / "steps.md"
BASE = "https://valohai.com/schemas/"
SCHEMAS = {
    "step": "step", "parameter": "param-item", "input": "input-item", "environment variable": "environment-variable-item",
    "mount": "mount-item", "output": "output-item", "resources.cpu": "workflow-resource-cpu",
    "resources.memory": "workflow-resource-memory", "task": "task", "parameter of a task": "variant-param",
    "rules": "variant-param-rule-item", "pipeline": "pipeline", "parameter of a pipeline": "pipeline-param",
    "override": "overridden-properties", "action": "node-action",
}  # fmt: skip
# whole items that do not run here, and values
OTHERS = {
    "deployment", "deployment-node", "endpoint", "endpoint-shared-volume", "endpoint-workspace-volume", "file-item",
    "toleration", "workflow-resource-ephemeral-storage", "workflow-resource-devices", "node-edge-merge-mode",
}  # fmt: skip


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Of each row of the table the keys with and without an effect."""
    section = PAGE.read_text().partition("## Every key")[2]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return {row[0].strip(): (_keys(row[1]), _keys(row[2] if len(row) > 2 else "")) for row in rows}


def _keys(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", cell)))


def schema() -> dict[str, Any]:
    found = get_json_schema()
    return {name.removeprefix(BASE): item for name, item in found["$defs"].items()} | {"base": found}


def properties(item: Mapping[str, Any]) -> Iterator[str]:
    yield from item.get("properties", {})
    for variant in item.get("anyOf", ()):
        yield from properties(variant)


def declared() -> dict[str, set[str]]:
    """The keys that the schema has for each row."""
    known = schema()
    edge = known["pipeline"]["properties"]["edges"]["items"]
    keys = {row: set(properties(known[name])) for row, name in SCHEMAS.items()}
    keys["item"] = set(properties(known["base"]["items"]))
    keys["node"] = {*properties(known["execution-node"]), *properties(known["task-node"])}
    return keys | {
        "edge": set(properties(edge)),
        "resources": set(properties(known["step"]["properties"]["resources"])),
    }


def test_the_page_has_every_key_of_the_schema_once() -> None:
    page, keys = documented(), declared()
    assert page.keys() == keys.keys()
    for row, (used, without) in page.items():
        assert used & without == set(), row
        assert used | without == keys[row], row


def test_no_part_of_the_schema_is_forgotten() -> None:
    assert {*SCHEMAS.values(), *OTHERS, "base", "execution-node", "task-node"} == schema().keys()


def test_the_page_agrees_with_what_is_named_on_the_commits_page() -> None:
    page = documented()
    assert page["step"][1] == unused.STEP.keys()
    assert page["mount"][1] == unused.MOUNT.keys()


STEP = """
- step:
    name: {name}
    image: i
    command: c
    {keys}
"""
KEYS = {
    "cache-volumes": "[a]", "environment-variable-groups": "[a]", "outputs": "[{name: a}]",
    "runtime-config-preset": "a", "source-path": "a", "stop-condition": "a > 1", "upload-store": "a",
}  # fmt: skip


@pytest.mark.parametrize("key", unused.STEP)
def test_each_key_of_a_step_without_effect_is_named_with_its_steps(key: str) -> None:
    file = "".join(STEP.format(name=name, keys=f"{key}: {KEYS[key]}") for name in ("train", "test"))
    assert f'step "train", "test": {key} has no effect: {unused.STEP[key]}' in parse(file.encode()).problems


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("mounts: [{source: /a, destination: /b, options: {x: 1}}]", "mounts: options"),
        ("mounts: [{source: a, destination: /b, type: nfs}]", "mounts: the mount of a"),
        ("resources: {cpu: {min: 2}}", "resources.cpu.min"),
        ("resources: {memory: {min: 2}}", "resources.memory.min"),
        ("resources: {devices: {tpu: 1}}", 'resources.devices "tpu"'),
    ],
)
def test_so_is_each_key_inside_a_step(keys: str, said: str) -> None:
    (advice,) = parse(STEP.format(name="train", keys=keys).encode()).problems
    assert advice.startswith(f'step "train": {said} has no effect: ')


def test_many_steps_are_counted() -> None:
    file = "".join(STEP.format(name=f"s{number}", keys="source-path: i") for number in range(5))
    (advice,) = parse(file.encode()).problems
    assert advice.startswith('step "s0", "s1", "s2" and 2 more: source-path has no effect: ')


def test_what_overrides_of_pipelines_say_without_effect_is_named() -> None:
    pipeline = """
- pipeline:
    name: p
    parameters: [{name: x, targets: [n.parameters.y]}]
    nodes: [{name: n, type: execution, step: train, override: {runtime-config-preset: a}}]
    edges: []
"""
    file = STEP.format(name="train", keys="parameters: [{name: y, type: float, default: 1}]") + pipeline
    assert parse(file.encode()).problems == (
        'pipeline "p": node "n": its override: runtime-config-preset has no effect: there are no presets',
    )

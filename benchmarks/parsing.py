"""Processor time of reading large valohai.yaml files: ours, the floor (PyYAML loads the text) and the ratio.

`python benchmarks/parsing.py`
"""

from __future__ import annotations

import time
from collections.abc import Callable

import yaml

from core.errors import InvalidYaml
from web.config.steps.load import LOADER
from web.config.steps.parse import parse
from web.config.steps.parse_in_child import WARM_UP

ITEMS = 10_000  # above the default limit, which would reject most of these
STEP = "- step: {{name: s{0}, image: b, command: c}}\n"
ONE = "- step: {name: s, image: b, command: c, parameters: [{name: e, type: integer}]}\n"
TASK = "- task: {{name: t{0}, step: s, parameters: []}}\n"
PIPELINE = "- pipeline: {{name: p{0}, nodes: [{{name: n, type: execution, step: s}}], edges: []}}\n"


def made(template: str, count: int, before: str = "", after: str = "") -> bytes:
    return (before + "".join(template.format(number) for number in range(count)) + after).encode()


FILES = {
    "2,200 steps": made(STEP, 2200),
    "2,200 steps, the last without an image": made(STEP, 2199, after="- step: {name: last, command: c}\n"),
    "2,200 steps without an image": made("- step: {{name: s{0}, command: c}}\n", 2200),
    "1,900 tasks": made(TASK, 1900, before=ONE),
    "900 tasks with a parameter": made(
        "- task: {{name: t{0}, step: s, parameters: [{{name: e, style: multiple, rules: {{items: [1]}}}}]}}\n",
        900,
        before=ONE,
    ),
    "1,200 pipelines": made(PIPELINE, 1200, before=ONE),
    "a step with 3,000 parameters": made(
        "      - {{name: e{0}, type: integer}}\n",
        3000,
        before="- step:\n    name: s\n    image: b\n    command: c {parameters}\n    parameters:\n",
    ),
    "a pipeline with 2,000 nodes": made(
        "      - {{name: n{0}, type: execution, step: s}}\n",
        2000,
        before=f"{ONE}- pipeline:\n    name: p\n    edges: []\n    nodes:\n",
    ),
}


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def outcome(data: bytes) -> str:
    try:
        return f"{len(parse(data, ITEMS).steps):,} steps"
    except InvalidYaml as error:
        return " ".join(error.problems[0].split())[:60]


def main() -> None:
    parse(WARM_UP)
    print(f"{'':40} {'bytes':>8} {'ours':>8} {'floor':>8} {'ratio':>6}")
    for name, data in FILES.items():
        ours = seconds(lambda data=data: outcome(data))  # type: ignore[misc]
        floor = seconds(lambda data=data: yaml.load(data, Loader=LOADER))  # type: ignore[misc]
        print(f"{name:40} {len(data):8,} {ours:7.3f}s {floor:7.3f}s {ours / floor:6.1f}  {outcome(data)}")


if __name__ == "__main__":
    main()

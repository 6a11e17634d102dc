"""The values of a form as commands to copy: a command line of `vh`, and a call of the API with curl."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.model import Target, TargetKind
from web.config.forms.fields import format_value
from web.config.overrides import Overrides

NOUNS = {TargetKind.STEP: "execution", TargetKind.TASK: "task", TargetKind.PIPELINE: "pipeline"}
CONFIGURATION = ("execution-count", "execution-batch-size", "optimization-target-metric", "optimization-target-value")
CONTINUED = " \\\n  "
UPLOADED = "~"  # begins the identifier of uploaded code
TOKEN = "$VALOHAI_TOKEN"  # noqa: S105  (the name of a variable)


@dataclass(frozen=True, kw_only=True)
class FormLaunch:
    """What a form launches, with the identifier of its commit."""

    target: Target
    project_uuid: str
    commit: str
    overrides: Overrides


def format_vh_command(launch: FormLaunch, extra: Sequence[str]) -> str:
    """Return a command line of `vh`. Values that `vh` cannot give, and `extra`, are named in a comment."""
    given, kind = launch.overrides, launch.target.kind
    commit = ["--adhoc"] if launch.commit.startswith(UPLOADED) else [f"--commit={launch.commit}"]
    words = [f"vh {NOUNS[kind]} run", *map(shlex.quote, [*commit, *_options(launch), launch.target.name])]
    for name, value in given.parameters.items():
        sign = "+=" if kind is TargetKind.PIPELINE and isinstance(value, list) else "="
        words += map(shlex.quote, _repeated(name, value, sign))
    for name, urls in given.inputs.items():
        words += map(shlex.quote, _repeated(name, list(urls), "="))
    lost = [*extra, *_lost(given, kind)]
    line = CONTINUED.join(words)
    return f"{line}\n# vh cannot give: {', '.join(lost)}" if lost else line


def build_declared_body(target: Target) -> dict[str, Any]:
    """Return the fields of a call's body that name a target that valohai.yaml declares."""
    return {"blueprint" if target.kind is TargetKind.PIPELINE else str(target.kind): target.name}


def build_task_body(task: Mapping[str, Any], given: Overrides) -> dict[str, Any]:
    """Return the body of a call that creates a task with the search of this item of a valohai.yaml."""
    parameters = {item["name"]: {"style": item["style"], "rules": item["rules"]} for item in task["parameters"]}
    for values in task.get("parameter-sets", ()):
        for name, value in values.items():
            parameters.setdefault(name, {"style": "multiple", "rules": {"items": []}})["rules"]["items"].append(value)
    for name, value in given.parameters.items():
        parameters[name] = {"style": "single", "rules": {"value": value}}
    body = {
        "step": task["step"], "type": task.get("type", "grid_search"), "parameters": parameters,
        "configuration": {key.replace("-", "_"): task[key] for key in CONFIGURATION if key in task},
        "maximum_queued_executions": task.get("maximum-queued-executions"),
        "on_child_error": str(task.get("on-child-error", "")).replace("-", "_"),
        "task_stop_expression": task.get("stop-condition"),
    }  # fmt: skip
    return {key: value for key, value in body.items() if value}


def format_curl_command(launch: FormLaunch, base_url: str, body: Mapping[str, Any]) -> str:
    """Return a call of the API with `body` beside the fields that all launches have."""
    given, kind = launch.overrides, launch.target.kind
    fields: dict[str, Any] = {"project": launch.project_uuid, "commit": launch.commit, **body}
    wanted = {
        "parameters": dict(given.parameters), "inputs": {name: list(urls) for name, urls in given.inputs.items()},
        "environment_variables": dict(given.environment_variables), "environment": given.environment,
        "image": given.image, "command": given.command, "time_limit": given.time_limit_s, "priority": given.priority,
        "title": given.title, "tags": list(given.tags),
    }  # fmt: skip
    fields |= {name: value for name, value in wanted.items() if value and name not in body}
    text = json.dumps(fields, ensure_ascii=False, indent=1)
    return CONTINUED.join([
        f"curl {shlex.quote(f'{base_url}/api/v0/{NOUNS[kind]}s/')}", f'-H "Authorization: Token {TOKEN}"',
        '-H "Content-Type: application/json"', f"-d {shlex.quote(text)}",
    ])  # fmt: skip


def _options(launch: FormLaunch) -> Iterator[str]:
    given, kind = launch.overrides, launch.target.kind
    for name in ("environment", "title"):
        if value := getattr(given, name):
            yield f"--{name}={value}"
    yield from (f"--tag={tag}" for tag in given.tags)
    if given.priority:
        yield f"--priority={given.priority}"
    if kind is TargetKind.PIPELINE:
        return
    if given.image:
        yield f"--image={given.image}"
    yield from (f"--var={name}={value}" for name, value in given.environment_variables.items())
    if given.time_limit_s and kind is TargetKind.STEP:
        yield f"--time-limit={given.time_limit_s}"


def _lost(given: Overrides, kind: TargetKind) -> Iterator[str]:
    if given.command:
        yield "the command"
    if given.time_limit_s and kind is TargetKind.TASK:
        yield "the time limit"
    yield from (f"no files for {name}" for name, urls in given.inputs.items() if not urls)
    if kind is TargetKind.TASK:
        yield from (f"several values of {name}" for name, value in given.parameters.items() if isinstance(value, list))


def _repeated(name: str, value: Any, sign: str) -> list[str]:
    """Return one option per value, with the name that `vh` makes of a parameter's or an input's."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    option = re.sub(r"[^-a-zA-Z0-9]+", "-", plain).strip("-")
    return [f"--{option}{sign}{format_value(item)}" for item in (value if isinstance(value, list) else [value])]

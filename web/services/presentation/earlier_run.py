"""The values of an earlier run as texts of the form that launches it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from valohai_yaml.utils import listify

from core.groups import Pipeline, Task
from core.model import Execution
from core.units import format_limit
from web.config.forms.fields import Field, format_value
from web.config.forms.run_form import MORE_VARIABLES, Places, RunForm, make_run_form
from web.config.forms.search_fields import STYLE

Run = Execution | Task | Pipeline
Texts = dict[str, list[str]]


def prefill_form(config: Any, form: RunForm, places: Places, run: Run, time_limit_s: float) -> RunForm:
    """Return the form of a configuration with the values of an earlier run.

    `time_limit_s` is the server's, for steps that have none.
    """
    texts = _about(form, run)
    if isinstance(run, Execution):
        texts |= _of_execution(form, run, time_limit_s)
    else:
        texts |= _of_group(form, make_run_form([*config, *run.config], form.target, places), run)
    return form.filled(texts)


def choose_configuration(config: Any, run: Run) -> Any:
    """Return the configuration itself if it declares the run's target, else the items that the run was made from."""
    if isinstance(run, Execution):
        return config
    kind = "task" if isinstance(run, Task) else "pipeline"
    names = [item[kind].get("name") for item in config or () if kind in item]
    return config if run.name in names else run.config


def _about(form: RunForm, run: Run) -> Texts:
    slugs = [value for value, _ in form.fields["environment"].choices]
    return {
        "title": [run.title],
        "tags": [", ".join(run.tags)],
        "priority": [str(run.priority)],
        "environment": [run.environment if run.environment in slugs else ""],
    }


def _of_execution(form: RunForm, run: Execution, time_limit_s: float) -> Texts:
    texts = dict(_parameters(form.parameters, run.parameters, emptied=True))
    texts |= {field.key: list(run.inputs[field.name]["urls"]) for field in form.inputs if field.name in run.inputs}
    texts |= _variables(form, run.environment_variables) | {"image": [run.image]}
    own = (form.step.time_limit_s if form.step else None) or time_limit_s or None
    texts["time_limit"] = [format_limit(run.time_limit_s)] if run.time_limit_s and run.time_limit_s != own else [""]
    if any(change.name == "command" for change in run.changed):
        keys = [field.key for field in form.container if field.key.startswith("command:")]
        given = [*run.commands[: len(keys) - 1], "\n".join(run.commands[len(keys) - 1 :])]
        texts |= {key: [command] for key, command in zip(keys, [*given, *[""] * len(keys)], strict=False)}
    return texts


def _of_group(form: RunForm, ran: RunForm, run: Task | Pipeline) -> Texts:
    """Return the values that the run's own items declare, and those that were given with it."""
    texts: Texts = {field.key: list(field.values) for field in (*ran.search, *ran.variants, *ran.parameters)}
    texts |= _parameters(form.parameters, run.parameters)
    if isinstance(run, Task):
        texts |= {f"{STYLE}{name}": ["single"] for name in run.parameters}
        texts |= {field.key: list(run.inputs[field.name]) for field in form.inputs if field.name in run.inputs}
        texts |= _variables(form, run.environment_variables)
        texts |= {field.key: list(field.values) for field in ran.container}
    return texts


def _parameters(fields: tuple[Field, ...], given: Mapping[str, Any], *, emptied: bool = False) -> Texts:
    texts = {}
    for field in fields:
        if field.name in given:
            texts[field.key] = [format_value(item) for item in listify(given[field.name]) if item is not None]
        elif emptied:
            texts[field.key] = []
    return texts


def _variables(form: RunForm, given: Mapping[str, str]) -> Texts:
    declared = {field.name: field.key for field in form.variables if field.key != MORE_VARIABLES}
    more = [f"{name}={value}" for name, value in given.items() if name not in declared]
    return {declared[name]: [value] for name, value in given.items() if name in declared} | {MORE_VARIABLES: more}

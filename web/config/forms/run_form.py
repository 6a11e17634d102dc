"""The form that launches a step, a task or a pipeline of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from valohai_yaml.utils.duration import parse_duration_string

from core.errors import Problem
from core.model import Target, TargetKind
from core.names import explain_unknown_name
from core.units import format_limit
from web.config.forms.fields import (
    INPUT,
    PARAMETER,
    VARIABLE,
    Control,
    Field,
    Texts,
    make_input_field,
    make_parameter_field,
    make_variable_field,
)
from web.config.forms.pipeline_fields import iterate_pipeline_fields
from web.config.forms.search_fields import STYLE, apply_search, make_search_fields
from web.config.overrides import Overrides
from web.config.pipelines.override import apply_override
from web.config.steps.model import Step, load_step, map_step_items
from web.config.tasks.blueprint import get_task_item, load_task

GROUPS = ("search", "variants", "parameters", "inputs", "place", "container", "variables", "about")
PREFIXES = {"parameters": PARAMETER, "inputs": INPUT, "environment_variables": VARIABLE, "command": "command:"}
NOUNS = {PARAMETER: "parameter", INPUT: "input", VARIABLE: "environment variable"}
MORE_VARIABLES = "variables"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The environments that a project may use, and its default one."""

    slugs: Sequence[str]
    default: str


@dataclass(frozen=True, kw_only=True)
class RunForm:
    """Groups of fields.

    `search` and `variants` are of a task: what it searches and how each parameter varies. `problems` belong to no
    field.
    """

    target: Target
    step: Step | None
    search: tuple[Field, ...] = ()
    variants: tuple[Field, ...] = ()
    parameters: tuple[Field, ...] = ()
    inputs: tuple[Field, ...] = ()
    place: tuple[Field, ...] = ()
    container: tuple[Field, ...] = ()
    variables: tuple[Field, ...] = ()
    about: tuple[Field, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Field]:
        return {field.key: field for group in GROUPS for field in getattr(self, group)}

    def filled(self, texts: Texts) -> RunForm:
        """Return the form with the submitted texts, or those of an earlier run."""
        return self._each(lambda field: field.filled(texts))

    def with_problems(self, problems: Sequence[str]) -> RunForm:
        """Return the form with each problem beside its field."""
        keyed: dict[str, list[str]] = {}
        for problem in problems:
            key = self._key(problem)
            keyed.setdefault(key, []).append(_without_name(problem) if key else str(problem))
        form = self._each(lambda field: replace(field, problems=tuple(keyed.get(field.key, ()))))
        return replace(form, problems=tuple(keyed.get("", ())))

    def _key(self, problem: str) -> str:
        """Return the key of a problem's field, "" if the form has no such field."""
        if not isinstance(problem, Problem):
            return ""
        known = self.fields
        wanted = [f"{PREFIXES.get(problem.field, '')}{problem.name}", problem.field, f"{problem.field}:0"]
        if problem.field == "environment_variables":
            wanted.append(MORE_VARIABLES)
        return next((key for key in wanted if key in known), "")

    def _each(self, change: Callable[[Field], Field]) -> RunForm:
        groups: dict[str, Any] = {group: tuple(map(change, getattr(self, group))) for group in GROUPS}
        return replace(self, **groups)


def make_run_form(config: Any, target: Target, places: Places) -> RunForm:
    """Return the form with the values of valohai.yaml. Raises NotFound and CannotRun."""
    if target.kind is TargetKind.PIPELINE:
        return RunForm(
            target=target,
            step=None,
            parameters=tuple(iterate_pipeline_fields(config, target.name)),
            place=_place(places, "as each step says"),
            about=_about(),
        )
    blueprint = load_task(config, target.name) if target.kind is TargetKind.TASK else None
    step = load_step(config, blueprint.step if blueprint else target.name)
    own = step.environment if step.environment and step.environment in places.slugs else places.default
    search, variants = make_search_fields(blueprint, step.parameters) if blueprint else ((), ())
    fixed = {field.name: field for field in variants if field.key.startswith(PARAMETER)}
    return RunForm(
        target=target,
        step=step,
        search=search,
        variants=tuple(field for field in variants if not field.key.startswith(PARAMETER)),
        parameters=tuple(fixed.get(item.name) or make_parameter_field(item) for item in step.parameters),
        inputs=tuple(map(make_input_field, step.inputs)),
        place=_place(places, own),
        container=tuple(_container(step)),
        variables=(*map(make_variable_field, step.environment_variables), _more_variables()),
        about=_about(),
    )


def read_form(form: RunForm) -> tuple[Overrides, list[Problem]]:
    """Return the values that differ from those of valohai.yaml, and the problems of fields that cannot be read."""
    fields, problems = form.fields, list(_empty(form))
    fixed = [field for field in form.parameters if f"{STYLE}{field.name}" not in fields
             or fields[f"{STYLE}{field.name}"].text == "single"]  # fmt: skip
    parameters = {field.name: field.value() for field in fixed if field.changed and field.values}
    priority = fields["priority"].text.strip() or "0"
    if not priority.removeprefix("-").isdecimal() or len(priority) > 9:
        problems.append(Problem(f"{priority[:80]!r} is not a whole number", "priority"))
        priority = "0"
    commands = [field.text for field in form.container if field.key.startswith("command:")]
    changed = any(field.changed for field in form.container if field.key.startswith("command:"))
    return Overrides(
        parameters=parameters,
        inputs={field.name: field.values for field in form.inputs if field.changed},
        environment_variables=dict(_variables(form, problems)),
        image=fields["image"].text.strip() if _given(fields, "image") else "",
        command=[command for command in commands if command.strip()] if changed else "",
        environment=fields["environment"].text,
        time_limit_s=_seconds(fields, problems),
        priority=int(priority),
        title=fields["title"].text.strip(),
        tags=tuple(tag.strip() for tag in fields["tags"].text.split(",") if tag.strip()),
    ), problems


def find_undeclared(form: RunForm, texts: Texts) -> Iterator[Problem]:
    """Yield a problem for each text of a parameter, input or variable that the target does not declare."""
    fields = form.fields
    for key in texts:
        prefix = next(filter(key.startswith, NOUNS), "")
        if prefix and key not in fields:
            known = [field.name for field in fields.values() if field.key.startswith(prefix)]
            yield Problem(explain_unknown_name(NOUNS[prefix], key.removeprefix(prefix), known))


def build_launched_items(config: Any, form: RunForm) -> list[dict[str, Any]] | None:
    """Return items of a valohai.yaml with the form's search and without emptied defaults; None if nothing changes them.

    Values that a launch can give are not in them.
    """
    target, emptied = form.target, [f for f in form.parameters if f.changed and not f.values and f.optional]
    changed = any(field.changed for field in (*form.search, *form.variants))
    if target.kind is TargetKind.PIPELINE or not (emptied or changed):
        return None
    task = get_task_item(config, target.name)["task"] if target.kind is TargetKind.TASK else None
    body: Mapping[str, Any] = map_step_items(config)[task["step"] if task else target.name]["step"]
    if emptied:
        body = apply_override(body, {"parameters": [{"name": field.name} for field in emptied]})
    items: list[dict[str, Any]] = [{"step": dict(body)}]
    return [*items, {"task": apply_search(task, form.fields)}] if task else items


def _without_name(problem: str) -> str:
    """Return a problem without the name of its field, next to which it is shown."""
    name = getattr(problem, "name", "")
    kinds = ("parameter", "input")
    return next((problem.removeprefix(start) for kind in kinds if problem.startswith(start := f'{kind} "{name}": ')),
                str(problem))  # fmt: skip


def _given(fields: Mapping[str, Field], key: str) -> bool:
    return key in fields and fields[key].changed and bool(fields[key].text.strip())


def _empty(form: RunForm) -> Iterator[Problem]:
    """Yield problems of emptied fields whose default would apply unnoticed."""
    for field in form.parameters:
        if field.changed and not field.values and not field.optional:
            yield Problem(f'parameter "{field.name}" needs a value', "parameters", field.name, "required")
    for field in form.container:
        if field.key == "image" and not field.text.strip():
            yield Problem("the image needs a name", "image", code="required")


def _seconds(fields: Mapping[str, Field], problems: list[Problem]) -> int | None:
    if not _given(fields, "time_limit"):
        return None
    text = fields["time_limit"].text.strip()
    try:
        return int(text) if text.isdecimal() else math.ceil(parse_duration_string(text).total_seconds())
    except (ValueError, IndexError, OverflowError):  # IndexError for a number without a unit
        problems.append(Problem(f"{text[:80]!r} is not a time such as 90 min or 6 h", "time_limit"))
        return None


def _variables(form: RunForm, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    for field in form.variables:
        if field.key != MORE_VARIABLES:
            if field.changed:
                yield field.name, field.text
            continue
        for line in field.values:
            name, sign, value = line.partition("=")
            if not sign:
                problems.append(Problem(f"{line[:80]!r} is not NAME=VALUE", "environment_variables"))
            else:
                yield name.strip(), value


def _place(places: Places, own: str) -> tuple[Field, ...]:
    named = own if own in places.slugs else ""
    first = ("", f"{named} (default)" if named else f"{own or places.default}")
    choices = (first, *((slug, slug) for slug in places.slugs if slug != named))
    return (
        Field(key="environment", name="Environment", control=Control.SELECT, choices=choices, optional=False),
        Field(key="priority", name="Priority", control=Control.TEXT, default=("0",), values=("0",), type="integer",
              notes="higher ones start first"),
    )  # fmt: skip


def _about() -> tuple[Field, ...]:
    return (
        Field(key="title", name="Title", control=Control.TEXT),
        Field(key="tags", name="Tags", control=Control.TEXT, notes="separated by commas"),
    )


def _container(step: Step) -> Iterator[Field]:
    yield Field(key="image", name="Image", control=Control.TEXT, default=(step.image,), values=(step.image,),
                optional=False)  # fmt: skip
    own = f"default: {format_limit(step.time_limit_s)}" if step.time_limit_s else "such as 90 min or 6 h"
    yield Field(key="time_limit", name="Time limit", control=Control.TEXT, notes=own)
    for number, command in enumerate((*step.commands, "")):
        texts = (command,) if command else ()
        name = f"Command {number + 1}" if command else "One more command"
        yield Field(key=f"command:{number}", name=name, control=Control.TEXTAREA, default=texts, values=texts)


def _more_variables() -> Field:
    return Field(key=MORE_VARIABLES, name="More variables", control=Control.LINES, notes="NAME=VALUE, one per line")

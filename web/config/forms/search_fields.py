"""Fields of a task's search: its kind and limits, and the values that it tries for each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from valohai_yaml.utils import listify

from web.config.forms.fields import Control, Field, format_declared_value, format_value, make_parameter_field
from web.config.steps.model import StepParameter, to_declared_type
from web.config.tasks.blueprint import OnChildError, SearchType, TaskBlueprint, Variant

STYLE, ITEMS, RULE = "style:", "items:", "rule:"
STYLES = (("single", "one value"), ("multiple", "list"), ("linear", "even steps"), ("logspace", "logarithmic"),
          ("random", "random"))  # fmt: skip
RULES = {
    "linear": ("start", "end", "step"),
    "logspace": ("start", "end", "base", "count"),
    "random": ("min", "max", "distribution", "count", "seed"),
}
SEARCHES = {
    SearchType.GRID: "grid: every combination",
    SearchType.RANDOM: "random",
    SearchType.BAYESIAN: "Bayesian: learns from results",
    SearchType.MANUAL: "manual: one set after the other",
}
LIMITS = {  # of a task's body: label and note
    "execution-count": ("Executions", "of a random or Bayesian search"),
    "maximum-queued-executions": ("At once", "executions that run or wait"),
    "execution-batch-size": ("Batch", "of a Bayesian search"),
    "optimization-target-metric": ("Metric", "to optimize"),
    "optimization-target-value": ("Target value", ""),
    "stop-condition": ("Stop condition", "such as loss < 0.1"),
}
WHOLE = ("execution-count", "maximum-queued-executions", "execution-batch-size")


def make_search_fields(
    blueprint: TaskBlueprint, parameters: Sequence[StepParameter]
) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Return the fields of a search, and those of its parameters."""
    variants = {variant.name: variant for variant in blueprint.variants}
    fields = [field for item in parameters for field in _variant(item, variants.get(item.name))]
    return tuple(_search(blueprint)), tuple(fields)


def apply_search(task: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return the body of a task with the form's search. Changed parameters of one value are left to the launch."""
    body = dict(task)
    before = {variant["name"]: variant for variant in task.get("parameters", ())}
    body["type"] = fields["type"].text
    body["on-child-error"] = fields["on-child-error"].text
    for key in LIMITS:
        body.pop(key, None)
        if fields[key].text.strip():
            body[key] = _limit(key, fields[key].text.strip())
    styles = [field for field in fields.values() if field.key.startswith(STYLE)]
    body["parameters"] = [item for style in styles for item in _written(style, fields, before.get(style.name, {}))]
    return body


def _search(blueprint: TaskBlueprint) -> Iterator[Field]:
    yield _select("type", "Kind", blueprint.type, SEARCHES)
    given: dict[str, Any] = {
        "execution-count": blueprint.execution_count,
        "maximum-queued-executions": blueprint.max_unfinished,
        "execution-batch-size": blueprint.batch_size,
        "optimization-target-metric": blueprint.target_metric or None,
        "optimization-target-value": blueprint.target_value,
        "stop-condition": blueprint.stop_condition or None,
    }
    for key, (label, notes) in LIMITS.items():
        texts = tuple(format_value(value) for value in listify(given[key]))
        kind = "integer" if key in WHOLE else "string"
        yield Field(key=key, name=label, control=Control.TEXT, default=texts, values=texts, notes=notes, type=kind)
    yield _select("on-child-error", "If one fails", blueprint.on_child_error, {
        OnChildError.CONTINUE_AND_ERROR: "continue; the task fails at the end",
        OnChildError.CONTINUE_AND_COMPLETE: "continue",
        OnChildError.STOP_ALL_AND_ERROR: "stop all",
    })  # fmt: skip


def _variant(parameter: StepParameter, variant: Variant | None) -> Iterator[Field]:
    """Yield the style of a parameter, the field of its one value, its list and its rules."""
    name, style = parameter.name, variant.style if variant else "single"
    rules: Mapping[str, Any] = variant.rules if variant else {}
    styles = STYLES if parameter.choices is None and parameter.type in ("integer", "float") else STYLES[:2]
    yield Field(key=f"{STYLE}{name}", name=name, control=Control.SELECT, default=(style,), values=(style,),
                choices=styles, optional=False)  # fmt: skip
    one = make_parameter_field(parameter)
    if style == "single" and rules.get("value") is not None:
        texts = (format_declared_value(parameter.type, rules["value"]),)
        one = replace(one, default=texts, values=texts)
    yield one
    items = tuple(format_value(item) for item in rules.get("items") or ()) if style == "multiple" else ()
    yield Field(key=f"{ITEMS}{name}", name=name, control=Control.EACH, default=items, values=items,
                type=parameter.type, notes="one value per line")  # fmt: skip
    for rule in dict.fromkeys(rule for names in RULES.values() for rule in names) if len(styles) > 2 else ():
        written = tuple(format_value(value) for value in listify(rules.get(rule)))
        yield Field(key=f"{RULE}{rule}:{name}", name=rule, control=Control.TEXT, default=written, values=written)


def _written(style: Field, fields: Mapping[str, Field], before: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the variant of a parameter, as an item of a task; `before` is the one of valohai.yaml."""
    name, chosen = style.name, style.text
    if chosen == "single":
        yield from [dict(before)] if before.get("style") == "single" else []
        return
    rules = dict(before["rules"]) if before.get("style") == chosen else {}
    if chosen == "multiple":
        found = fields[f"{ITEMS}{name}"]
        rules["items"] = listify(found.value())
    else:
        texts = {rule: fields[f"{RULE}{rule}:{name}"].text.strip() for rule in RULES.get(chosen, ())}
        rules |= {rule: _number(text) for rule, text in texts.items()}
        rules = {rule: value for rule, value in rules.items() if value != ""}
    yield {"name": name, "style": chosen, "rules": rules}


def _limit(key: str, text: str) -> Any:
    return _number(text) if key in WHOLE or key == "optimization-target-value" else text


def _number(text: str) -> Any:
    for kind in ("integer", "float"):
        if (value := to_declared_type(kind, text)) is not text:
            return value
    return text


def _select(key: str, label: str, default: str, choices: Mapping[Any, str]) -> Field:
    pairs = tuple((str(value), text) for value, text in choices.items())
    return Field(key=key, name=label, control=Control.SELECT, default=(str(default),), values=(str(default),),
                 choices=pairs, optional=False)  # fmt: skip

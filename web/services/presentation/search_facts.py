"""Description of a task's search: what it tries and when it ends, in the words used on pages."""

from __future__ import annotations

from core.errors import PushmillError
from core.groups import Task
from web.config.tasks.blueprint import OnChildError, SearchType, TaskBlueprint, Variant, load_task
from web.services.presentation import formats

TYPES = {
    SearchType.GRID: "grid search",
    SearchType.RANDOM: "random search",
    SearchType.MANUAL: "manual search",
    SearchType.BAYESIAN: "Bayesian search",
}
ON_CHILD_ERROR = {
    OnChildError.CONTINUE_AND_COMPLETE: "Continue; task succeeds at the end",
    OnChildError.CONTINUE_AND_ERROR: "Continue; task fails at the end",
    OnChildError.STOP_ALL_AND_ERROR: "Stop all; task fails",
}


def format_search_type(kind: str) -> str:
    """Return the display name of a type of search."""
    return TYPES[SearchType(kind)] if kind in set(SearchType) else kind.replace("_", " ")


def find_blueprint(task: Task) -> TaskBlueprint | None:
    """Return the task as declared in valohai.yaml; None if it is no longer valid: its results must stay visible."""
    try:
        return load_task(task.config, task.name)
    except PushmillError:
        return None


def list_facts(blueprint: TaskBlueprint | None) -> list[tuple[str, str]]:
    """List the task's declared settings as (name, text); defaults are omitted, except for the error behaviour."""
    if blueprint is None:
        return []
    found = [(variant.name, _variant(variant)) for variant in blueprint.variants]
    if blueprint.parameter_sets:
        found.append(("Parameter sets", str(len(blueprint.parameter_sets))))
    if blueprint.max_unfinished:
        found.append(("Concurrent executions", f"at most {blueprint.max_unfinished}"))
    if blueprint.batch_size:
        found.append(("Batch size", str(blueprint.batch_size)))
    if blueprint.stop_condition:
        found.append(("Stop condition", blueprint.stop_condition))
    return [
        *found,
        ("On error", ON_CHILD_ERROR[blueprint.on_child_error]),
        *(("Note", note) for note in blueprint.notes),
    ]


def _variant(variant: Variant) -> str:
    """Describe a variant, such as "linear: start 1, end 5, step 2"."""
    if variant.style == "multiple":
        items = variant.rules.get("items")
        return ", ".join(map(formats.format_value, items if isinstance(items, list | tuple) else [items]))
    rules = ", ".join(f"{name} {formats.format_value(given)}" for name, given in variant.rules.items())
    return rules.removeprefix("value ") if variant.style == "single" else f"{variant.style}: {rules}"

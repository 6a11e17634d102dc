"""Gather the values that a node starts with: the pipeline's parameters, and values and files along its edges."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.datum import make_datum_url
from core.errors import InvalidInput
from core.groups import Pipeline
from core.model import Execution
from web.config.pipelines import sockets
from web.config.pipelines.model import Edge, Node, PipelineBlueprint
from web.config.pipelines.plan import build_task_items, explain_cannot_run, resolve_parameter_values
from web.config.pipelines.values import NodeValues, make_matcher, merge_values
from web.config.steps.resolve import ResolvedStep, resolve
from web.config.tasks.plan import TaskPlan
from web.config.tasks.plan import plan as plan_task
from web.services.pipelines import runs
from web.services.pipelines.runs import NodeRun
from web.store import data, metadata, variables
from web.store.db import Database

MAX_FILES = 10_000  # along the edges into one node: each is stored as a URL with its executions
PAGE = 1000
METADATA, PARAMETER = "metadata.", "parameter."  # prefixes of names in conditions

Sources = Mapping[str, NodeRun]  # by node name; only nodes that have run


def prepare(
    db: Database, pipeline: Pipeline, blueprint: PipelineBlueprint, node: Node, sources: Sources
) -> ResolvedStep | TaskPlan:
    """Return the step or task that the node runs. Raises InvalidInput with the reason if it cannot."""
    values = gather_inputs(db, pipeline, blueprint, node, sources)
    given: dict[str, Any] = {
        "parameters": values.parameters,
        "inputs": values.inputs,
        "environment_variables": values.environment_variables,
        "provided": variables.list_names(db, pipeline.project_id),
    }
    try:
        if node.kind == "task":
            items, name = build_task_items(pipeline.config, node, values.variants)
            return plan_task(items, name, **given)
        resolved = resolve([node.step], node.step_name, **given)
    except InvalidInput as error:
        raise InvalidInput("; ".join([explain_cannot_run(error), *values.notes])) from None
    return replace(resolved, notes=(*resolved.notes, *values.notes))


def gather_inputs(
    db: Database, pipeline: Pipeline, blueprint: PipelineBlueprint, node: Node, sources: Sources
) -> NodeValues:
    """Return the values of a node whose sources have ended."""
    values = NodeValues(parameters=resolve_parameter_values(blueprint, node.name, pipeline.parameters))
    left = MAX_FILES
    for edge in blueprint.edges_into(node.name):
        ran = runs.list_executions(db, sources[edge.source]) if edge.source in sources else []
        if edge.target_type == "input":
            urls = _files(db, edge, ran, left)
            left -= len(urls)
            values.add_files(node, edge, urls)
        elif edge.target_type != "dependency":
            values.add_value(node, edge, VALUES[edge.source_type](db, ran, edge.source_key))
    return values


def gather_condition_values(db: Database, run: NodeRun, names: Collection[str]) -> dict[str, Any]:
    """Return the known values of `names`, used in conditions of actions, from what a node ran."""
    ran = runs.list_executions(db, run)
    keys = [name.removeprefix(METADATA) for name in names if name.startswith(METADATA)]
    latest = _latest(db, ran, keys)
    values = {f"{METADATA}{key}": latest[key] for key in keys if key in latest}
    for name in names:
        if name.startswith(PARAMETER):
            value = _parameter(db, ran, name.removeprefix(PARAMETER))
            values |= {} if value is None else {name: value}
    return values


def _files(db: Database, edge: Edge, ran: Sequence[Execution], most: int) -> list[str]:
    found: list[str] = []
    for url in _outputs(db, edge, ran) if edge.source_type == "output" else _inputs(edge, ran):
        if len(found) == most:
            raise InvalidInput(f"its edges provide more than {MAX_FILES:,} files, the last {sockets.format_edge(edge)}")
        found.append(url)
    return found


def _outputs(db: Database, edge: Edge, ran: Sequence[Execution]) -> Iterator[str]:
    """Yield URLs of outputs that match the edge's name or pattern; metadata sidecars match by exact name only."""
    meant = make_matcher(edge.source_key)
    for execution in ran:
        offset, sidecars = 0, data.list_sidecars(db, execution.id)
        while page := data.list_outputs(db, execution.id, PAGE, offset):
            for datum in page:
                wanted = datum.name == edge.source_key or (meant(datum.name) and datum.uuid not in sidecars)
                if wanted and datum.purged_at is None:
                    yield make_datum_url(datum.uuid)
            offset += PAGE


def _inputs(edge: Edge, ran: Sequence[Execution]) -> Iterator[str]:
    """Yield the input URLs of the source, without duplicates among its trials."""
    seen: dict[str, None] = {}
    for execution in ran:
        for name in sockets.list_matching_files(execution.inputs, edge):
            seen |= dict.fromkeys(execution.inputs[name]["urls"])
    yield from seen


def _parameter(db: Database, ran: Sequence[Execution], key: str) -> Any:  # noqa: ARG001
    return merge_values([execution.parameters.get(key) for execution in ran])


def _variable(db: Database, ran: Sequence[Execution], key: str) -> Any:  # noqa: ARG001
    return merge_values([execution.environment_variables.get(key) for execution in ran])


def _metadata(db: Database, ran: Sequence[Execution], key: str) -> Any:
    return _latest(db, ran, [key]).get(key)


def _latest(db: Database, ran: Sequence[Execution], keys: Collection[str]) -> dict[str, Any]:
    """Return the latest value of each key; for a task, the value of the trial that ended last."""
    if not ran:
        return {}
    if ran[0].task_id is None:
        return metadata.get_latest(db, ran[0].id)
    by_counter = metadata.map_latest_for_task(db, ran[0].task_id, keys)
    latest: dict[str, Any] = {}
    for execution in sorted(ran, key=lambda execution: execution.ended_at or ""):
        latest |= by_counter.get(execution.counter, {})
    return latest


VALUES: Mapping[str, Callable[[Database, Sequence[Execution], str], Any]] = {
    "parameter": _parameter,
    "metadata": _metadata,
    "environment-variable": _variable,
}

"""Load and check a pipeline of a stored configuration: its nodes, edges, parameters and actions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import valohai_yaml
from valohai_yaml.objs.pipelines import ExecutionNode, TaskNode
from valohai_yaml.objs.pipelines import Node as LibraryNode
from valohai_yaml.objs.pipelines import NodeAction as LibraryAction
from valohai_yaml.objs.pipelines import Pipeline as LibraryPipeline
from valohai_yaml.objs.pipelines import PipelineParameter as LibraryParameter
from valohai_yaml.objs.pipelines.edge_merge_mode import EdgeMergeMode

from core.errors import CannotRun, InvalidInput, NotFound
from core.names import explain_unknown_name
from web.config import conditions
from web.config.pipelines import graph, sockets
from web.config.pipelines.model import Edge, Node, NodeAction, OnError, PipelineBlueprint, PipelineParameter
from web.config.pipelines.override import apply_override, find_override_mistakes
from web.config.steps.model import map_step_items
from web.config.tasks.blueprint import load_task

__all__ = [
    "Edge",
    "Node",
    "NodeAction",
    "OnError",
    "PipelineBlueprint",
    "PipelineParameter",
    "list_pipeline_names",
    "load_pipeline",
    "map_pipeline_bodies",
]

MAX_NODES = 100
MAX_EDGES = 1000
MAX_PARAMETERS = 1000
STEPS_CHARS = 500_000  # of the steps of all nodes, as text: a long step may be used by a hundred nodes
NAME_CHARS = 100
PROBLEMS = 10  # reported at once

WHENS = ("node-starting", "node-complete", "node-error")
THENS = ("stop-pipeline", "error-pipeline", "require-approval", "noop")
LIBRARY = "library:"


def list_pipeline_names(config: Any) -> tuple[str, ...]:
    """Return the names of the pipelines of a stored configuration, in file order."""
    return tuple(map_pipeline_bodies(config))


def map_pipeline_bodies(config: Any) -> dict[str, dict[str, Any]]:
    """Return the pipelines as written, by name; the last of several with the same name counts.

    `blueprint` is an old word for `pipeline`.
    """
    items = config if isinstance(config, list) else []
    found = (item[key] for item in items for key in ("pipeline", "blueprint") if key in item)
    return {body["name"]: body for body in found}


def load_pipeline(config: Any, name: str) -> PipelineBlueprint:
    """Load the pipeline `name` of a stored configuration. Raises NotFound, and InvalidInput if it cannot run here."""
    written = map_pipeline_bodies(config)
    if name not in written:
        raise NotFound(explain_unknown_name("pipeline", name, written))
    body = written[name]
    if problem := _size_problem(body):
        raise CannotRun(f'pipeline "{name:.{NAME_CHARS}}"', [problem])
    library: LibraryPipeline = valohai_yaml.parse([{"pipeline": body}], validate=False).pipelines[name]
    found = _PipelineFindings()
    nodes = _nodes(config, library, body, found)
    if not found.problems:
        edges = tuple(_edges(body.get("edges", ()), nodes, found))
        parameters = tuple(_parameters(library.parameters, nodes, found))
    if found.problems:
        more = len(found.problems) - PROBLEMS
        told = [*found.problems[:PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        raise CannotRun(f'pipeline "{name:.{NAME_CHARS}}"', told)
    return PipelineBlueprint(
        name=name,
        nodes=tuple(nodes.values()),
        edges=edges,
        parameters=parameters,
        notes=tuple(found.notes),
        reuses=bool(library.reuse_executions),
    )


@dataclass
class _PipelineFindings:
    """Problems and notes, collected so that all are reported at once."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _size_problem(body: Mapping[str, Any]) -> str:
    for key, most in (("nodes", MAX_NODES), ("edges", MAX_EDGES), ("parameters", MAX_PARAMETERS)):
        if len(body.get(key, ())) > most:
            return f"it has {len(body[key]):,} {key}; at most {most:,} are allowed"
    if not body["nodes"]:
        return "it has no nodes"
    problem = _name_problem(body["name"])
    return f"its name {problem}" if problem else ""


def _name_problem(name: str) -> str:
    if not name.strip():
        return "is empty"
    if not name.isprintable():
        return "has control characters"
    return f"has more than {NAME_CHARS} characters" if len(name) > NAME_CHARS else ""


def _nodes(config: Any, library: LibraryPipeline, body: Mapping[str, Any], found: _PipelineFindings) -> dict[str, Node]:
    """Return the nodes that can run, by name, in file order."""
    for name, count in Counter(node.name for node in library.nodes).items():
        if count > 1:
            found.problems.append(f'{count} nodes have the name "{name:.80}"')
        if problem := _name_problem(name) or ("has a dot, so no edge can name it" if "." in name else ""):
            found.problems.append(f"the name of node {name!r:.80} {problem}")
    nodes, chars = {}, 0
    for declared, written in zip(library.nodes, body["nodes"], strict=True):
        try:
            node = _node(config, declared, written.get("override", {}), found.notes)
        except (NotFound, InvalidInput) as error:
            found.problems.append(f'node "{declared.name:.80}": {error}')
            continue
        nodes[node.name] = node
        chars += len(json.dumps(node.step))
        if chars > STEPS_CHARS:
            found.problems.append(f"the steps of its nodes have together more than {STEPS_CHARS:,} characters")
            break  # each further node may be as large
    return nodes


def _node(config: Any, declared: LibraryNode, override: Mapping[str, Any], notes: list[str]) -> Node:
    if not isinstance(declared, ExecutionNode | TaskNode):
        raise InvalidInput("deployments do not run here")
    if declared.commit:
        raise InvalidInput(_other_commit(declared.commit))
    task = declared.task or "" if isinstance(declared, TaskNode) else ""
    step_name = load_task(config, task).step if task else declared.step
    steps = map_step_items(config)
    if step_name not in steps:
        raise NotFound(explain_unknown_name("step", step_name, steps))
    item = steps[step_name]
    where = f'node "{declared.name}": '
    if override:
        notes += [where + note for note in find_override_mistakes(item["step"], override)]
        item = {"step": apply_override(item["step"], override)}
    return Node(
        name=declared.name,
        kind=declared.type,
        step=item,
        task=task,
        actions=tuple(_action(action, where, notes) for action in declared.actions),
        on_error=OnError(declared.on_error.value),
        appends=declared.edge_merge_mode is EdgeMergeMode.APPEND,
    )


def _other_commit(commit: str) -> str:
    if commit.startswith(LIBRARY):
        return f"{commit:.100} is a library of steps, and libraries are not supported"
    return f"its commit {commit:.80} is not supported: all nodes run at the commit of the pipeline"


def _action(action: LibraryAction, where: str, notes: list[str]) -> NodeAction:
    """Parse an action. Raises InvalidInput for an invalid condition: ignoring it would let everything pass."""
    if unclear := [problem for problem in map(conditions.find_problem, action.if_) if problem]:
        raise InvalidInput(f"the condition of an action: {unclear[0]}")
    whens, thens = sorted(action.when), [str(then).lower() for then in action.then]
    for key, words, known in (("when", whens, WHENS), ("then", thens, THENS)):
        notes += [f"{where}the action's {key} {word!r:.80} is ignored; supported are {', '.join(known)}"
                  for word in words if word not in known]  # fmt: skip
    if "require-approval" in thens and whens == ["node-error"]:
        notes.append(f"{where}require-approval is ignored when the node has failed")
    return NodeAction(when=tuple(whens), conditions=tuple(action.if_), then=tuple(thens))


def _edges(written: Iterable[Any], nodes: Mapping[str, Node], found: _PipelineFindings) -> list[Edge]:
    edges = []
    for item in written:
        source, target = (item["source"], item["target"]) if isinstance(item, dict) else item
        try:
            edges.append(sockets.parse_edge(source, target))
        except InvalidInput as error:
            found.problems.append(str(error))
        if isinstance(item, dict) and item.get("configuration"):
            found.notes.append(f"the configuration of the edge {source:.80} → {target:.80} is ignored")
    found.problems += sockets.find_edge_problems(edges, nodes)
    if not found.problems and (names := graph.find_cycle(nodes, {(edge.source, edge.target) for edge in edges})):
        found.problems.append(f"its edges form a cycle: {' → '.join([*names, names[0]])}"[:500])
    return edges


def _parameters(
    declared: Sequence[LibraryParameter], nodes: Mapping[str, Node], found: _PipelineFindings
) -> Iterator[PipelineParameter]:
    for name, count in Counter(parameter.name for parameter in declared).items():
        if count > 1:
            found.problems.append(f'{count} parameters of the pipeline have the name "{name:.80}"')
    for parameter in declared:
        targets = []
        for target in parameter.targets:
            try:
                targets.append(_target(target, nodes))
            except InvalidInput as error:
                found.problems.append(f'parameter "{parameter.name:.80}" of the pipeline: {error}')
        if not parameter.targets:
            found.notes.append(f'parameter "{parameter.name:.80}" of the pipeline has no targets')
        yield PipelineParameter(
            name=parameter.name,
            default=parameter.default,
            targets=tuple(targets),
            description=parameter.description or "",
            category=parameter.category or "",
        )


def _target(text: str, nodes: Mapping[str, Node]) -> tuple[str, str]:
    node, kind, key = sockets.parse_socket(text)
    if kind != "parameter":
        raise InvalidInput(f"{text:.200} is not a parameter of a node; write NODE.parameter.NAME")
    if node not in nodes:
        raise InvalidInput(f"{text:.200}: {explain_unknown_name('node', node, nodes)}")
    if key not in sockets.map_declared_sockets(nodes[node], "parameter"):
        raise InvalidInput(f'{text:.200}: the step of node "{node:.80}" has no parameter "{key:.80}"')
    return node, key

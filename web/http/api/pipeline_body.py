"""Items of a valohai.yaml from the body of `POST /pipelines/`, in which each node has a template of its execution.

A template is the step of the client's own valohai.yaml with all its values. Here it becomes an override of the step of
the commit. Clients write keys with hyphens and with underscores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from core.errors import InvalidInput, NotFound
from core.model import Commit, Project
from core.names import explain_unknown_name
from core.states import State
from web.config.pipelines.blueprint import load_pipeline
from web.config.steps.model import map_step_items
from web.http.api import task_body
from web.http.api.body import Fields
from web.store import environments, pipelines
from web.store.db import Database

KEPT = ("image", "command", "environment", "time-limit")  # keys of a template that the override of a node has too
OF_NODE = ("name", "type", "on-error", "edge-merge-mode", "actions")
OF_TASK = {
    "maximum-queued-executions": "maximum-queued-executions",
    "on-child-error": "on-child-error",
    "stop-expression": "stop-condition",
    "task-stop-expression": "stop-condition",  # as valohai-utils spells it
    "allow-reuse": "reuse-children",
}


class Graph(TypedDict):
    """Nodes and edges, as `vh pipeline run` sends them."""

    title: NotRequired[str | None]
    nodes: NotRequired[
        Annotated[
            list[dict[str, Any]] | None, Meta(description="Each has a `name`, a `type`, and a `template` or `source`.")
        ]
    ]
    edges: NotRequired[list[dict[str, Any]] | None]
    parameters: NotRequired[dict[str, Any] | None]
    reuse_executions: NotRequired[Annotated[bool | None, Meta(description="Use the runs of equal nodes.")]]


@dataclass(kw_only=True)
class Built:
    """Items and name of a pipeline, its given parameters and priority, and earlier nodes in place of new ones.

    `steps` by name and `tasks` are items that its nodes run.
    """

    name: str
    items: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    reused: dict[str, int] = field(default_factory=dict)


def read_commit_name(body: Fields[Graph]) -> str:
    """Return the commit of the nodes, "" if none names one; all run at one commit."""
    templates = [_hyphened(node.get("template")) for node in body.values.get("nodes") or ()]
    named = list(dict.fromkeys(str(template["commit"]) for template in templates if template.get("commit")))
    if len(named) > 1:
        body.add(f"the nodes name several commits ({', '.join(named):.100}); all must run at one", "nodes")
    return named[0] if named else ""


def build_pipeline_items(db: Database, project: Project, commit: Commit, body: Fields[Graph]) -> Built:
    """Build the pipeline of a body. Problems are added to the body."""
    built = Built(name=body.values.get("title") or "pipeline")
    nodes = []
    for node in map(_hyphened, body.values.get("nodes") or ()):
        if not isinstance(node.get("name"), str):
            body.add("each node needs a name", "nodes", "required")
        elif node.get("type") == "mimic":
            nodes.append(_reused(db, project, node, built, body))
        else:
            nodes.append(_node(db, commit, node, built, body))
    pipeline = {
        "name": built.name,
        "nodes": nodes,
        "edges": list(_edges(body)),
        "parameters": list(_parameters(body, built)),
        "reuse-executions": bool(body.values.get("reuse_executions")),
    }
    if not nodes:
        body.add("a pipeline needs nodes", "nodes", "required")
    if not body.problems:
        task_body.check_items([{"pipeline": _as_declared(pipeline)}, *built.tasks], body)
    built.items = [*built.steps.values(), *built.tasks, {"pipeline": pipeline}]
    return built


def _node(db: Database, commit: Commit, node: Mapping[str, Any], built: Built, body: Fields[Graph]) -> dict[str, Any]:
    template = _hyphened(node.get("template"))
    made = {key: node[key] for key in OF_NODE if key in node}
    step = template.get("step")
    if node.get("type") not in ("execution", "task"):
        body.add(f'node "{node["name"]:.80}": nodes of type {node.get("type")!s:.40} do not run here', "nodes")
        return made
    declared = map_step_items(commit.config)
    if not isinstance(step, str) or step not in declared:
        body.add(
            f'node "{node["name"]:.80}": {explain_unknown_name("step", step, declared)}', "nodes", "does_not_exist"
        )
        return made
    built.steps[step] = item = declared[step]
    environment = template.get("environment")
    if environment and environment != item["step"].get("environment") and not _is_known(db, environment):
        text = explain_unknown_name("environment", str(environment), environments.map_by_slug(db))
        body.add(f'node "{node["name"]:.80}": {text}', "environment", "does_not_exist")
    if isinstance(priority := template.get("priority"), int):
        built.priority = max(built.priority, priority)
    varied, single = task_body.split_parameters(_mapping(template, "parameters"))
    if template.get("type"):
        task = task_body.build_task(
            node["name"], step, str(template["type"]), varied, _mapping(template, "configuration")
        )
        extra = {name: template[key] for key, name in OF_TASK.items() if template.get(key) is not None}
        built.tasks.append({"task": task | extra})
        made["task"] = node["name"]
    else:
        made["step"] = step
    return made | {"override": _override(template, single)}


def _override(template: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    runtime = _hyphened(template.get("runtime-config"))
    found = {key: template[key] for key in KEPT if template.get(key) not in (None, "", [])}
    found |= {key: runtime[key] for key in ("no-output-timeout", "autorestart") if runtime.get(key) is not None}
    inputs = {name: [urls] if isinstance(urls, str) else urls for name, urls in _mapping(template, "inputs").items()}
    variables = _variables(template.get("environment-variables"))
    return found | {
        "parameters": [{"name": name, "default": value} for name, value in parameters.items()],
        "inputs": [{"name": name, "default": urls} for name, urls in inputs.items() if urls is not None],
        "environment-variables": [
            {"name": name, "default": str(value)} for name, value in variables.items() if value is not None
        ],
    }


def _variables(given: Any) -> Mapping[str, Any]:
    """Return values by name; valohai-utils sends the list of a step instead of an object."""
    if isinstance(given, list):
        return {str(item.get("name")): item.get("default") for item in given if isinstance(item, Mapping)}
    return given if isinstance(given, Mapping) else {}


def _reused(
    db: Database, project: Project, node: Mapping[str, Any], built: Built, body: Fields[Graph]
) -> dict[str, Any]:
    """Return a node that has the run of a complete node of an earlier pipeline, whose step is added to the steps."""
    try:
        source = pipelines.get_node_by_uuid(db, str(node.get("source")))
        pipeline = pipelines.get(db, source.pipeline_id)
        if pipeline.project_id != project.id:
            raise NotFound(f"there is no pipeline node {node.get('source')}")
        if source.state is not State.COMPLETE:
            raise InvalidInput(
                f"{source.name} of ={pipeline.counter} is {source.state}; only complete nodes are reused"
            )
        spec = load_pipeline(pipeline.config, pipeline.name).node(source.name)
    except (NotFound, InvalidInput) as error:
        body.add(f'node "{node["name"]:.80}": {error}', "nodes", "does_not_exist")
        return {"name": node["name"], "type": "execution", "step": ""}
    name = f"{spec.step_name} of ={pipeline.counter}"
    built.steps[name] = {"step": {**spec.step["step"], "name": name}}
    built.reused[node["name"]] = source.source_id or source.id
    return {"name": node["name"], "type": source.kind, "step": name}


def _edges(body: Fields[Graph]) -> Iterator[dict[str, Any]]:
    for edge in body.values.get("edges") or ():
        ends = {end: ".".join(str(edge.get(f"{end}_{part}", "")) for part in ("node", "type", "key"))
                for end in ("source", "target")}  # fmt: skip
        yield ends | ({"configuration": edge["configuration"]} if edge.get("configuration") else {})


def _parameters(body: Fields[Graph], built: Built) -> Iterator[dict[str, Any]]:
    """Yield the parameters of the pipeline; a given value that is "" leaves those of the nodes."""
    for name, given in (body.values.get("parameters") or {}).items():
        config = _mapping(given, "config") if isinstance(given, Mapping) else {}
        expression = given.get("expression") if isinstance(given, Mapping) else given
        if isinstance(expression, Mapping):
            expression = _mapping(expression, "rules").get("value")
        if expression not in (None, ""):
            built.parameters[name] = expression
        kept = {key: config[key] for key in ("targets", "default", "category", "description") if config.get(key)}
        yield {"name": name, "targets": []} | kept


def _as_declared(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline without the keys that the schema does not allow in an override."""
    extra = ("time-limit", "no-output-timeout")
    nodes = [
        {**node, "override": {key: value for key, value in node["override"].items() if key not in extra}}
        if "override" in node else node
        for node in pipeline["nodes"]
    ]  # fmt: skip
    return {**pipeline, "nodes": nodes}


def _is_known(db: Database, environment: Any) -> bool:
    known = environments.map_by_slug(db)
    if not isinstance(environment, str):
        return False
    return environment in known or any(found.uuid == environment for found in known.values())


def _mapping(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = given.get(key)
    return found if isinstance(found, Mapping) else {}


def _hyphened(given: Any) -> dict[str, Any]:
    """Return an object with hyphens in its keys."""
    return {str(key).replace("_", "-"): value for key, value in given.items()} if isinstance(given, Mapping) else {}

"""Convert records to the JSON objects of API v0.

`root` is the URL that the request itself used, with a trailing slash: clients send their token only to that host.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple

from core import clock
from core.groups import Pipeline, PipelineNode, Task
from core.model import Change, Commit, Environment, Execution, ListedExecution, Project, Repository, User
from core.states import FINAL, State
from web.http.api import shapes
from web.services.executions.variables import Variable
from web.store.aliases import Alias
from web.store.data import Datum

Name = tuple[str, int]  # uuid and number
API = "api/v0"


class Related(NamedTuple):
    """What an execution belongs to, as JSON that executions share; `environment` is None if it was removed."""

    project: shapes.Project
    commit: shapes.Commit
    environment: shapes.Environment | None
    task: Name | None
    pipeline: Name | None


def build_user(found: User) -> shapes.User:
    return {"id": found.id, "username": found.username, "email": found.email, "first_name": "", "last_name": ""}


def build_project(root: str, found: Project) -> shapes.Project:
    page = f"{root}p/{found.name}/"
    return {
        "id": found.uuid,
        "name": found.name,
        "description": found.description,
        "owner": {"id": found.owner_id, "username": found.owner},
        "ctime": found.created_at,
        "mtime": found.created_at,
        "url": f"{root}{API}/projects/{found.uuid}/",
        "urls": {"display": page, "display_repository": f"{page}settings/"},
        "yaml_path": found.yaml_path,
    }


def build_project_detail(
    root: str,
    found: Project,
    repository: Repository | None,
    counts: Mapping[str, int],
    variables: Sequence[Variable],
) -> shapes.ProjectDetail:
    """`counts` is the number of executions by status."""
    summary = {"count": sum(counts.values())} | {
        f"{status}_count": counts.get(status, 0) for status in (*State, "stopping")
    }
    return {
        **build_project(root, found),
        "read_only": False,
        "tags": [],
        "default_environment": found.environment,
        "default_store": None,
        "upload_store_id": None,
        "repository": _where(root, found, repository) if repository else None,
        "environment_variables": {item.name: {"value": item.value, "secret": item.is_secret} for item in variables},
        "execution_summary": summary,
        "execution_count": summary["count"],
        "running_execution_count": counts.get("started", 0) + counts.get("stopping", 0),
        "queued_execution_count": counts.get("queued", 0),
        "enabled_endpoint_count": 0,
    }


def build_repository(root: str, owner: Project, found: Repository) -> shapes.Repository:
    return {"id": found.id, "project": {"id": owner.uuid, "name": owner.name}, **_where(root, owner, found)}


def _where(root: str, owner: Project, found: Repository) -> shapes.Where:
    return {"url": found.url or f"{root}git/{owner.name}.git", "ref": found.default_branch}


def build_commit(root: str, owner: Project, found: Commit) -> shapes.Commit:
    """`url` includes the project, since several projects may have the same commit."""
    return {
        "identifier": found.identifier,
        "ref": found.ref,
        "ref_names": list(found.ref_names),
        "adhoc": found.adhoc,
        "commit_time": format_commit_time(found),
        "ctime": found.created_at,
        "description": found.message,
        "repository": found.repository_id,
        "project_id": owner.uuid,
        "yaml_path": found.yaml_path,
        "has_config": found.config_state == "ok",
        "url": f"{root}{API}/projects/{owner.uuid}/commits/{found.identifier}/",
        "urls": {"display": f"{root}p/{owner.name}/commits/{found.identifier}/"},
    }


def format_commit_time(found: Commit) -> str:
    """Format in one way and one time zone, since clients sort times as text."""
    return clock.parse(found.committed_at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_environment(root: str, found: Environment, unfinished: int = 0) -> shapes.Environment:
    return {
        "id": found.uuid,
        "name": found.slug,
        "slug": found.slug,
        "description": found.description,
        "enabled": True,
        "owner": None,
        "gpu_spec": f"{found.gpus} GPU" if found.gpus else "",
        "has_gpu": found.gpus > 0,
        "per_hour_price_usd": "0.00000",
        "per_user_queue_quota": 0,
        "unfinished_job_count": unfinished,
        "type": "vm",
        "provider": None,
        "supports_priority": True,
        "url": f"{root}{API}/environments/{found.slug}/",
    }


def build_execution(
    root: str, found: ListedExecution, related: Related, *, latest: Mapping[str, Any], n_outputs: int
) -> shapes.Execution:
    url = f"{root}{API}/executions/{found.uuid}/"
    return {
        "id": found.uuid,
        "counter": found.counter,
        "status": found.status,
        "status_detail": found.status_detail,
        "failure_reason": found.failure_reason,
        "failure_message": found.failure_message,
        "exit_code": found.exit_code,
        "title": found.title,
        "step": found.step,
        "origin": found.origin,
        "client": found.client,
        "changed": build_changes(found.changed),
        "task": _named(related.task),
        "pipeline": _named(related.pipeline),
        "tags": list(found.tags),
        "deleted": found.deleted_at is not None,
        "priority": found.priority,
        "ctime": found.created_at,
        "mtime": found.deleted_at or found.ended_at or found.started_at or found.queued_at or found.created_at,
        "end_time": found.ended_at,
        "duration": compute_duration(found),
        "image": found.image,
        "project": related.project,
        "commit": related.commit,
        "environment": related.environment or _gone(found.environment),
        "creator_id": str(found.creator_id),
        "creator_name": found.creator,
        "parameters": found.parameters,
        "cumulative_metadata": latest,
        "n_outputs": n_outputs,
        "url": url,
        "urls": {"display": f"{related.project['urls']['display']}executions/{found.counter}/", "stop": f"{url}stop/"},
    }


def _gone(slug: str) -> shapes.Environment:
    return {"id": None, "name": slug, "slug": slug, "enabled": False}


def build_execution_detail(
    root: str, found: Execution, related: Related, *, latest: Mapping[str, Any], outputs: Sequence[shapes.Datum]
) -> shapes.ExecutionDetail:
    commands = "\n".join(found.commands)
    return {
        **build_execution(root, found, related, latest=latest, n_outputs=len(outputs)),
        "command": commands,
        "interpolated_command": commands,
        "inputs": [_input(found, name, spec) for name, spec in found.inputs.items()],
        "environment_variables": dict(found.environment_variables),
        "runtime_config": {"autorestart": found.autorestart},
        "outputs": list(outputs),
        "metadata": [],
        "events": [],
    }


def build_changes(found: Sequence[Change]) -> list[shapes.Change]:
    """Return the values that were given instead of those of valohai.yaml."""
    return [{"name": one.name, "before": one.before, "after": one.after} for one in found]


def build_task(root: str, found: Task, owner: Project, pipeline: Name | None, counts: Mapping[str, int]) -> shapes.Task:
    """`counts` is the number of executions by state; only the newest at each place in the search counts."""
    summary = {"count": sum(counts.values())} | {f"{state}_count": counts.get(state, 0) for state in State}
    return {
        **_group(root, "tasks", found, owner),
        "type": found.type,
        "step": found.step,
        "pipeline": _named(pipeline),
        "status_summary": summary,
        "n_executions": summary["count"],
    }


def build_pipeline(root: str, found: Pipeline, owner: Project) -> shapes.Pipeline:
    return {**_group(root, "pipelines", found, owner)}


def build_pipeline_detail(
    root: str, found: Pipeline, owner: Project, nodes: Sequence[tuple[PipelineNode, Name | None]]
) -> shapes.PipelineDetail:
    """Include for each node the execution or task that counts for it, or None if there is none yet."""
    return {
        **build_pipeline(root, found, owner),
        "parameters": dict(found.parameters),
        "nodes": [_node(*n) for n in nodes],
    }


def _node(found: PipelineNode, made: Name | None) -> shapes.Node:
    return {
        "id": found.uuid,
        "name": found.name,
        "type": found.kind,
        "status": found.state,
        "message": found.message,
        "execution": _named(made) if found.kind == "execution" else None,
        "task": _named(made) if found.kind == "task" else None,
    }


def _group(root: str, noun: str, found: Task | Pipeline, owner: Project) -> shapes.Group:
    """Return the fields that tasks and pipelines share."""
    url = f"{root}{API}/{noun}/{found.uuid}/"
    return {
        "id": found.uuid,
        "counter": found.counter,
        "status": found.status,
        "title": found.title or found.name,
        "name": found.name,
        "origin": found.origin,
        "client": found.client,
        "changed": build_changes(found.changed),
        "message": found.message,
        "project": owner.uuid,
        "commit": found.commit_identifier,
        "creator": {"id": found.creator_id, "username": found.creator},
        "tags": list(found.tags),
        "deleted": False,
        "priority": found.priority,
        "ctime": found.created_at,
        "mtime": found.ended_at or found.started_at or found.created_at,
        "end_time": found.ended_at,
        "url": url,
        "urls": {"display": f"{root}p/{owner.name}/{noun}/{found.counter}/", "stop": f"{url}stop/"},
    }


def _named(name: Name | None) -> shapes.Name | None:
    return {"id": name[0], "counter": name[1]} if name else None


def compute_duration(found: ListedExecution) -> float | None:
    """Return the seconds from start to end, or to now if the execution is running."""
    if found.started_at is None or (found.ended_at is None and found.state in FINAL):
        return None
    return max(0.0, clock.count_seconds_between(found.started_at, found.ended_at or clock.now()))


def _input(owner: Execution, name: str, spec: Mapping[str, Any]) -> shapes.Input:
    input_id = uuid.uuid5(uuid.UUID(owner.uuid), f"input {name}")
    return {"id": str(input_id), "name": name, "urls": list(spec.get("urls", []))}


def build_alias(found: Alias, file: shapes.Datum) -> shapes.Alias:
    return {
        "id": found.uuid,
        "name": found.name,
        "datum": file,
        "ctime": found.created_at,
        "mtime": found.changed_at,
        "project": file["project"],
    }


def build_datum(found: Datum, project_uuid: str, execution: Name | None, aliases: Sequence[str]) -> shapes.Datum:
    return {
        "id": found.uuid,
        "name": found.name,
        "size": found.size,
        "ctime": found.created_at,
        "file_ctime": found.created_at,
        "file_mtime": found.created_at,
        "uri": None,
        "purged": found.purged_at is not None,
        "md5": found.md5,
        "sha1": found.sha1,
        "sha256": found.sha256,
        "store": None,
        "tags": [],
        "metadata": {},
        "project": project_uuid,
        "output_execution": _named(execution),
        "aliases": list(aliases),
    }

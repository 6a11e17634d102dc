"""Build the spec that a runner gets for an execution, from its row."""

from __future__ import annotations

import time
from typing import Any

from core.model import Execution, Project
from core.wire import ExecutionSpec
from web.config.steps.shell_script import build_script
from web.services.context import Context
from web.services.executions import datums, environments, variables
from web.store import commits, pipelines, projects, tasks, users
from web.store.db import Database


def build_execution_spec(context: Context, execution: Execution) -> ExecutionSpec:
    """Build the spec sent to the runner that claims `execution`."""
    db, limits = context.db, context.config.limits
    project = projects.get(db, execution.project_id)
    commit = commits.get(db, execution.commit_id)
    values, secret_names = variables.collect_for_execution(context, execution)
    network, pull = environments.get_policies(db, execution.environment)
    return ExecutionSpec(
        uuid=execution.uuid,
        counter=execution.counter,
        attempt=execution.attempt,
        project_uuid=project.uuid,
        project_name=project.name,
        commit_identifier=commit.sha,
        step=execution.step,
        image=execution.image,
        script=build_script(execution.commands),
        commands=list(execution.commands),
        parameters=dict(execution.parameters),
        inputs=list(execution.inputs.values()),
        data=[found.to_dict() for found in datums.list_specs(db, execution)],
        environment_variables=values,
        config=build_execution_document(db, project, execution),
        time_limit_s=execution.time_limit_s,
        no_output_limit_s=execution.no_output_limit_s,
        log_bytes=limits.log,
        output_bytes=limits.output_bytes,
        output_count=limits.output_count,
        stop_grace_s=limits.stop_grace,
        memory=execution.memory,
        cpus=execution.cpus,
        gpus=execution.gpus,
        secrets=secret_names,
        mounts=[dict(mount) for mount in execution.mounts],
        network=network,
        pull=pull,
        server_us=time.time_ns() // 1000,
    )


def build_execution_document(db: Database, project: Project, execution: Execution) -> dict[str, Any]:
    """Build the content of /valohai/config/execution.json: a flat object with dotted keys."""
    creator = users.get(db, execution.creator_id)
    values = {
        "commit-identifier": execution.commit_identifier,
        "creator-id": execution.creator_id,
        "creator-name": execution.creator,
        "creator-email": creator.email or None,
        "environment-id": execution.environment,
        "environment-name": execution.environment,
        "environment-slug": execution.environment,
        "execution-counter": execution.counter,
        "execution-ctime": execution.created_at.replace("Z", "+00:00"),
        "execution-duration": None,
        "execution-id": execution.uuid,
        "execution-image": execution.image,
        "execution-qtime": execution.queued_at.replace("Z", "+00:00") if execution.queued_at else None,
        "execution-status": "created",
        "execution-step": execution.step,
        "execution-tags": list(execution.tags),
        "execution-title": execution.title or None,
        "project-id": project.uuid,
        "project-name": f"{project.owner}/{project.name}",
    }
    return {f"valohai.{key}": value for key, value in (values | _groups(db, execution)).items()}


def _groups(db: Database, execution: Execution) -> dict[str, Any]:
    """Return the keys of execution.json about the execution's task and pipeline."""
    values: dict[str, Any] = {}
    if execution.task_id is not None:
        task = tasks.get(db, execution.task_id)
        values |= {"task-counter": task.counter, "task-id": task.uuid, "task-title": task.name}
    if execution.pipeline_node_id is not None:
        node = pipelines.get_node(db, execution.pipeline_node_id)
        pipeline = pipelines.get(db, node.pipeline_id)
        values |= {
            "pipeline-counter": pipeline.counter,
            "pipeline-id": pipeline.uuid,
            "pipeline-node-id": node.uuid,
            "pipeline-tags": [],
            "pipeline-title": pipeline.name,
        }
    return values

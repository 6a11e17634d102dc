"""Makes executions: from a commit's resolved step to a row in `created`, and from the row to what a runner needs."""

from __future__ import annotations

from typing import Any

from sqlite_utils import Database

from core.config import Config
from core.model import Commit, Execution, Project, User
from core.steps.resolve import ResolvedStep
from core.steps.script import script
from core.wire import ExecutionSpec
from web.services import dispatch, lifecycle
from web.store import commits, executions, projects, users


def launch(
    db: Database,
    config: Config,
    project: Project,
    commit: Commit,
    resolved: ResolvedStep,
    creator: User,
    *,
    push_id: int | None = None,
    title: str = "",
    tags: tuple[str, ...] = (),
) -> Execution:
    """Record one execution. Call inside a transaction, and dispatch after it."""
    environment = dispatch.environment_of(db, resolved.environment)
    values = {
        "project_id": project.id, "commit_id": commit.id, "push_id": push_id, "step": resolved.step.name, "title": title,
        "image": resolved.image, "commands": list(resolved.commands), "parameters": resolved.parameters,
        "inputs": {name: spec.to_dict() for name, spec in resolved.inputs.items()},
        "environment_variables": resolved.environment_variables, "environment": environment, "tags": list(tags),
        "memory": resolved.step.memory, "cpus": resolved.step.cpus,
        "time_limit_s": resolved.time_limit_s or config.limits.time or None,
        "no_output_limit_s": resolved.no_output_limit_s or config.limits.no_output or None, "creator_id": creator.id,
    }  # fmt: skip
    execution = executions.add(db, values)
    lifecycle.say(db, config.logs_dir, execution, "Execution created")
    if resolved.environment and resolved.environment != environment:
        note = f"No runner serves the environment {resolved.environment}; it runs in {environment}"
        lifecycle.say(db, config.logs_dir, execution, note)
    for note in resolved.notes:
        lifecycle.say(db, config.logs_dir, execution, note)
    return execution


def spec(db: Database, config: Config, execution: Execution) -> ExecutionSpec:
    """Everything that the runner which holds `execution` needs."""
    project = projects.get(db, execution.project_id)
    commit = commits.get(db, execution.commit_id)
    return ExecutionSpec(
        uuid=execution.uuid,
        counter=execution.counter,
        attempt=execution.attempt,
        project_uuid=project.uuid,
        project_name=project.name,
        commit_identifier=commit.identifier,
        step=execution.step,
        image=execution.image,
        script=script(execution.commands),
        commands=list(execution.commands),
        parameters=dict(execution.parameters),
        inputs=list(execution.inputs.values()),
        environment_variables=dict(execution.environment_variables),
        config=execution_document(db, project, execution),
        time_limit_s=execution.time_limit_s,
        no_output_limit_s=execution.no_output_limit_s,
        log_bytes=config.limits.log,
        output_bytes=config.limits.output_bytes,
        output_count=config.limits.output_count,
        stop_grace_s=config.limits.stop_grace,
        memory=execution.memory,
        cpus=execution.cpus,
    )


def execution_document(db: Database, project: Project, execution: Execution) -> dict[str, Any]:
    """The content of /valohai/config/execution.json: a flat object with dotted keys."""
    creator = users.get(db, execution.creator_id)
    values = {
        "commit-identifier": execution.commit_identifier,
        "creator-id": execution.creator_id,
        "creator-name": execution.creator,
        "creator-email": (creator.email if creator else "") or None,
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
    return {f"valohai.{key}": value for key, value in values.items()}

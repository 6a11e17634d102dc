"""Create executions: from a commit's resolved step to a row in state `created`, and from the row to the runner's spec.

A re-run is a new execution that names the old one. For `autorestart` the sweep creates it unless a stop was
requested; it first looks for an existing re-run, so it can safely be repeated. Every execution is recorded by
`_record`, which checks that the project may use the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.config import Config
from core.model import Commit, Environment, Execution, Project, User
from core.states import FailureReason
from core.wire import ExecutionSpec, stricter_limit
from web.config.steps.resolve import ResolvedStep
from web.config.steps.script import script
from web.services.context import Context
from web.services.executions import datums, environments, lifecycle, variables
from web.store import commits, executions, pipelines, projects, tasks, users
from web.store.db import Database, transaction

# Columns that a re-run copies; state, times and results are not copied.
REPEATED = (
    *("project_id", "commit_id", "push_id", "step", "title", "image", "commands", "parameters", "inputs", "tags"),
    *("environment_variables", "memory", "cpus", "gpus", "priority", "autorestart"),
    *("time_limit_s", "no_output_limit_s", "task_id", "trial", "pipeline_node_id"),
)
MAX_RESTARTS = 10  # in a row: a machine that keeps dying must not restart one execution forever


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """For whom, why and where a step is run.

    `environment` overrides the step's own; `why` is the first line of the log. `trial` is the index within the search
    of the task; trials of a task in a pipeline have `pipeline_node_id` too.
    """

    creator: User
    push_id: int | None = None
    title: str = ""
    tags: tuple[str, ...] = ()
    environment: str = ""
    priority: int = 0
    why: str = ""
    task_id: int | None = None
    trial: int | None = None
    pipeline_node_id: int | None = None


def launch(
    db: Database, config: Config, project: Project, commit: Commit, resolved: ResolvedStep, options: LaunchOptions
) -> Execution:
    """Create an execution."""
    found, note = environments.choose(db, project, options.environment or resolved.environment)
    step = resolved.step
    mounts, refused = environments.mounts(found, map(asdict, step.mounts))
    values = {
        "project_id": project.id, "commit_id": commit.id, "push_id": options.push_id, "creator_id": options.creator.id,
        "task_id": options.task_id, "trial": options.trial, "pipeline_node_id": options.pipeline_node_id,
        "title": options.title, "tags": list(options.tags), "priority": options.priority,
        "step": step.name, "image": resolved.image, "commands": list(resolved.commands),
        "parameters": resolved.parameters, "environment_variables": resolved.environment_variables,
        "inputs": {name: spec.to_dict() for name, spec in resolved.inputs.items()},
        "environment": found.slug, "mounts": mounts, "gpus": found.gpus if step.gpus is None else step.gpus,
        "memory": stricter_limit(found.memory, step.memory), "cpus": stricter_limit(found.cpus, step.cpus),
        "autorestart": step.autorestart or found.autorestart,
        "time_limit_s": resolved.time_limit_s or config.limits.time or None,
        "no_output_limit_s": resolved.no_output_limit_s or config.limits.no_output or None,
    }  # fmt: skip
    return _record(db, config, project, found, values, [*filter(None, (options.why, note)), *refused, *resolved.notes])


def again(db: Database, config: Config, execution: Execution, creator: User, why: str) -> Execution:
    """Create a re-run of an execution with the same resolved values."""
    project = projects.get(db, execution.project_id)
    environment, note = environments.choose(db, project, execution.environment)
    repeated = {name: getattr(execution, name) for name in REPEATED}
    mounts, refused = environments.mounts(environment, execution.mounts)
    own = {"environment": environment.slug, "creator_id": creator.id, "retry_of": execution.id, "mounts": mounts}
    notes = [f"{why} #{execution.counter}", *filter(None, [note]), *refused]
    return _record(db, config, project, environment, repeated | own, notes)


def restart_lost(db: Database, config: Config) -> int:
    """Restart executions that were lost with their runner and have `autorestart`; return how many there were.

    Each is restarted once, and a chain of restarts ends after MAX_RESTARTS.
    """
    lost = executions.to_restart(db)
    for execution in lost:
        with transaction(db):
            if executions.retried_by(db, execution.id):
                continue  # a user re-ran it in the meantime
            restarted = again(db, config, execution, users.of_row(db, execution.creator_id), "Restarts")
            if executions.retries(db, restarted.id) >= MAX_RESTARTS:
                executions.update(db, restarted, autorestart=False)
                lifecycle.log_status(db, config.logs_dir, restarted, f"Restart {MAX_RESTARTS}, the last one")
    return len(lost)


def _record(
    db: Database,
    config: Config,
    project: Project,
    environment: Environment,
    values: Mapping[str, Any],
    notes: Sequence[str],
) -> Execution:
    """Store an execution and log `notes`; it fails at once if its environment, image or inputs are not allowed.

    Every execution is created here.
    """
    inputs = datums.without_aliases(db, project.id, values["inputs"])
    execution = executions.add(db, {**values, "inputs": inputs})
    lifecycle.log_status(db, config.logs_dir, execution, "Execution created")
    for note in notes:
        lifecycle.log_status(db, config.logs_dir, execution, note)
    if refusal := environments.locked_out(project, environment):
        lifecycle.fail(db, config.logs_dir, execution, FailureReason.ENVIRONMENT, refusal)
    elif refusal := environments.refusal(environment, execution.image):
        lifecycle.fail(db, config.logs_dir, execution, FailureReason.IMAGE, refusal)
    elif refusal := datums.refusal_reason(db, execution.project_id, execution.commit_id, execution.inputs):
        lifecycle.fail(db, config.logs_dir, execution, FailureReason.INPUT, refusal)
    return executions.get(db, execution.id)


def spec(context: Context, execution: Execution) -> ExecutionSpec:
    """Build the spec sent to the runner that claims `execution`."""
    db, limits = context.db, context.config.limits
    project = projects.get(db, execution.project_id)
    commit = commits.get(db, execution.commit_id)
    values, secret_names = variables.of_execution(db, context.vault, execution)
    network, pull = environments.by_slug_or_open(db, execution.environment)
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
        data=[found.to_dict() for found in datums.datum_specs(db, execution)],
        environment_variables=values,
        config=execution_document(db, project, execution),
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
    )


def execution_document(db: Database, project: Project, execution: Execution) -> dict[str, Any]:
    """Build the content of /valohai/config/execution.json: a flat object with dotted keys."""
    creator = users.of_row(db, execution.creator_id)
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
        node = pipelines.node(db, execution.pipeline_node_id)
        pipeline = pipelines.get(db, node.pipeline_id)
        values |= {
            "pipeline-counter": pipeline.counter,
            "pipeline-id": pipeline.uuid,
            "pipeline-node-id": node.uuid,
            "pipeline-tags": [],
            "pipeline-title": pipeline.name,
        }
    return values

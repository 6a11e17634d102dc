"""The only way to create executions, tasks and pipelines, for pushes, pages, the API, pipelines and tasks.

`launch` is for requests of people: it plans what they ask for, with every problem of every field at once, and refuses
what could not run. `start` takes a plan and joins the caller's transaction: pushes, schedules, nodes and trials, whose
problems are recorded with what they launch. Both have the same checks and the same sentences.

Nothing runs at a commit of a fork before it is approved. A repeated request with the same key gets the first run.
A re-run is a new execution that names the old one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core.errors import CannotRun, InvalidFields, InvalidInput, NotFound, Problem
from core.groups import Group, Pipeline, Task
from core.model import Change, Commit, Environment, Execution, Origin, Project, TargetKind, User
from core.names import explain_unknown_name
from core.states import FailureReason
from core.wire import choose_stricter_limit
from web.config.overrides import Overrides, find_override_problems, make_unknown_target_problem, override_config
from web.config.pipelines.plan import PipelinePlan
from web.config.steps.differences import find_change, find_step_changes
from web.config.steps.model import load_step, map_step_items
from web.config.steps.resolve import ResolvedStep
from web.config.tasks.plan import TaskPlan
from web.config.tasks.search import SEEDS, find_own_seed
from web.services.context import Context
from web.services.executions import datums, environments, lifecycle
from web.services.forges import enqueue
from web.services.repositories import adhoc
from web.services.triggers.rules.runnable import KINDS, Plan
from web.store import audit, commits, executions, launch_keys, logs, pipelines, projects, tasks, users, variables
from web.store.audit import Act, Kind
from web.store.db import Database, transaction

# Columns that a re-run copies; state, times and results are not copied.
REPEATED = (
    *("project_id", "commit_id", "push_id", "step", "title", "image", "commands", "parameters", "inputs", "tags"),
    *("environment_variables", "memory", "cpus", "gpus", "priority", "autorestart"),
    *("time_limit_s", "no_output_limit_s", "task_id", "trial", "pipeline_node_id"),
)
NO_OVERRIDES = Overrides()
KIND_OF = {Execution: TargetKind.STEP, Task: TargetKind.TASK, Pipeline: TargetKind.PIPELINE}
RECORDED = {TargetKind.STEP: Kind.EXECUTION, TargetKind.TASK: Kind.TASK, TargetKind.PIPELINE: Kind.PIPELINE}

REFUSED = {  # field and code of the problem
    FailureReason.ENVIRONMENT: ("environment", "not_allowed"),
    FailureReason.IMAGE: ("image", "not_allowed"),
    FailureReason.INPUT: ("inputs", "does_not_exist"),
}

Launched = Execution | Task | Pipeline


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What to launch, for whom, why and where.

    `config` contains items of a valohai.yaml that replace the commit's. With `plan`, what to launch is decided: `kind`
    and `name` are not read, and of the overrides only environment, priority, title and tags. `client` is the program
    that asks, such as "vh". `key` makes the request idempotent for its project and creator. `why` is the first line of
    the logs. `trial` is the index within the search of a task; trials of a task in a pipeline have `pipeline_node_id`
    too. Nodes in `reused` get the run of the node with that row number instead of an own one.
    """

    origin: Origin
    project: Project
    commit: Commit
    creator: User
    kind: TargetKind = TargetKind.STEP
    name: str = ""
    config: Any = None
    overrides: Overrides = NO_OVERRIDES
    plan: Plan | None = None
    client: str = ""
    key: str = ""
    push_id: int | None = None
    why: str = ""
    task_id: int | None = None
    trial: int | None = None
    pipeline_node_id: int | None = None
    reused: Mapping[str, int] = field(default_factory=dict)


def launch(context: Context, request: LaunchRequest) -> Launched:
    """Plan and launch what a person asks for. Raises InvalidFields with the problems of all fields."""
    db = context.db
    if made := _repeated(db, request):
        return made
    request = _with_default_configuration(context, request)
    plan = plan_request(db, request)
    with transaction(db):
        if made := _repeated(db, request):
            return made
        (made,) = start(context, [replace(request, plan=plan)])
        what = made.step if isinstance(made, Execution) else made.name
        _record_launch(db, made, f"{what} of commit {request.commit.identifier[:8]}")
        return made


def _record_launch(db: Database, made: Launched, detail: str) -> None:
    kind = KIND_OF[type(made)]
    audit.record(db, Act.LAUNCH, RECORDED[kind], f"{kind.sign}{made.counter}", made.project_id, detail)


def plan_request(db: Database, request: LaunchRequest) -> Plan:
    """Return the plan of a request that can run. Raises InvalidFields with the problems of all fields."""
    project, overrides = request.project, request.overrides
    problems = [*launch_keys.find_problems(request.key), *find_override_problems(overrides)]
    problems += [*_commit_problems(db, request.commit)]
    plan: Plan | None = None
    if request.config is not None or request.commit.config_state == "ok":
        try:
            plan = _planned(db, request)
        except (CannotRun, InvalidFields) as error:
            problems += [found if isinstance(found, Problem) else Problem(found) for found in error.problems]
        except InvalidInput as error:
            problems.append(Problem(str(error)))
    environment, problem = _environment(db, project, overrides.environment or _own_environment(plan))
    if problem and overrides.environment:
        problems.append(Problem(problem, "environment", code="does_not_exist"))
    else:
        problems += _plan_problems(db, request, environment, plan)
    if problems or plan is None:
        raise InvalidFields(list(dict.fromkeys(problems)))
    return plan


def start(context: Context, requests: Sequence[LaunchRequest]) -> list[Launched]:
    """Create the execution, task or pipeline of each planned request.

    An execution whose environment, image or inputs are not allowed fails at once. Raises InvalidFields for an
    unapproved commit of a fork.
    """
    for commit in {request.commit.id: request.commit for request in requests}.values():
        if not commits.is_trusted(context.db, commit.id):
            raise InvalidFields([_not_approved(commit)])
    known = environments.map_by_name(context.db)
    return [_start(context, request, known) for request in requests]


def _start(context: Context, request: LaunchRequest, known: Mapping[str, Environment]) -> Launched:
    match request.plan:
        case ResolvedStep() as step:
            made: Launched = _start_execution(context, request, step, known)
        case TaskPlan() as task:
            made = _start_task(context.db, request, task)
        case PipelinePlan() as pipeline:
            made = _start_pipeline(context.db, request, pipeline)
        case None:
            raise ValueError("the request has no plan")
    if request.key:
        launch_keys.add(context.db, request.project.id, request.creator.id, request.key, KIND_OF[type(made)], made.id)
    return made


def make_group_request(db: Database, group: Group, origin: Origin, why: str) -> LaunchRequest:
    """Return the request of a run that belongs to a task or pipeline; the caller adds its plan, and trial or node."""
    return LaunchRequest(
        origin=origin,
        project=projects.get(db, group.project_id),
        commit=commits.get(db, group.commit_id),
        creator=users.get(db, group.creator_id),
        overrides=Overrides(environment=group.environment, priority=group.priority, tags=group.tags),
        push_id=group.push_id,
        why=why,
    )


def rerun(context: Context, execution: Execution, creator: User, why: str, origin: Origin = Origin.RERUN) -> Execution:
    """Create a re-run of an execution with the same resolved values."""
    db = context.db
    if not commits.is_trusted(db, execution.commit_id):
        raise InvalidFields([_not_approved(commits.get(db, execution.commit_id))])
    project = projects.get(db, execution.project_id)
    environment, note = environments.choose(environments.map_by_name(db), project, execution.environment)
    repeated = {name: getattr(execution, name) for name in REPEATED}
    mounts, refused = environments.filter_mounts(environment, execution.mounts)
    own = {"environment": environment.slug, "creator_id": creator.id, "retry_of": execution.id, "mounts": mounts,
           "origin": origin, "changed": list(map(asdict, execution.changed))}  # fmt: skip
    notes = [f"{why} #{execution.counter}", *filter(None, [note]), *refused]
    made = _record(context, project, environment, repeated | own, notes)
    if origin is Origin.RERUN:
        _record_launch(db, made, f"re-run of #{execution.counter}")
    return made


# checks


def _with_default_configuration(context: Context, request: LaunchRequest) -> LaunchRequest:
    """Take the configuration at the project's own path for a target that only that one declares, in ad-hoc code."""
    names, commit = KINDS[request.kind].names, request.commit
    if (
        request.config is not None
        or request.plan is not None
        or not commit.adhoc
        or request.name in names(commit.config)
    ):
        return request
    found = adhoc.apply_default_configuration(context, request.project, commit)
    return replace(request, commit=found) if found and request.name in names(found.config) else request


def _planned(db: Database, request: LaunchRequest) -> Plan:
    config = request.commit.config if request.config is None else request.config
    known, overrides = KINDS[request.kind], request.overrides
    if request.name not in known.names(config):
        raise InvalidFields([make_unknown_target_problem(request.kind, request.name, known.names(config))])
    config = override_config(config, request.kind, request.name, overrides)
    given: dict[str, Any] = {
        "parameters": overrides.parameters,
        "provided": variables.list_names(db, request.project.id),
    }
    if request.kind is not TargetKind.PIPELINE:
        given |= {"inputs": overrides.inputs, "environment_variables": overrides.environment_variables}
    elif refused := [name for name in ("inputs", "environment_variables") if getattr(overrides, name)]:
        text = "a pipeline takes none: give them to its nodes in valohai.yaml, or as parameters"
        raise InvalidFields([Problem(text, name) for name in refused])
    else:
        given |= {"reused": request.reused}
    try:
        return known.plan(config, request.name, **given)
    except NotFound as error:  # the step of a task
        raise InvalidFields([Problem(str(error), str(request.kind))]) from None


def _commit_problems(db: Database, commit: Commit) -> Iterator[Problem]:
    if not commits.is_trusted(db, commit.id):
        yield _not_approved(commit)
    if commit.config_state != "ok":
        reason = next(iter(commit.problems), "it has no valohai.yaml")
        yield Problem(f"commit {commit.identifier[:8]} cannot run: {reason}", "commit")


def _not_approved(commit: Commit) -> Problem:
    text = f"commit {commit.identifier[:8]} comes from a fork and is not approved: approve it on its page first"
    return Problem(text, "commit", code="not_approved")


def _own_environment(plan: Plan | None) -> str:
    found = plan.first if isinstance(plan, TaskPlan) else plan
    return found.environment or "" if isinstance(found, ResolvedStep) else ""


def _environment(db: Database, project: Project, wanted: str) -> tuple[Environment, str]:
    known = environments.map_by_name(db)
    found, note = environments.choose(known, project, wanted)
    return found, explain_unknown_name(
        "environment", wanted, dict.fromkeys(one.slug for one in known.values())
    ) if note else ""


def _plan_problems(
    db: Database, request: LaunchRequest, environment: Environment, plan: Plan | None
) -> Iterator[Problem]:
    first = plan.first if isinstance(plan, TaskPlan) else plan
    image, inputs = "", dict[str, Any]()
    if isinstance(first, ResolvedStep):
        given = {name: spec.to_dict() for name, spec in first.inputs.items()}
        image, inputs = first.image, datums.resolve_aliases(db, request.project.id, given)
    for reason, text in _refusals(db, request.project, request.commit.id, environment, image, inputs):
        field_name, code = REFUSED[reason]
        yield Problem(text, field_name, code=code)


def _repeated(db: Database, request: LaunchRequest) -> Launched | None:
    """Return the run of an earlier request with the same key. Raises InvalidFields if that launched another kind."""
    found = launch_keys.find(db, request.project.id, request.creator.id, request.key) if request.key else None
    if found is None:
        return None
    kind, made_id = found
    if kind is not request.kind:
        raise InvalidFields([Problem(f"the idempotency key was used for a {kind} already: use a new one", "key")])
    match kind:
        case TargetKind.STEP:
            return executions.get(db, made_id)
        case TargetKind.TASK:
            return tasks.get(db, made_id)
        case TargetKind.PIPELINE:
            return pipelines.get(db, made_id)


# rows


def _start_execution(
    context: Context, request: LaunchRequest, resolved: ResolvedStep, known: Mapping[str, Environment]
) -> Execution:
    wanted = request.overrides.environment or resolved.environment
    found, note = environments.choose(known, request.project, wanted)
    step, limits = resolved.step, context.config.limits
    mounts, refused = environments.filter_mounts(found, map(asdict, step.mounts))
    values = _common(request, _changes(request, resolved)) | {
        "task_id": request.task_id, "trial": request.trial, "pipeline_node_id": request.pipeline_node_id,
        "step": step.name, "image": resolved.image, "commands": list(resolved.commands),
        "parameters": resolved.parameters, "environment_variables": resolved.environment_variables,
        "inputs": {name: spec.to_dict() for name, spec in resolved.inputs.items()},
        "environment": found.slug, "mounts": mounts, "gpus": found.gpus if step.gpus is None else step.gpus,
        "memory": choose_stricter_limit(found.memory, step.memory), "cpus": choose_stricter_limit(found.cpus, step.cpus),
        "autorestart": step.autorestart or found.autorestart,
        "time_limit_s": resolved.time_limit_s or limits.time or None,
        "no_output_limit_s": resolved.no_output_limit_s or limits.no_output or None,
    }  # fmt: skip
    notes = [*filter(None, (request.why, note)), *refused, *resolved.notes]
    return _record(context, request.project, found, values, notes)


def _start_task(db: Database, request: LaunchRequest, plan: TaskPlan) -> Task:
    """Create a task in `created`; the sweep creates its executions."""
    blueprint = plan.blueprint
    seed = find_own_seed(blueprint)
    values = _common(request, _changes(request, plan)) | {
        "pipeline_node_id": request.pipeline_node_id, "name": blueprint.name, "step": blueprint.step,
        "type": blueprint.type, "config": plan.config, "parameters": plan.parameters,
        "inputs": {name: list(urls) for name, urls in plan.inputs.items()},
        "environment_variables": plan.environment_variables, "environment": request.overrides.environment,
        "why": request.why, "seed": random.SystemRandom().randrange(SEEDS) if seed is None else seed,
        "planned": plan.count,
    }  # fmt: skip
    task = tasks.add(db, values)
    enqueue.enqueue_commit(db, request.commit.id)
    return task


def _start_pipeline(db: Database, request: LaunchRequest, plan: PipelinePlan) -> Pipeline:
    """Create a pipeline with nodes in `created`; the sweep starts them."""
    values = _common(request, _changes(request, plan)) | {
        "name": plan.blueprint.name, "config": plan.config, "parameters": plan.parameters,
        "environment": request.overrides.environment, "why": request.why,
    }  # fmt: skip
    nodes = [(node.name, node.kind) for node in plan.blueprint.nodes]
    pipeline = pipelines.add(db, values, nodes, request.reused)
    enqueue.enqueue_commit(db, request.commit.id)
    return pipeline


def _common(request: LaunchRequest, changed: Sequence[Change]) -> dict[str, Any]:
    overrides = request.overrides
    return {
        "project_id": request.project.id, "commit_id": request.commit.id, "push_id": request.push_id,
        "creator_id": request.creator.id, "priority": overrides.priority, "title": overrides.title,
        "tags": list(dict.fromkeys(overrides.tags)), "origin": request.origin, "client": request.client,
        "changed": list(map(asdict, changed)),
    }  # fmt: skip


def _changes(request: LaunchRequest, plan: Plan) -> list[Change]:
    """Return what a launch gives instead of the values of valohai.yaml; nodes and trials show it at their group."""
    if request.origin in (Origin.NODE, Origin.TRIAL):
        return []
    found: list[Change] = []
    if isinstance(plan, PipelinePlan):
        for parameter in plan.blueprint.parameters:
            if parameter.name in plan.parameters:
                found += find_change(parameter.name, parameter.default, plan.parameters[parameter.name])
    else:
        first = plan.first if isinstance(plan, TaskPlan) else plan
        parameters = {**plan.parameters, **_tried(request, plan)} if isinstance(plan, TaskPlan) else plan.parameters
        if request.config is None and not request.overrides.of_step:
            found += find_step_changes(first.step, parameters, first)
        elif first.step.name in map_step_items(request.commit.config):
            found += find_step_changes(load_step(request.commit.config, first.step.name), parameters, first)
    declared = _own_environment(plan)
    return [*found, *find_change("environment", declared, request.overrides.environment or declared)]


def _tried(request: LaunchRequest, plan: TaskPlan) -> Mapping[str, Any]:
    """Return the given lists of values that a task tries one by one."""
    given = request.overrides.parameters
    return {name: value for name, value in given.items() if isinstance(value, list) and name not in plan.parameters}


def _record(
    context: Context, project: Project, environment: Environment, values: Mapping[str, Any], notes: Sequence[str]
) -> Execution:
    """Store an execution and log `notes`; it fails at once if its environment, image or inputs are not allowed.

    Every execution is created here.
    """
    db = context.db
    inputs = datums.resolve_aliases(db, project.id, values["inputs"])
    execution = executions.add(db, {**values, "inputs": inputs})
    logs.log_status(db, context.config.logs_dir, execution, "Execution created", *notes, at=logs.EMPTY)
    refusal = next(_refusals(db, project, execution.commit_id, environment, execution.image, inputs), None)
    if refusal is None:
        return execution
    lifecycle.fail(context, execution, *refusal)
    return executions.get(db, execution.id)


def _refusals(
    db: Database, project: Project, commit_id: int, environment: Environment, image: str, inputs: Mapping[str, Any]
) -> Iterator[tuple[FailureReason, str]]:
    """Yield why the project may not use the environment, the environment not the image, the commit not the inputs."""
    if refusal := environments.explain_project_refusal(project, environment):
        yield FailureReason.ENVIRONMENT, refusal
    if refusal := image and environments.explain_image_refusal(environment, image):
        yield FailureReason.IMAGE, refusal
    if refusal := datums.explain_refusal(db, project.id, commit_id, inputs):
        yield FailureReason.INPUT, refusal

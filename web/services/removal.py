"""Remove a project: rows, logs, outputs and repositories, in steps that can be interrupted and repeated.

Files are deleted before their rows, so that no file without a row is left behind. The server may keep running: the
project exists until the last step, with fewer and fewer executions.

Executions are removed newest first: their files, then their rows. The project's row is deleted in one transaction that
moves its repositories aside: their paths contain their ids, so they must be moved before their rows are deleted. SQLite
reuses the ids of deleted last rows, so the outbox's cursor is lowered in the same transaction.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import trees
from core.config import Config
from core.errors import Conflict
from core.model import Execution, Project, Repository
from core.states import FINAL, UNFINISHED
from web.services import pipelines, tasks
from web.services.context import Context, open_context
from web.services.executions import lifecycle
from web.services.vault import Vault
from web.store import audit, data, executions, logs, projects, removal
from web.store import pipelines as pipeline_rows
from web.store import tasks as task_rows
from web.store.audit import Act, Kind
from web.store.db import Database, transaction
from web.store.selection import Selection

CHUNK = 50  # executions that are read at once
ASIDE = "removed-"  # prefix of repositories being removed; an interrupted removal leaves some
WAIT_S, POLL_S = 90.0, 0.2  # time for stopped executions to end, and pause between two looks


@dataclass(frozen=True, kw_only=True)
class Content:
    """Number of rows and bytes of a project."""

    executions: int
    tasks: int
    pipelines: int
    deliveries: int
    outputs: int
    output_bytes: int
    log_bytes: int
    repository_bytes: int


def count_content(context: Context, project: Project) -> Content:
    """Count the rows and bytes that removing the project would delete."""
    log_bytes = 0
    for execution in _executions(context.db, project):
        log_bytes += sum(path.stat().st_size for path in logs.list_files(context.config.logs_dir, execution))
    repositories = sum(
        trees.measure_size(path) for path in _paths(context.config, projects.list_repositories(context.db, project.id))
    )
    return Content(log_bytes=log_bytes, repository_bytes=repositories, **removal.count_data(context.db, project.id))


def list_unfinished(db: Database, project: Project) -> list[str]:
    """Return the labels of unfinished executions (#1), tasks (!1) and pipelines (=1) of a project."""
    running = [f"#{e.counter}" for e in executions.list_in_states(db, *UNFINISHED) if e.project_id == project.id]
    groups = [f"!{t.counter}" for t in task_rows.list_unfinished(db) if t.project_id == project.id]
    return running + groups + [f"={p.counter}" for p in pipeline_rows.list_unfinished(db) if p.project_id == project.id]


def stop_all(context: Context, project: Project, who: str) -> None:
    """Stop everything unfinished without a grace period and wait until it has ended.

    Raises Conflict if something does not end within WAIT_S.
    """
    with transaction(context.db):
        for pipeline in pipeline_rows.list_unfinished(context.db):
            if pipeline.project_id == project.id:
                pipelines.request_stop(context, pipeline, who)
        for task in task_rows.list_unfinished(context.db):
            if task.project_id == project.id:
                tasks.request_stop(context, task, who)
    deadline, asked = time.monotonic() + WAIT_S, set()
    while left := list_unfinished(context.db, project):
        for execution in executions.list_in_states(context.db, *UNFINISHED):
            if execution.project_id == project.id and execution.uuid not in asked:
                asked.add(execution.uuid)
                for _ in range(2):  # the second request kills
                    lifecycle.request_stop(context, execution.uuid, who)
        if time.monotonic() > deadline:
            raise Conflict(
                f"{', '.join(left[:10])} of project {project.name} did not end within {WAIT_S:.0f} s:"
                " are the server and its runner up? Run the command again"
            )
        time.sleep(POLL_S)


def remove(config: Config, vault: Vault, project: Project) -> None:
    """Remove a project. Raises Conflict if something of it has not ended."""
    # a connection of its own, since removing relaxes its checks
    with open_context(config, vault) as context:
        if running := list_unfinished(context.db, project):
            raise Conflict(f"{', '.join(running[:10])} of {project.name} have not ended: stop them first")
        for _ in remove_in_steps(context, project):
            pass


def remove_in_steps(context: Context, project: Project) -> Iterator[None]:
    """Remove a project without unfinished executions, step by step.

    Raises Conflict if an execution was started in the meantime.
    """
    removal.disable_foreign_keys(context.db)
    while ids := removal.list_newest_executions(context.db, project.id, CHUNK):
        for number in ids:
            yield from _remove_execution(context, executions.get(context.db, number))
    for uuid in data.list_uploaded(context.db, project.id):
        data.get_path(context.config.outputs_dir, uuid).unlink(missing_ok=True)
        yield
    while _in_transaction(context.db, lambda: removal.drop_some_bodies(context.db, project.id)):
        yield
    yield from _remove_project(context, project)
    clear_leftovers(context.config)


def clear_leftovers(config: Config) -> None:
    """Delete repositories that an interrupted removal moved aside."""
    for path in config.git_dir.glob(f"{ASIDE}*"):
        trees.remove(path)


def _remove_execution(context: Context, execution: Execution) -> Iterator[None]:
    if execution.state not in FINAL:
        raise Conflict(f"execution #{execution.counter} was started meanwhile: stop it, or use --force")
    for datum in data.list_outputs(context.db, execution.id):
        data.get_path(context.config.outputs_dir, datum.uuid).unlink(missing_ok=True)
        yield
    for path in logs.list_files(context.config.logs_dir, execution):
        path.unlink(missing_ok=True)
        yield
    while _in_transaction(context.db, lambda: removal.delete_some_metadata(context.db, execution.id)):
        yield
    with transaction(context.db):
        removal.delete_execution(context.db, execution.id)
    yield


def _remove_project(context: Context, project: Project) -> Iterator[None]:
    """Remove the project itself.

    Its repositories are moved aside first: a later project may get their ids, and therefore their paths.
    """
    repositories = projects.list_repositories(context.db, project.id)
    with transaction(context.db):
        if removal.list_newest_executions(context.db, project.id, 1):
            raise Conflict(f"an execution of project {project.name} was created meanwhile: run the command again")
        _move_aside(context.config, repositories)
        yield
        audit.record(context.db, Act.REMOVE, Kind.PROJECT, project.name, project.id)
        removal.delete_project(context.db, project.id)
    yield
    with transaction(context.db):  # a push that was already running may have created one again
        taken = removal.list_repository_ids(context.db)
        _move_aside(context.config, [repository for repository in repositories if repository.id not in taken])
    yield


def _in_transaction(db: Database, action: Callable[[], bool]) -> bool:
    with transaction(db):
        return action()


def _move_aside(config: Config, repositories: Sequence[Repository]) -> None:
    for path in _paths(config, repositories):
        path.rename(path.with_name(f"{ASIDE}{secrets.token_hex(8)}"))


def _paths(config: Config, repositories: Sequence[Repository]) -> list[Path]:
    """Return all paths in the directory of repositories whose name begins with the id of one of `repositories`."""
    return [path for repository in repositories for path in config.git_dir.glob(f"{repository.id}.*")]


def _all_of(project: Project, offset: int) -> Selection:
    return Selection(projects=[project.id], deleted=None, limit=CHUNK, offset=offset)


def _executions(db: Database, project: Project) -> Iterator[Execution]:
    offset = 0
    while page := executions.search(db, _all_of(project, offset))[0]:
        yield from page
        offset += CHUNK

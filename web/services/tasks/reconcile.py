"""Reconcile tasks. Level-triggered: the stored state decides what happens next, so it may be killed at any point.

1. A task is `started` once one of its executions is.
2. A task that must stop, met its stop condition or failed creates no more executions; running ones are stopped.
3. Otherwise executions are created up to the limits of the task.
4. A task ends when all of its executions have ended.

It keeps no state of its own: each change is decided from a tally of the newest execution of each trial, and made in one
transaction if nothing has changed since. At most fifty executions are created in one call, so that a large task does
not delay others. Facts that must outlast their cause, such as a stop condition that was met, are stored in
`task.ending`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from core.errors import InvalidInput, NotFound
from core.groups import Task
from core.model import Execution
from core.states import FINAL, State
from web.config import conditions
from web.config.tasks.blueprint import OnChildError, TaskBlueprint
from web.config.tasks.search import Search
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.forges import enqueue
from web.services.tasks import trials
from web.store import groups, metadata, tasks
from web.store.db import Database, transaction
from web.store.tasks import Tally

logger = logging.getLogger(__name__)

METADATA = "metadata."  # optional prefix of a key in a stop condition, as in conditions of pipelines

# Makes one change inside a transaction; returns whether it created executions, which must be dispatched.
Move = Callable[[Context, Task], bool]


def advance(context: Context) -> bool:
    """Reconcile every unfinished task: create the executions that are due, stop those that must stop, and end tasks.

    Return whether it created executions, which must be dispatched. Depends on the database only, so it may be killed at
    any point and called at any time. Creates at most AT_ONCE executions per task and call.
    """
    made, tallies = False, tasks.map_tallies(context.db)
    for task in tasks.list_unfinished(context.db):
        try:
            made |= _advance(context, task, tallies.get(task.id, Tally()))
        except Exception:
            logger.exception("task=%s cannot be reconciled; the others continue", task.uuid)
    return made


def _advance(context: Context, task: Task, tally: Tally) -> bool:
    while change := _next(context.db, task, tally):
        with transaction(context.db):
            unchanged = (tasks.get(context.db, task.id), _tally(context.db, task)) == (
                task,
                tally,
            )  # else another process was faster: read again
            if unchanged and change(context, task):
                return True  # more with the next call: a large task must not delay the others
        task, tally = tasks.get(context.db, task.id), _tally(context.db, task)
    return False


def _tally(db: Database, task: Task) -> Tally:
    return tasks.map_tallies(db, task.id).get(task.id, Tally())


def _next(db: Database, task: Task, tally: Tally) -> Move | None:
    """Return the next change of a task, None if there is none."""
    if task.state in FINAL:
        return None
    if task.state is State.CREATED and tally.begun:
        return _begin
    if task.ending is None and task.stop_requested_at is None:
        try:
            search = trials.build_search(task)
        except (InvalidInput, NotFound) as error:
            return partial(_wind_down, ending=State.ERROR, message=str(error))
        return _decided(db, task, tally, search.blueprint) or _onward(db, task, tally, search)
    if tally.stoppable:
        return _stop_some
    if tally.unfinished:
        return None
    return partial(_end, to=task.ending or State.STOPPED, message=task.message)


def _decided(db: Database, task: Task, tally: Tally, blueprint: TaskBlueprint) -> Move | None:
    """Return the change that ends the task early: its stop condition is met, or an execution failed."""
    if blueprint.stop_condition and tally.begun and (counter := _satisfied(db, task, blueprint.stop_condition)):
        message = f"stop condition met by #{counter}"
        return partial(_wind_down, ending=State.COMPLETE, message=message)
    if blueprint.on_child_error is OnChildError.STOP_ALL_AND_ERROR and tally.failed:
        return partial(_wind_down, ending=State.ERROR, message=_failure(tasks.find_first_failure(db, task.id)))
    return None


def _satisfied(db: Database, task: Task, condition: str) -> int | None:
    """Return the counter of the first execution whose latest metadata meet the condition."""
    wanted = {
        name.removeprefix(METADATA) for name in conditions.list_variable_names(condition)
    } | conditions.list_variable_names(condition)
    for counter, values in metadata.map_latest_for_task(db, task.id, wanted).items():
        if conditions.evaluate(condition, {f"{METADATA}{key}": value for key, value in values.items()} | values):
            return counter
    return None


def _failure(execution: Execution | None) -> str:
    if execution is None:
        return "an execution failed"
    return f"#{execution.counter} failed: {execution.failure_message or execution.failure_reason}"


def _onward(db: Database, task: Task, tally: Tally, search: Search) -> Move | None:
    if many := trials.count_due(search, tally):
        resolved, problem = trials.prepare(db, task, search, tally.made, many)
        return partial(_make, resolved=resolved, problem=problem, first=tally.made, search=search)
    if tally.unfinished or tally.made < search.count:
        return None
    to, message = _outcome(search, tally)
    return partial(_end, to=to, message=message)


def _outcome(search: Search, tally: Tally) -> tuple[State, str]:
    """Return the final state and message of a task whose executions have all ended."""
    of_all = f"{tally.made} execution{'s' if tally.made != 1 else ''}"
    said = []
    if tally.failed:
        said.append(f"{tally.failed} of {of_all} failed")
    if tally.stopped:
        said.append(f"{tally.stopped} of {of_all} {'was' if tally.stopped == 1 else 'were'} stopped")
    if trials.is_exhausted(search):
        said.append(
            f"all {tally.made} combinations were tried, fewer than the {trials.count_wanted(search)} executions wanted"
        )
    if tally.failed and search.blueprint.on_child_error is not OnChildError.CONTINUE_AND_COMPLETE:
        return State.ERROR, "; ".join(said)
    only_stopped = tally.stopped and not tally.complete and not tally.failed
    return State.STOPPED if only_stopped else State.COMPLETE, "; ".join(said)


def _begin(context: Context, task: Task) -> bool:
    _transition(context.db, task, State.STARTED, task.message)
    return False


def _wind_down(context: Context, task: Task, *, ending: State, message: str) -> bool:
    groups.update(context.db, "task", task.id, ending=ending, message=message)
    enqueue.enqueue_commit(context.db, task.commit_id)
    return False


def _stop_some(context: Context, task: Task) -> bool:
    said = f"Stopped with task !{task.counter}: {task.message}"
    for execution in tasks.list_stoppable(context.db, task.id, trials.AT_ONCE):
        lifecycle.stop(context, execution, task.stopped_by or f"task !{task.counter}", said)
    return False


def _make(context: Context, task: Task, *, resolved: trials.Resolved, problem: str, first: int, search: Search) -> bool:
    if resolved:
        trials.launch(context, task, resolved, first, search.count)
    if problem:
        _wind_down(context, task, ending=State.ERROR, message=problem)
    return bool(resolved)


def _end(context: Context, task: Task, *, to: State, message: str) -> bool:
    _transition(context.db, task, to, message)
    return False


def _transition(db: Database, task: Task, to: State, message: str) -> None:
    groups.transition(db, "task", task.id, task.state, to, message)
    enqueue.enqueue_commit(db, task.commit_id)

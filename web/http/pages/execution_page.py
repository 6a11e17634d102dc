"""The parts that all tabs of an execution share: its head and the window of its log.

A live page fetches the head again when the state changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from flask import render_template, request
from markupsafe import Markup

from core import clock
from core.model import Execution, Project
from core.states import FINAL
from core.text import whole_number
from web.http import auth
from web.http.pages import groups
from web.services.presentation import execution_status, headline, log_commands, loglines, stages
from web.services.presentation.log_commands import Command
from web.store import commits, executions, log_search, logs, metadata, projects
from web.store.db import Database
from web.store.logs import LogLength, LogLine

PATH = "/p/<name>/executions/<int(max=2147483647):counter>"
BLOCK_LINES = 2000  # log lines fetched at once, at most
TABS = ("overview", "log", "charts", "outputs", "resources", "configuration")


@dataclass(frozen=True, kw_only=True)
class Window:
    """The log lines on the page: from `first` up to `next`, of `total`, counted from 0; `partial` are unfinished."""

    first: int
    next: int
    total: int
    html: Markup
    partial: Markup


@dataclass(frozen=True, kw_only=True)
class Folding:
    """The commands of a log, and the numbers of the folded ones, which show only their first line."""

    commands: list[Command]
    folded: set[int]


NOTHING = Folding(commands=[], folded=set())


def requested_execution(db: Database, name: str, counter: int) -> tuple[Project, Execution]:
    project = projects.by_name(db, name)
    return project, executions.by_counter(db, project.id, counter)


def render_tab(tab: str, project: Project, execution: Execution, **values: Any) -> str:
    """Return the page of one of TABS."""
    db = auth.db()
    lines = logs.length(db, execution).lines
    shared = {
        "tab": tab,
        "tabs": TABS,
        "commit": commits.get(db, execution.commit_id),
        "place": groups.places(db, [execution]).get(execution.id),
        "position": f"{lines}-{metadata.count(db, execution.id)}",
        "final": execution.state in FINAL,
    }
    return render_template(f"execution_{tab}.html", **{**_head(project, execution), **shared, **values})


def render_head(project: Project, execution: Execution) -> str:
    return render_template("_execution_head.html", **_head(project, execution))


def log_window(execution: Execution, lines: int, folding: Folding = NOTHING) -> Window:
    """Return the last `lines` lines of the log, or those around `?line=`, counted from 1."""
    at = logs.length(auth.db(), execution)
    tail = max(0, at.lines - lines)
    line = asked_line()
    first = tail if line is None else min(max(0, line - lines // 4), tail)
    found = list(_unfolded(execution, at, first, lines, folding))
    return Window(
        first=found[0].number if found else first,
        next=found[-1].number + found[-1].count if found else first,
        total=at.lines,
        html=_html(found, folding),
        partial=Markup(loglines.partial(at.partial)),  # noqa: S704  (escaped there)
    )


def asked_line() -> int | None:
    """Return the number of the line that the URL asks for, from 0."""
    line = whole_number(request.args.get("line"))
    return None if line is None else max(0, line - 1)


def log_lines(execution: Execution, at: LogLength, first: int, count: int, folding: Folding = NOTHING) -> Markup:
    return _html(_unfolded(execution, at, first, count, folding), folding)


def commands_of(execution: Execution, at: LogLength) -> list[Command]:
    status = log_search.status_lines(auth.server().config.logs_dir, execution, at)
    return log_commands.commands(status)


def _html(lines: Iterable[LogLine], folding: Folding) -> Markup:
    by_line = {command.first: command for command in folding.commands}
    return Markup(loglines.chunks(lines, by_line))  # noqa: S704  (escaped there)


def _unfolded(execution: Execution, at: LogLength, first: int, count: int, folding: Folding) -> Iterator[LogLine]:
    """Yield `count` lines from `first` on, with the first line of each folded command in place of all its lines."""
    directory = auth.server().config.logs_dir
    for command in log_commands.folds(folding.commands, folding.folded, first):
        before = max(0, min(count, command.first - first))
        yield from logs.read(directory, execution, at, first, before)
        count -= before + 1
        if count < 0:
            return
        first = command.end or first
        yield replace(command.line, count=first - command.first)
    yield from logs.read(directory, execution, at, first, count)


def start_us(execution: Execution) -> int:
    """Return the start of the time axis of its charts, in microseconds."""
    return int(clock.parse(execution.started_at or execution.created_at).timestamp() * 1e6)


def _head(project: Project, execution: Execution) -> dict[str, Any]:
    context = auth.context()
    latest = metadata.latest(context.db, execution.id)
    key = headline.choose(latest)
    usual_s = stages.usual_s(context.db, execution)
    ran_s = execution_status.seconds(execution)
    return {
        "project": project,
        "execution": execution,
        "status": execution_status.execution_status(context, execution),
        "latest": latest,
        "main_metric": key,
        "stages": stages.stages(execution, datetime.now(UTC)),
        "usual_s": usual_s,
        "left": stages.left_text(usual_s, ran_s) if usual_s and ran_s is not None else "",
    }

"""The view of a log that a URL asks for: `?show=` and `?metrics=` filter its lines."""

from __future__ import annotations

from dataclasses import replace

from flask import request

from core.errors import InvalidInput
from core.model import Execution
from core.text import parse_whole_number
from core.wire import STREAMS
from web.http import auth
from web.services.presentation.log_commands import Command, choose_folded_commands, parse_commands
from web.services.presentation.log_view import EVERYTHING, LogView
from web.store import log_search, logs
from web.store.log_search import Query

ERRORS, HIDDEN = "errors", "hidden"
SHOWN = {"": "All", "stdout": "stdout", "stderr": "stderr", "status": "pushmill", ERRORS: "Errors"}
FILTERS = ("show", "metrics")  # names in the URL
MOST_FOLDED = 1000


def parse_filter(text: bytes = b"") -> Query:
    """Return the filter of the URL; raises InvalidInput."""
    shown, metrics = request.args.get("show", ""), request.args.get("metrics", "")
    if shown not in SHOWN or metrics not in ("", HIDDEN):
        raise InvalidInput(f"'show' must be {ERRORS}, {', '.join(STREAMS)} or empty, 'metrics' {HIDDEN} or empty")
    return Query(
        text=text, errors=shown == ERRORS, stream=shown if shown in STREAMS else "", metrics=metrics != HIDDEN
    )  # fmt: skip


def parse_line_number() -> int | None:
    """Return the number of the line that the URL asks for, from 0."""
    line = parse_whole_number(request.args.get("line"))
    return None if line is None else max(0, line - 1)


def make_tab_view(execution: Execution, wanted: Query) -> LogView:
    """Return a log as its tab shows it at first: commands that succeeded are folded, unless lines are filtered."""
    shown = make_plain_view(execution, wanted)
    found = _commands(shown)
    folded = frozenset[int]() if wanted.errors or wanted.stream else choose_folded_commands(found, parse_line_number())
    return replace(shown, commands=found, folded=folded)


def make_block_view(execution: Execution, wanted: Query) -> LogView:
    """Return a log in which the commands `?folded=` are folded; without that, a log without commands."""
    shown = make_plain_view(execution, wanted)
    if "folded" not in request.args:
        return shown
    folded = frozenset(parse_whole_number(number) or 0 for number in request.args["folded"].split(",")[:MOST_FOLDED])
    return replace(shown, commands=_commands(shown), folded=folded)


def make_plain_view(execution: Execution, wanted: Query = EVERYTHING) -> LogView:
    length = logs.get_length(auth.get_db(), execution)
    return LogView(logs_dir=auth.get_server().config.logs_dir, execution=execution, at=length, filter=wanted)


def _commands(shown: LogView) -> list[Command]:
    return parse_commands(log_search.iterate_status_lines(shown.logs_dir, shown.execution, shown.at))

"""Data that an execution's page fetches or offers for download: log lines, the whole log, series, output files."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
from flask import Blueprint, Response, request

from core.errors import InvalidInput
from core.model import Execution
from web.http import auth, downloads, numbers
from web.http.pages import log_query
from web.http.pages.execution_outputs import find_output
from web.http.pages.execution_page import PATH, get_project_and_execution
from web.services.presentation import charts, resources
from web.services.presentation.charts import BY_NUMBER, BY_TIME, Axis
from web.store import log_search, logs, metadata
from web.store.log_search import Span
from web.store.logs import LogLine

blueprint = Blueprint("execution_data", __name__)

DOWNLOADED_LINES = 500  # lines that are read at once for a download
BLOCK_LINES = 2000  # most lines of a log in one response
CSV_KEYS = 8
QUERY_BYTES = 200
MOST_HITS, SEARCH_S = 5000, 0.08  # most hits of one response, and time to find them


@blueprint.get(f"{PATH}/log.html")
@auth.read
def lines(name: str, counter: int) -> Response:
    """Return at most BLOCK_LINES log lines as HTML, from `first` on or before `before`; lines count from 0.

    `show` and `metrics` filter them; `folded` are the numbers of commands reduced to their first line. The header
    Log-Lines says which lines the answer covers, "FIRST-NEXT".
    """
    _, execution = get_project_and_execution(auth.get_db(), name, counter)
    view = log_query.make_block_view(execution, log_query.parse_filter())
    count = min(numbers.parse_argument("count", BLOCK_LINES), BLOCK_LINES)
    if "before" in request.args:
        window = view.before(numbers.parse_argument("before", 0), count)
    else:
        window = view.after(numbers.parse_argument("first", 0), count)
    headers = {"Cache-Control": "no-store", "Log-Lines": f"{window.first}-{window.next}"}
    return Response(window.html, mimetype="text/html", headers=headers)


@blueprint.get(f"{PATH}/log/search")
@auth.read
def search(name: str, counter: int) -> Response:
    """Return the numbers of the lines, from 1, that contain `q` and match the filter, from line `first` on.

    `next` is the line at which the search continues; None at the end of the log.
    """
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    text = request.args.get("q", "").encode()[:QUERY_BYTES]
    if b"\n" in text:
        raise InvalidInput("'q' must be text of one line")
    at, first = logs.get_length(db, execution), max(1, numbers.parse_argument("first", 1)) - 1
    span = Span(first=first, end=at.lines, most=MOST_HITS, seconds=SEARCH_S)
    found = log_search.search(auth.get_server().config.logs_dir, execution, at, log_query.parse_filter(text), span)
    answer = {
        "lines": [line.number + 1 for line in found.lines],
        "next": found.reached + 1 if found.reached < at.lines else None,
    }
    return Response(orjson.dumps(answer), mimetype="application/json", headers={"Cache-Control": "no-store"})


@blueprint.get(f"{PATH}/log.txt")
@auth.read
def whole_log(name: str, counter: int) -> Response:
    """Download the log as it was printed, all streams."""
    db, server = auth.get_db(), auth.get_server()
    project, execution = get_project_and_execution(db, name, counter)
    at = logs.get_length(db, execution)
    lines = logs.read(server.config.logs_dir, execution, at, 0, at.lines)
    response = Response(_blocks(lines), mimetype="text/plain")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-{execution.counter}.log.txt")
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.get(f"{PATH}/series")
@auth.read
def series(name: str, counter: int) -> Response:
    """Return the series of metadata `key`, thinned out for drawing, over axis `x`: number, time or `key.<name>`.

    `first` and `end` ask for the metadata lines from one up to the other, with as many points.
    """
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    key, axis = request.args.get("key", ""), _axis(execution)
    if "first" in request.args or "end" in request.args:
        lines = range(numbers.parse_argument("first", 0), numbers.parse_argument("end", metadata.LINES))
        found = charts.get_series_part(db, execution.id, key, axis, lines)
    else:
        found = charts.get_series(db, execution.id, key, axis)
    return Response(orjson.dumps(found), mimetype="application/json")


@blueprint.get(f"{PATH}/series.csv")
@auth.read
def values(name: str, counter: int) -> Response:
    """Download all stored values of each `key`, with the index and the time of their lines."""
    db = auth.get_db()
    project, execution = get_project_and_execution(db, name, counter)
    keys = list(dict.fromkeys(request.args.getlist("key")))
    if not 0 < len(keys) <= CSV_KEYS:
        raise InvalidInput(f"give 1 to {CSV_KEYS} keys")
    rows = charts.iterate_rows(keys, [metadata.iterate_points(db, execution.id, key) for key in keys])
    response = Response(_csv(rows), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-{execution.counter}.csv")
    return response


@blueprint.get(f"{PATH}/usage")
@auth.read
def resource_series(name: str, counter: int) -> Response:
    """Return the resource usage of the execution, for all charts in one response."""
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    found = resources.make_charts(db, execution.id, charts.compute_start_us(execution))
    return Response(orjson.dumps(found), mimetype="application/json")


@blueprint.get(f"{PATH}/outputs/<uuid:datum>/<filename>")
@auth.read
def output(name: str, counter: int, datum: uuid.UUID, filename: str) -> Response:  # noqa: ARG001
    """Serve an output file; its uuid decides, the file name is only for readers of the URL."""
    db = auth.get_db()
    _, execution = get_project_and_execution(db, name, counter)
    return downloads.send(auth.get_server().config.outputs_dir, find_output(db, execution, str(datum)))


def _blocks(lines: Iterator[LogLine]) -> Iterator[bytes]:
    while block := b"".join(line.message + b"\n" for line in islice(lines, DOWNLOADED_LINES)):
        yield block


def _csv(rows: Iterator[Sequence[Any]]) -> Iterator[str]:
    while block := list(islice(rows, DOWNLOADED_LINES)):
        text = io.StringIO()
        csv.writer(text).writerows(block)
        yield text.getvalue()


def _axis(execution: Execution) -> Axis:
    given = request.args.get("x", BY_NUMBER)
    if given == BY_TIME:
        return Axis(by=BY_TIME, start_us=charts.compute_start_us(execution))
    if given.startswith("key."):
        return Axis(by=given.removeprefix("key."))
    if given != BY_NUMBER:
        raise InvalidInput(f"x must be {BY_NUMBER}, {BY_TIME} or key.<name>, got {given[:80]!r}")
    return Axis(by=BY_NUMBER)

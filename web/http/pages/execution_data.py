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
from core.text import whole_number
from core.wire import STREAMS
from web.http import auth, downloads, numbers
from web.http.pages.execution_outputs import output_of
from web.http.pages.execution_page import (
    BLOCK_LINES,
    NOTHING,
    PATH,
    Folding,
    commands_of,
    log_lines,
    requested_execution,
    start_us,
)
from web.services.presentation import charts, resources
from web.services.presentation.charts import BY_NUMBER, BY_TIME, Axis
from web.store import log_search, logs, metadata
from web.store.log_search import Query
from web.store.logs import LogLine

blueprint = Blueprint("execution_data", __name__)

DOWNLOADED_LINES = 500  # read at once
MOST_FOLDED = 1000
CSV_KEYS = 8
QUERY_BYTES = 200
MOST_HITS, SEARCH_S = 5000, 0.08  # of one answer


@blueprint.get(f"{PATH}/log.html")
@auth.read
def lines(name: str, counter: int) -> Response:
    """Return log lines from `first` on, counted from 0, as the page shows them; at most BLOCK_LINES.

    `folded` are the numbers of commands reduced to their first line.
    """
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    first, count = numbers.in_query("first", 0), min(numbers.in_query("count", BLOCK_LINES), BLOCK_LINES)
    at, folding = logs.length(db, execution), NOTHING
    if "folded" in request.args:
        folded = {whole_number(number) or 0 for number in request.args["folded"].split(",")[:MOST_FOLDED]}
        folding = Folding(commands=commands_of(execution, at), folded=folded)
    html = log_lines(execution, at, first, count, folding)
    return Response(html, mimetype="text/html", headers={"Cache-Control": "no-store"})


@blueprint.get(f"{PATH}/log/search")
@auth.read
def search(name: str, counter: int) -> Response:
    """Return the numbers of the lines, from 1, that contain `q`, from line `first` on, of `stream`, or with an error.

    `next` is the line at which the search continues; None at the end of the log.
    """
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    text, source = request.args.get("q", "").encode()[:QUERY_BYTES], request.args.get("in", "")
    if source not in ("", "errors", *STREAMS) or b"\n" in text:
        raise InvalidInput(f"'in' must be errors, {', '.join(STREAMS)} or empty, and 'q' one line")
    query = Query(text=text, errors=source == "errors", stream=source if source in STREAMS else "")
    first = max(1, numbers.in_query("first", 1)) - 1
    hits = log_search.search(
        auth.server().config.logs_dir, execution, logs.length(db, execution), query,
        first=first, most=MOST_HITS, seconds=SEARCH_S,
    )  # fmt: skip
    found = {"lines": [line + 1 for line in hits.lines], "next": None if hits.next is None else hits.next + 1}
    return Response(orjson.dumps(found), mimetype="application/json", headers={"Cache-Control": "no-store"})


@blueprint.get(f"{PATH}/log.txt")
@auth.read
def whole_log(name: str, counter: int) -> Response:
    """Download the log as it was printed, all streams."""
    db, server = auth.db(), auth.server()
    project, execution = requested_execution(db, name, counter)
    at = logs.length(db, execution)
    lines = logs.read(server.config.logs_dir, execution, at, 0, at.lines)
    response = Response(_blocks(lines), mimetype="text/plain")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-{execution.counter}.log.txt")
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.get(f"{PATH}/series")
@auth.read
def series(name: str, counter: int) -> Response:
    """Return the series of metadata `key`, thinned out for drawing, over axis `x`: number, time or `key.<name>`."""
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    found = charts.series(db, execution.id, request.args.get("key", ""), _axis(execution))
    return Response(orjson.dumps(found), mimetype="application/json")


@blueprint.get(f"{PATH}/series.csv")
@auth.read
def values(name: str, counter: int) -> Response:
    """Download all stored values of each `key`, with the index and the time of their lines."""
    db = auth.db()
    project, execution = requested_execution(db, name, counter)
    keys = list(dict.fromkeys(request.args.getlist("key")))
    if not 0 < len(keys) <= CSV_KEYS:
        raise InvalidInput(f"give 1 to {CSV_KEYS} keys")
    rows = charts.rows(keys, [metadata.points(db, execution.id, key) for key in keys])
    response = Response(_csv(rows), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-{execution.counter}.csv")
    return response


@blueprint.get(f"{PATH}/usage")
@auth.read
def used(name: str, counter: int) -> Response:
    """Return what it used of its machine, for all charts in one response."""
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    found = resources.resource_charts(db, execution.id, start_us(execution))
    return Response(orjson.dumps(found), mimetype="application/json")


@blueprint.get(f"{PATH}/outputs/<uuid:datum>/<filename>")
@auth.read
def output(name: str, counter: int, datum: uuid.UUID, filename: str) -> Response:  # noqa: ARG001
    """Serve an output file; its uuid decides, the file name is only for readers of the URL."""
    db = auth.db()
    _, execution = requested_execution(db, name, counter)
    return downloads.send(auth.server().config.outputs_dir, output_of(db, execution, str(datum)))


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
        return Axis(by=BY_TIME, start_us=start_us(execution))
    if given.startswith("key."):
        return Axis(by=given.removeprefix("key."))
    if given != BY_NUMBER:
        raise InvalidInput(f"x must be {BY_NUMBER}, {BY_TIME} or key.<name>, got {given[:80]!r}")
    return Axis(by=BY_NUMBER)

"""Download the executions that the table's filter matches, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Blueprint, Response

from core.model import Execution
from web.http import auth
from web.http.pages.executions import EXPORTED, parse_filter, parse_order
from web.services.presentation import execution_status, formats, run_names
from web.services.presentation.run_names import RunNames
from web.store import commits, execution_search, metadata, projects
from web.store.db import Database

blueprint = Blueprint("export", __name__)

BATCH = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes text that starts with one of these

Found = Iterator[Execution]


@blueprint.get("/p/<name>/executions.<any(csv, json):kind>")
@auth.read
def download(name: str, kind: str) -> Response:
    """Send the first EXPORTED matches in the order of the table."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    names = run_names.load_run_names(db, project.id)
    found = execution_search.iterate(db, project.id, parse_filter(names), parse_order(), EXPORTED)
    body = _csv(db, found, names) if kind == "csv" else _json(db, found)
    response = Response(body, mimetype="text/csv" if kind == "csv" else "application/json")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-executions.{kind}")
    return response


def _json(db: Database, found: Found) -> Iterator[bytes]:
    """Yield one list, one execution a line."""
    start = b"[\n"
    for items in _items(db, found):
        for item in items:
            yield start + json.dumps(item).encode()
            start = b",\n"
    yield b"\n]\n" if start != b"[\n" else b"[]\n"


def _csv(db: Database, found: Found, names: RunNames) -> Iterator[bytes]:
    """Yield a line of names, and a line for each execution; of the parameters and metrics, those known to the table."""
    columns: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [(name, _of(name)) for name in FIXED]
    columns += [(name, _of("parameters", name)) for name in names.parameters]
    columns += [(name, _of("metrics", name)) for name in names.metrics]
    yield _lines([[name for name, _ in columns]])
    for items in _items(db, found):
        yield _lines([[value(item) for _, value in columns] for item in items])


def _items(db: Database, found: Found) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(found, BATCH)):
        latest = metadata.map_latest_by_execution(db, [execution.id for execution in some])
        of = commits.get_many(db, {execution.commit_id for execution in some})
        yield [
            {
                "number": e.counter, "state": e.status, "step": e.step, "title": e.title,
                "branch": of[e.commit_id].ref, "commit": of[e.commit_id].identifier,
                "message": formats.extract_subject(of[e.commit_id].message), "who": e.creator, "tags": list(e.tags),
                "environment": e.environment, "created": e.created_at, "started": e.started_at, "ended": e.ended_at,
                "seconds": execution_status.compute_run_seconds(e), "failure": e.failure_reason,
                "parameters": dict(e.parameters), "metrics": latest.get(e.id, {}),
            }
            for e in some
        ]  # fmt: skip


FIXED = ("number", "state", "step", "title", "branch", "commit", "message", "who", "tags", "environment", "created",
         "started", "ended", "seconds", "failure")  # fmt: skip


def _of(name: str, inner: str = "") -> Callable[[dict[str, Any]], Any]:
    return lambda item: item[name].get(inner) if inner else item[name]


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " ".join(value)
    text = "" if value is None else formats.format_full_value(value)
    return f"'{text}" if text.startswith(FORMULA) else text

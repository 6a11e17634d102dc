"""The API for runners at `/api/runner`, as defined in core.wire.

A runner may only report on executions leased to it, and git serves it only their repositories. A test requests every
route with tokens that must be rejected. Removing a runner marks its row and ends its token; executions still name it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import orjson
from flask import Blueprint, Response, request
from werkzeug.exceptions import ClientDisconnected, LengthRequired, RequestEntityTooLarge

from core.config import MIB
from core.errors import InvalidInput
from core.model import Runner
from core.text import parse_whole_number
from core.wire import PREPARING, FinalReport, LogBatch, RunnerOrders, RunnerReport, SourcesReport
from web.http import auth, downloads, lfs_files
from web.http.after_change import followed, unseen
from web.http.api.answers import Json
from web.services import disk
from web.services.executions import datums, lifecycle, outputs, spec
from web.services.repositories import sources as commit_sources
from web.store import logs, projects, usage

CHUNK_BYTES = MIB
BODY_BYTES = MIB
MAX_INTEGER = 2**53  # sizes and times are far below it
MESSAGE_CHARACTERS = 2000
LIST_LENGTH = 500
DEVICE_CHARACTERS = 100

REPORTS = msgspec.json.Decoder(RunnerReport)

blueprint = Blueprint("runner_api", __name__, url_prefix="/api/runner")


@blueprint.post("/heartbeat")
@auth.runner
@unseen
def heartbeat() -> Response:
    """Answer a heartbeat that `runner_heartbeats` has not answered, because it is not valid."""
    return Json(receive_heartbeat(auth.get_server(), auth.get_current_runner(), parse_report(_whole_body(BODY_BYTES))))


def receive_heartbeat(server: auth.Server, runner: Runner, report: RunnerReport) -> RunnerOrders:
    """Handle a heartbeat, which runners send every few seconds: one that changes nothing wakes no live page."""
    orders, changed = server.heartbeats.receive(server.get_context(), runner, report)
    if changed:
        server.announcer.announce(server.get_context())
    return orders


@blueprint.post("/executions/<execution>/claim")
@auth.runner
@followed
def claim(execution: str) -> Response:
    body = _body()
    attempt, resume = _whole(body.get("attempt"), "attempt"), body.get("resume") is True
    claimed = lifecycle.claim(auth.get_context(), auth.get_current_runner(), execution, attempt, resume=resume)
    return Json(spec.build_execution_spec(auth.get_context(), claimed).to_dict())


@blueprint.post("/executions/<execution>/heartbeat")
@auth.runner
@unseen
def extend(execution: str) -> Response:
    """Runners call this every second. It changes nothing visible, so it wakes no live page."""
    attempt = _whole(_body().get("attempt"), "attempt")
    return Json(lifecycle.extend(auth.get_db(), auth.get_current_runner(), execution, attempt).to_dict())


@blueprint.post("/executions/<execution>/container")
@auth.runner
@followed
def container(execution: str) -> Response:
    body = _body()
    attempt, container_id = _whole(body.get("attempt"), "attempt"), _text(body.get("container_id"), "container_id")
    digest = _text(body["image_digest"], "image_digest") if body.get("image_digest") else None
    devices = [_text(device, "devices")[:DEVICE_CHARACTERS] for device in _list(body.get("devices", []), "devices")]
    given = body.get("stage_s") or {}
    stage_s = {name: _amount(given[name], name) for name in PREPARING if name in given}
    started = lifecycle.StartedContainer(id=container_id, image_digest=digest, devices=devices, stage_s=stage_s)
    lifecycle.record_container(auth.get_db(), auth.get_current_runner(), execution, attempt, started)
    return Json({})


@blueprint.post("/executions/<execution>/usage")
@auth.runner
@unseen
def add_usage(execution: str) -> Response:
    """Runners call this every ten seconds; pages poll for the samples."""
    body = _body()
    attempt, samples = _whole(body.get("attempt"), "attempt"), _list(body.get("samples"), "samples")
    lifecycle.add_usage(
        auth.get_db(), auth.get_current_runner(), execution, attempt, [_sample(item) for item in samples]
    )
    return Json({})


@blueprint.post("/executions/<execution>/detail")
@auth.runner
@followed
def detail(execution: str) -> Response:
    body = _body()
    attempt, text = _whole(body.get("attempt"), "attempt"), _text(body.get("status_detail"), "status_detail")
    lifecycle.set_detail(auth.get_db(), auth.get_current_runner(), execution, attempt, text)
    return Json({})


@blueprint.post("/executions/<execution>/log")
@auth.runner
@followed
def log(execution: str) -> Response:
    batch, text = _log_batch(), _whole_body(logs.SEGMENT_BYTES)
    disk.check(auth.get_server().config, len(text), disk.LOG_SHARE)
    acknowledged, fitted = lifecycle.append_log(auth.get_context(), auth.get_current_runner(), execution, batch, text)
    return Json({"acknowledged": acknowledged}, 200 if fitted else 409)


@blueprint.post("/executions/<execution>/preview")
@auth.runner
@followed
def preview(execution: str) -> Response:
    body = _body()
    attempt, start = _whole(body.get("attempt"), "attempt"), _whole(body.get("start"), "start")
    stream, text = _text(body.get("stream"), "stream"), _text(body.get("text"), "text")
    line = lifecycle.UnfinishedLine(stream=stream, start=start, text=text)
    lifecycle.preview_line(auth.get_db(), auth.get_current_runner(), execution, attempt, line)
    return Json({})


@blueprint.get("/executions/<execution>/data/<uuid:datum>")
@auth.runner
def get_datum(execution: str, datum: uuid.UUID) -> Response:
    """Return the file or the requested range: a runner resumes interrupted transfers."""
    found = datums.get_input(auth.get_db(), auth.get_current_runner(), execution, _number("attempt"), str(datum))
    return downloads.send(auth.get_server().config.outputs_dir, found)


@blueprint.post("/executions/<execution>/sources")
@auth.runner
def sources(execution: str) -> Response:
    """Runners poll this each second while the worker fetches what the commit needs."""
    db, attempt = auth.get_db(), _whole(_body().get("attempt"), "attempt")
    found = commit_sources.ensure_requested(
        db, lifecycle.get_held_execution(db, auth.get_current_runner(), execution, attempt)
    )
    report = SourcesReport(
        state=found.state,
        message=found.message,
        missing=[list(reason) for reason in found.missing],
        skipped=[list(reason) for reason in found.skipped],
    )
    return Json(report.to_dict())


@blueprint.get("/executions/<execution>/lfs/<oid>")
@auth.runner
def lfs_object(execution: str, oid: str) -> Response:
    """Serve an object; as with commits, a runner may fetch any object of the project's repositories."""
    db = auth.get_db()
    held = lifecycle.get_held_execution(db, auth.get_current_runner(), execution, _number("attempt"))
    return lfs_files.send(auth.get_context(), projects.get(db, held.project_id), oid)


@blueprint.put("/executions/<execution>/outputs/<uuid:datum>")
@auth.runner
@followed
def put_output(execution: str, datum: uuid.UUID) -> Response:
    config, name = auth.get_server().config, request.args.get("name", "")
    request.max_content_length = MAX_INTEGER  # [limits] output_bytes decides
    upload = outputs.Upload(
        execution=execution, attempt=_number("attempt"), uuid=str(datum), name=name, size=_body_length()
    )
    runner = auth.get_current_runner()
    disk.check(config, upload.size)
    chunks = disk.guard_chunks(config, _chunks())
    stored = outputs.store(auth.get_db(), config.outputs_dir, config.limits, runner, upload, chunks)
    return Json({"sha256": stored.sha256, "size": stored.size})


@blueprint.post("/executions/<execution>/final")
@auth.runner
def final(execution: str) -> Response:
    report = FinalReport.from_dict(_body())
    _whole(report.attempt, "attempt")
    if report.exit_code is not None:
        _whole(report.exit_code, "exit_code")
    if report.upload_s is not None:
        _amount(report.upload_s, "upload_s")
    message = None if report.message is None else _text(report.message, "message")[:MESSAGE_CHARACTERS]
    if report.status:
        _status_lines(report.status)
    checked = FinalReport.from_dict(report.to_dict() | {"message": message})
    lifecycle.finish(auth.get_context(), auth.get_current_runner(), execution, checked)
    return Json({})


def _body() -> Mapping[str, Any]:
    try:
        data = orjson.loads(_whole_body(BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise InvalidInput("the body must be a JSON object")
    return data


def parse_report(body: bytes) -> RunnerReport:
    """Return the report in the body of a heartbeat. Raises InvalidInput."""
    try:
        report = REPORTS.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not a valid RunnerReport: {error}") from None
    _whole(report.slots, "slots")
    _whole(report.clock_us, "clock_us")
    return report


def _log_batch() -> LogBatch:
    numbers = {name: _number(name) for name in ("attempt", "start", "end", "first_us", "last_us")}
    skipped = _number("skipped") if "skipped" in request.args else 0
    return LogBatch(stream=request.args.get("stream", ""), skipped=skipped, **numbers)


def _status_lines(status: Any) -> None:
    """Check the last lines of a FinalReport."""
    if not isinstance(status, list) or len(status) != 5:
        raise InvalidInput(f"status is [start, end, first_us, last_us, text], got {status!r}"[:200])
    *numbers, text = status
    for name, number in zip(("start", "end", "first_us", "last_us"), numbers, strict=True):
        _whole(number, name)
    _text(text, "the text of status")


def _whole_body(most: int) -> bytes:
    """Return the body, read from the server itself: `request.stream` would copy each byte twice more."""
    expected = _body_length()
    if expected > most:
        raise RequestEntityTooLarge
    body: bytes = request.environ["wsgi.input"].read(expected)
    _check_whole(len(body), expected)
    return body


def _chunks() -> Iterator[bytes]:
    """Yield the complete body: a server may present a broken connection as the end of the body."""
    received, expected = 0, _body_length()
    while chunk := request.stream.read(CHUNK_BYTES):
        received += len(chunk)
        yield chunk
    _check_whole(received, expected)


def _check_whole(received: int, expected: int) -> None:
    if received != expected:
        raise ClientDisconnected(f"the body broke off after {received} of {expected} bytes")


def _body_length() -> int:
    if "HTTP_TRANSFER_ENCODING" in request.environ:
        raise LengthRequired("a Content-Length is needed: it shows whether a body is whole")
    return request.content_length or 0


def _number(name: str) -> int:
    """Return a whole number from the query string."""
    return _whole(parse_whole_number(request.args.get(name)), name)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > LIST_LENGTH:
        raise InvalidInput(f"{name} must be a list of at most {LIST_LENGTH} items")
    return value


def _sample(item: Any) -> usage.Sample:
    """Parse one [time_us, series, value]."""
    if not isinstance(item, list) or len(item) != 3:
        raise InvalidInput(f"a sample is [microseconds, series, value], got {item!r}"[:200])
    time_us, series, value = item
    if not isinstance(series, str) or not usage.SERIES.fullmatch(series):
        raise InvalidInput(f"{series!r:.100} is not a valid series; there are cpu, memory, gpu:N and gpu_memory:N")
    return usage.Sample(time_us=_whole(time_us, "time"), series=series, value=_amount(value, series))


def _amount(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not 0 <= value < MAX_INTEGER:
        raise InvalidInput(f"{name} must be a number, 0 or more, got {value!r}"[:200])
    return float(value)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < MAX_INTEGER:
        raise InvalidInput(f"{name} must be a whole number, 0 or more, got {value!r}"[:200])
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text, got {type(value).__name__}")
    return value

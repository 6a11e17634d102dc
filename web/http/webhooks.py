"""Webhooks: verify the raw body, store the delivery, nudge the worker, answer. No git and no network here.

Anybody may send a webhook, so what costs little comes first: the headers, then the body as it came, then the signature, and
only then what the body says. Up to the signature nothing depends on whether there is such a project, neither the answer nor
what is done for it: the same query, the same decryption, the same hashing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import EnvironHeaders

from core.config import ServerConfig
from core.errors import InvalidDelivery
from core.model import Project, Repository
from hooks.forges import payload, plain
from hooks.forges.base import Forge
from hooks.forges.registry import FORGES
from web.http import auth
from web.services import disk
from web.services.deliveries import intake, push_reply, redaction, rejected
from web.services.repositories import hosting
from web.store import deliveries, projects
from web.store.db import Database

blueprint = Blueprint("receive", __name__)

CHUNK = 64 * 1024
ANY_SIZE = 1 << 62
BUSY_S = 10  # after which a sender may try again when all memory for bodies is taken
FULL_S = 600  # the same when the disk is full
QUEUE_S = 60  # the same when too many of its repository's deliveries wait
WAIT_S, POLL_S = 1.5, 0.01  # for what ingest makes of a push whose pusher reads the answer
REFUSED = "Unknown webhook, or the signature is wrong.\n"  # the same for both: nobody learns which projects there are
KEPT_HEADERS = frozenset({"content-type", "user-agent"})  # beside those that the forge names
REFUSED_PREFIXES = ("x-", "webhook-")  # of the headers that are kept of a refused delivery, whatever sent it
EXTENSION = "pushmill-hooks"
NO_MEMORY = "pushmill.no-memory"  # in the environment of a request for whose body the server has no memory left


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What bounds webhooks, and the secret of projects that do not exist."""

    memory: intake.Budget
    rate: intake.Rate
    recorder: rejected.Recorder
    no_secret: bytes


class Refused(Exception):
    """The delivery is refused with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@blueprint.record_once
def set_bounds(state: BlueprintSetupState) -> None:
    state.app.extensions[EXTENSION] = new_intake(state.app.extensions["pushmill"])


def new_intake(server: auth.Server) -> Intake:
    return Intake(
        memory=intake.Budget(server.config.server.hook_memory),
        rate=intake.Rate(server.config.server.hook_rate),
        recorder=rejected.Recorder(server.config.database),
        no_secret=server.vault.encrypt(hosting.new_secret().encode()),
    )


@blueprint.post("/hooks/<project_name>/<forge_name>")
@auth.signed
def receive(project_name: str, forge_name: str) -> Response:
    """202 when the delivery is stored, 200 when it was already; 400, 401, 413, 415, 429, 503 or 507 when it is refused.

    What a forge sends of itself is never refused, even if it is of no use here: GitLab switches a webhook off that is
    refused four times in a row, and then its pushes are not told either.
    """
    try:
        headers = _lowered()
        config = auth.server().config.server
        forge, limit = _expected(config, forge_name, headers, request.content_length)
        if NO_MEMORY in request.environ:
            raise Refused(_later("Too many webhooks at once ([server] hook_memory).", 503, BUSY_S))
        request.max_content_length = ANY_SIZE  # `_body` looks at it, so that the sender gets to read what is wrong
        body = _body(request.stream, limit)
        target = projects.webhook_target(auth.db(), project_name, forge_name)
        secret = auth.server().vault.decrypt(target[1] if target else _intake().no_secret)
        if not forge.verify(headers, body, secret) or target is None:
            raise Refused(_wrong())
        return _store(forge, *_admitted(auth.db(), target[0]), headers, body)
    except Refused as refused:
        return refused.response
    except InvalidDelivery as error:
        return _text(f"This delivery cannot be used: {error}", 400)


@blueprint.after_request
def remember_refusal(response: Response) -> Response:
    """After the answer has gone out, so that its time does not tell whether there is such a project."""
    if response.status_code in rejected.STATUSES and request.view_args:
        refusal = rejected.Refusal(
            **request.view_args,
            headers=_kept(_lowered()),
            status=response.status_code,
            said=response.get_data(as_text=True).strip(),
        )
        recorder = _intake().recorder
        response.call_on_close(lambda: recorder.add(refusal))
    return response


def _intake() -> Intake:
    found: Intake = current_app.extensions[EXTENSION]
    return found


def is_acceptable(config: ServerConfig, environ: Mapping[str, Any]) -> bool:
    """Whether the body of a request to /hooks/ is worth reading, which its headers tell."""
    headers = {name.lower(): value for name, value in EnvironHeaders(dict(environ)).items()}
    length = environ.get("CONTENT_LENGTH", "")
    try:
        _expected(config, environ["PATH_INFO"].rpartition("/")[2], headers, int(length) if length.isdecimal() else None)
    except Refused:
        return False
    return bool(environ["REQUEST_METHOD"] == "POST")


def _expected(
    config: ServerConfig, forge_name: str, headers: Mapping[str, str], length: int | None
) -> tuple[Forge, int]:
    """The forge, and the bound of the body. Raises Refused for what can be refused before a byte of the body is read."""
    if headers.get("content-encoding", "identity") != "identity":
        raise Refused(_text("Compressed bodies are refused: send it as it is.", 415))
    forge = FORGES.get(forge_name)
    if forge is None or not forge.has_proof(headers):
        raise Refused(_wrong())
    is_form = payload.is_form(headers) and config.hook_form < config.hook_body
    bound, setting = (config.hook_form, "hook_form") if is_form else (config.hook_body, "hook_body")
    if (length or 0) > bound:
        raise Refused(_too_large(bound, setting))
    return forge, bound


def _admitted(db: Database, repository_id: int) -> tuple[Project, Repository]:
    """Count a verified delivery. Raises Refused when its repository has sent too many."""
    if shortage := disk.shortage(auth.server().config):
        raise Refused(_later(f"{shortage}.", 507, FULL_S))
    config = auth.server().config.server
    if wait_s := _intake().rate.wait_s(repository_id):
        told = f"More than {config.hook_rate} deliveries a minute ([server] hook_rate)."
        raise Refused(_later(told, 429, math.ceil(wait_s)))
    if config.hook_queue and deliveries.queued(db, repository_id, config.hook_queue) >= config.hook_queue:
        told = f"{config.hook_queue} deliveries of this repository wait already ([server] hook_queue)."
        raise Refused(_later(told, 429, QUEUE_S))
    repository = projects.repository(db, repository_id)
    return projects.get(db, repository.project_id), repository


def _store(forge: Forge, project: Project, repository: Repository, headers: Mapping[str, str], body: bytes) -> Response:
    db, server = auth.db(), auth.server()
    stranger = _stranger(db, project, repository, forge.full_name(headers, body))
    kept = forge.KEPT_HEADERS | KEPT_HEADERS
    row, new = deliveries.store(
        db,
        repository.id,
        source=repository.forge,
        delivery_id=forge.delivery_id(headers, body),
        event=forge.event(headers),
        headers=redaction.headers({name: value for name, value in headers.items() if name in kept}),
        body=body,
        ignored=stranger,
    )
    if new and not stranger:
        server.queues.nudge_soon()
    status = 202 if new else 200
    if not forge.PUSHER_READS_ANSWER:
        return _text((stranger or "received") if new else "already received", status)
    if headers.get("prefer") != "respond-async":
        _await(db, row)
    base = plain.base_url(body) or server.config.server.url.rstrip("/") or request.url_root.rstrip("/")
    return _text(push_reply.to_push(db, project, row, forge.parse(headers, body), base), status)


def _lowered() -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say something of a refused delivery, without what those say that prove it."""
    return redaction.headers({n: v for n, v in headers.items() if n.startswith(REFUSED_PREFIXES) or n in KEPT_HEADERS})


def _body(stream: IO[bytes], limit: int) -> bytes:
    """The whole body. Raises Refused when it is larger than `limit`."""
    kept = bytearray()
    while chunk := stream.read(CHUNK):
        kept += chunk
        if len(kept) > limit:
            raise Refused(_too_large(limit, "hook_body or hook_form"))
    return bytes(kept)


def _stranger(db: Database, project: Project, repository: Repository, full_name: str | None) -> str | None:
    """Why a delivery is not about this repository; None when it is, or names none.

    A secret speaks for one repository: the one that its URL names, and of which the first verified payload tells the
    exact name. So webhooks of a whole group or organisation may tell of others.
    """
    if full_name is None:
        return None
    known = repository.full_name
    if not known:
        remote = hosting.remote_of(repository)
        path = remote.path if remote else ""
        if path and not f"/{path}".lower().endswith(f"/{full_name}".lower()):  # a forge may lie below a path of its own
            return _other(project, path, full_name)
        known = projects.learn_full_name(db, repository.id, full_name)
    return None if known.lower() == full_name.lower() else _other(project, known, full_name)


def _other(project: Project, mine: str, named: str) -> str:
    return (
        f"this webhook is for {mine}, the delivery is about {named[:200]}; if that is its name now:"
        f" `pushmill project set-url {project.name} URL`"
    )


def _await(db: Database, row: int) -> None:
    """Wait until the delivery is handled, for WAIT_S at most."""
    deadline = time.monotonic() + WAIT_S
    while deliveries.state(db, row) == "stored" and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _wrong() -> Response:
    return Response(REFUSED, 401, mimetype="text/plain")


def _too_large(limit: int, setting: str) -> Response:
    return _text(f"The body is larger than {limit:,} bytes ([server] {setting}).", 413)


def _later(sentence: str, status: int, after_s: int) -> Response:
    response = _text(sentence, status)
    response.headers["Retry-After"] = str(after_s)
    return response


def _text(sentence: str, status: int) -> Response:
    return Response(f"{sentence}\n", status, mimetype="text/plain")

"""Webhooks: verify the raw body, store the delivery, nudge the worker, answer. No git and no network here.

Anybody may send a webhook, so cheap checks come first: the headers, then the raw body, then the signature, and only
then the payload. Up to the signature nothing depends on whether the project exists, neither the answer nor the work
done: the same query, the same decryption, the same hashing.

A missing or malformed signature is rejected by the headers, before the body is read. Forms of Gitea and Gogs must be
decoded before they are verified, since the JSON in them is signed; they are decoded in C, in a few times their size
of memory.

Deliveries that are ignored, such as other events and other repositories of a group's webhook, are stored with the
reason and answered with 202: a forge disables a webhook that is rejected several times. Only unsigned requests and
invalid payloads are rejected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from core.config import ServerConfig
from core.errors import InvalidDelivery
from core.model import Repository
from hooks.forges import payload, plain
from hooks.forges.base import Forge
from hooks.forges.registry import FORGES
from web.http import auth
from web.services import disk
from web.services.context import Context
from web.services.deliveries import intake, push_reply, redaction, rejected
from web.services.repositories import hosting
from web.store import deliveries, projects
from web.store.db import Database
from web.store.deliveries import DeliveryState, Received
from web.store.inbox import Inbox

blueprint = Blueprint("receive", __name__)

CHUNK = 64 * 1024
ANY_SIZE = 1 << 62
BUSY_S = 10  # Retry-After when all memory for bodies is in use
FULL_S = 600  # Retry-After when the disk is full
QUEUE_S = 60  # Retry-After when too many of the repository's deliveries are waiting
WAIT_S, POLL_S = 1.5, 0.01  # for ingest to handle a push whose pusher reads the answer
REFUSED = "Unknown webhook, or the signature is wrong.\n"  # the same for both: it does not reveal which projects exist
KEPT_HEADERS = frozenset({"content-type", "user-agent"})  # in addition to those that the forge names
REFUSED_PREFIXES = ("x-", "webhook-")  # headers kept of a refused delivery, whatever sent it
EXTENSION = "pushmill-hooks"
LOWERED = "pushmill.lowered"  # in the WSGI environment: the headers with names in lower case
NO_MEMORY = "pushmill.no-memory"  # in the WSGI environment of a request for whose body no memory is left


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Limits of webhooks, the secret used for projects that do not exist, and what stores deliveries."""

    memory: intake.MemoryBudget
    rate: intake.Rate
    recorder: rejected.Recorder
    no_secret: bytes
    inbox: Inbox = field(default_factory=Inbox)


class RefusedDelivery(Exception):
    """Raised with the answer to a refused delivery."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@blueprint.record_once
def set_bounds(state: BlueprintSetupState) -> None:
    state.app.extensions[EXTENSION] = make_intake(state.app.extensions["pushmill"])


def make_intake(server: auth.Server) -> Intake:
    return Intake(
        memory=intake.MemoryBudget(server.config.server.hook_memory),
        rate=intake.Rate(server.config.server.hook_rate),
        recorder=rejected.Recorder(server.config.database),
        no_secret=server.vault.encrypt(hosting.make_secret().encode()),
    )


@blueprint.post("/hooks/<project_name>/<forge_name>")
@auth.signed
def receive(project_name: str, forge_name: str) -> Response:
    """Return 202 if the delivery is stored, 200 if it already was; 400, 401, 413, 415, 429, 503 or 507 if refused.

    Events that a forge sends on its own are never refused, even if they are ignored here: GitLab disables a webhook
    after four refusals in a row, and then its pushes are not reported either.
    """
    try:
        context, headers = auth.get_context(), _lowered(request.environ)
        forge, limit = _expected(context.config.server, forge_name, headers, request.content_length)
        if NO_MEMORY in request.environ:
            raise RefusedDelivery(_later("Too many webhooks at once ([server] hook_memory).", 503, BUSY_S))
        request.max_content_length = ANY_SIZE  # `_body` checks the size, so that the sender can read the error
        body = _body(request.stream, limit)
        target = projects.find_webhook_target(context.db, project_name, forge_name)
        secret = context.vault.decrypt(target[1] if target else _intake().no_secret)
        if not forge.verify(headers, body, secret) or target is None:
            raise RefusedDelivery(_wrong())
        _admit(context, target[0])
        return _store(context, forge, project_name, target[0], headers, body)
    except RefusedDelivery as refused:
        return refused.response
    except InvalidDelivery as error:
        return _text(f"This delivery cannot be used: {error}", 400)


@blueprint.after_request
def remember_refusal(response: Response) -> Response:
    """Record a refusal after the answer was sent, so that its timing does not reveal whether the project exists."""
    if response.status_code in rejected.STATUSES and request.view_args:
        refusal = rejected.Refusal(
            **request.view_args,
            headers=_kept(_lowered(request.environ)),
            status=response.status_code,
            said=response.get_data(as_text=True).strip(),
        )
        recorder = _intake().recorder
        response.call_on_close(lambda: recorder.add(refusal))
    return response


def _intake() -> Intake:
    found: Intake = current_app.extensions[EXTENSION]
    return found


def is_acceptable(config: ServerConfig, environ: dict[str, Any]) -> bool:
    """Return whether the body of a request to /hooks/ is worth reading, judging by its headers."""
    headers = _lowered(environ)
    length = environ.get("CONTENT_LENGTH", "")
    try:
        _expected(config, environ["PATH_INFO"].rpartition("/")[2], headers, int(length) if length.isdecimal() else None)
    except RefusedDelivery:
        return False
    return bool(environ["REQUEST_METHOD"] == "POST")


def _expected(
    config: ServerConfig, forge_name: str, headers: Mapping[str, str], length: int | None
) -> tuple[Forge, int]:
    """Return the forge and the body's size limit. Raises Refused if the headers suffice to refuse the delivery."""
    if headers.get("content-encoding", "identity") != "identity":
        raise RefusedDelivery(_text("Compressed bodies are refused: send it as it is.", 415))
    forge = FORGES.get(forge_name)
    if forge is None or not forge.has_proof(headers):
        raise RefusedDelivery(_wrong())
    is_form = payload.is_form(headers) and config.hook_form < config.hook_body
    bound, setting = (config.hook_form, "hook_form") if is_form else (config.hook_body, "hook_body")
    if (length or 0) > bound:
        raise RefusedDelivery(_too_large(bound, setting))
    return forge, bound


def _admit(context: Context, repository: Repository) -> None:
    """Count a verified delivery. Raises Refused if too many were sent."""
    if shortage := disk.explain_shortage(context.config):
        raise RefusedDelivery(_later(f"{shortage}.", 507, FULL_S))
    config = context.config.server
    if wait_s := _intake().rate.wait_s(repository.id):
        told = f"More than {config.hook_rate} deliveries a minute ([server] hook_rate)."
        raise RefusedDelivery(_later(told, 429, math.ceil(wait_s)))
    if config.hook_queue and deliveries.count_queued(context.db, repository.id, config.hook_queue) >= config.hook_queue:
        told = f"{config.hook_queue} deliveries of this repository wait already ([server] hook_queue)."
        raise RefusedDelivery(_later(told, 429, QUEUE_S))


def _store(
    context: Context, forge: Forge, project: str, repository: Repository, headers: Mapping[str, str], body: bytes
) -> Response:
    db = context.db
    stranger = _stranger(db, project, repository, forge.full_name(headers, body))
    kept = forge.KEPT_HEADERS | KEPT_HEADERS
    received = Received(
        repository.id,
        repository.forge,
        forge.event(headers),
        redaction.redact_headers({name: value for name, value in headers.items() if name in kept}),
        body,
    )
    row, new = _intake().inbox.store(db, received, forge.delivery_id(headers, body), stranger)
    if new and not stranger:
        auth.get_server().queues.nudge_soon()
    status = 202 if new else 200
    if not forge.PUSHER_READS_ANSWER or headers.get("prefer") == "respond-async":
        return _text((stranger or "received") if new else "already received", status)
    _await(db, row)
    base = plain.find_base_url(body) or context.config.server.url.rstrip("/") or request.url_root.rstrip("/")
    return _text(push_reply.format_reply(db, row, f"{base}/p/{project}"), status)


def _lowered(environ: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a WSGI environment, with names in lower case; they are computed once."""
    if LOWERED not in environ:
        environ[LOWERED] = _lower(environ)
    found: dict[str, str] = environ[LOWERED]
    return found


def _lower(environ: Mapping[str, Any]) -> dict[str, str]:
    found = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    kind = environ.get("CONTENT_TYPE")
    return found | {"content-type": kind} if kind else found


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers worth keeping of a refused delivery, without the values that authenticate it."""
    return redaction.redact_headers(
        {n: v for n, v in headers.items() if n.startswith(REFUSED_PREFIXES) or n in KEPT_HEADERS}
    )


def _body(stream: IO[bytes], limit: int) -> bytes:
    """Return the whole body. Raises Refused if it is larger than `limit`."""
    kept = bytearray()
    while chunk := stream.read(CHUNK):
        kept += chunk
        if len(kept) > limit:
            raise RefusedDelivery(_too_large(limit, "hook_body or hook_form"))
    return bytes(kept)


def _stranger(db: Database, project: str, repository: Repository, full_name: str | None) -> str | None:
    """Return why a delivery is not about this repository; None if it is, or if it names none.

    A secret authenticates one repository: the one that its URL names; the first verified payload gives its exact name.
    Webhooks of a whole group or organisation may report pushes to others.
    """
    if full_name is None:
        return None
    known = repository.full_name
    if not known:
        remote = hosting.find_remote(repository)
        path = remote.path if remote else ""
        if path and not f"/{path}".lower().endswith(f"/{full_name}".lower()):  # a forge's URL may have a path prefix
            return _other(project, path, full_name)
        known = projects.learn_full_name(db, repository.id, full_name)
    return None if known.lower() == full_name.lower() else _other(project, known, full_name)


def _other(project: str, mine: str, named: str) -> str:
    return (
        f"this webhook is for {mine}, the delivery is about {named[:200]}; if that is its name now:"
        f" `pushmill project set-url {project} URL`"
    )


def _await(db: Database, row: int) -> None:
    """Wait until the delivery is handled, for WAIT_S at most."""
    deadline = time.monotonic() + WAIT_S
    while deliveries.find_state(db, row) is DeliveryState.STORED and time.monotonic() < deadline:
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

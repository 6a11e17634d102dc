"""Webhooks: verify the raw body, store the delivery, nudge the worker, answer. No git and no network here."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import IO

from flask import Blueprint, Response, request
from sqlite_utils import Database

from core.errors import InvalidDelivery, NotFound
from core.model import Project, Repository
from hooks.forges import plain
from hooks.forges.base import Forge
from hooks.forges.registry import FORGES
from web import access
from web.services import answers, hosting, redaction, refusals
from web.store import deliveries, projects

blueprint = Blueprint("receive", __name__)

CHUNK = 64 * 1024
ANY_SIZE = 1 << 62
DISCARDED_TIMES = 4  # of the largest body is read and thrown away, so that its sender gets to read the answer
WAIT_S, POLL_S = 1.5, 0.01  # for what ingest makes of a push whose pusher reads the answer
REFUSED = "Unknown webhook, or the signature is wrong.\n"  # the same for both: nobody learns which projects there are
KEPT_HEADERS = frozenset({"content-type", "user-agent"})  # beside those that the forge names
REFUSED_PREFIXES = ("x-", "webhook-")  # of the headers that are kept of a refused delivery, whatever sent it


@blueprint.post("/hooks/<project_name>/<forge_name>")
@access.signed
def receive(project_name: str, forge_name: str) -> Response:
    """202 when the delivery is stored, 200 when it was already; 400, 401, 413 or 415 when it is refused.

    What a forge sends of itself is never refused, even if it is of no use here: GitLab switches a webhook off that is
    refused four times in a row, and then its pushes are not told either.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return _text("Compressed bodies are refused: send it as it is.", 415)
    limit = access.server().config.server.hook_body
    request.max_content_length = ANY_SIZE  # looked at here, so that the sender gets to read what is wrong
    body = _body(request.stream, limit)
    if body is None:
        return _text(f"The body is larger than {limit:,} bytes ([server] hook_body).", 413)
    headers = _lowered()
    target = _target(access.db(), project_name, forge_name)
    secret = _secret(access.db(), target)
    forge = FORGES.get(forge_name, plain)
    if not forge.verify(headers, body, secret) or target is None:
        return Response(REFUSED, 401, mimetype="text/plain")
    try:
        return _store(forge, *target, headers, body)
    except InvalidDelivery as error:
        return _text(f"This delivery cannot be used: {error}", 400)


@blueprint.after_request
def remember_refusal(response: Response) -> Response:
    """After the answer has gone out, so that its time does not tell whether there is such a project."""
    if response.status_code in refusals.STATUSES and request.view_args:
        said, headers = response.get_data(as_text=True).strip(), _kept(_lowered())
        record = partial(refusals.record, access.db(), **request.view_args, headers=headers)
        response.call_on_close(partial(record, status=response.status_code, said=said))
    return response


def _store(forge: Forge, project: Project, repository: Repository, headers: Mapping[str, str], body: bytes) -> Response:
    db, server = access.db(), access.server()
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
    return _text(answers.to_push(db, project, row, forge.parse(headers, body), base), status)


def _lowered() -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say something of a refused delivery, without what those say that prove it."""
    return redaction.headers({n: v for n, v in headers.items() if n.startswith(REFUSED_PREFIXES) or n in KEPT_HEADERS})


def _body(stream: IO[bytes], limit: int) -> bytes | None:
    """The whole body, or None when it is larger than `limit`; then it was read on for a while."""
    kept, size = bytearray(), 0
    while size <= DISCARDED_TIMES * limit and (chunk := stream.read(CHUNK)):
        size += len(chunk)
        if size <= limit:
            kept += chunk
        else:
            kept.clear()
    return bytes(kept) if size <= limit else None


def _target(db: Database, project_name: str, forge_name: str) -> tuple[Project, Repository] | None:
    with contextlib.suppress(NotFound):
        project = projects.by_name(db, project_name)
        for repository in projects.repositories(db, project.id):
            if repository.forge == forge_name or (repository.forge, forge_name) == (projects.HOSTED, "plain"):
                return project, repository
    return None


def _secret(db: Database, target: tuple[Project, Repository] | None) -> bytes:
    """The secret of the target's repository; without a target one that nobody knows, so that it takes as long."""
    if target is None:
        return secrets.token_bytes(32)
    return access.server().vault.decrypt(projects.secret(db, target[1].id))


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


def _text(sentence: str, status: int) -> Response:
    return Response(f"{sentence}\n", status, mimetype="text/plain")

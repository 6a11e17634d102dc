"""Pushes and webhooks that a project received, and their results: the page for "nothing happens"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from core.errors import Conflict, NotFound
from core.model import Commit, Project
from web.http import auth, changes
from web.services.deliveries import redaction
from web.services.presentation import verdicts
from web.services.presentation.verdict import Verdict
from web.store import audit, commits, deliveries, launched, projects, pushes
from web.store.audit import Act, Kind
from web.store.db import Database, transaction
from web.store.deliveries import Delivery, DeliveryState, OwnSource
from web.store.launched import Launched
from web.store.pushes import Push

blueprint = Blueprint("deliveries", __name__)

PATH = "/p/<name>/deliveries/<int(max=9223372036854775807):number>"
SHOWN_CHARS = 64 * 1024  # most characters of a body that are shown; the download has all of it
SHOWN_PUSHES = 50
SIGNATURES = {
    "valid": "valid",
    "missing": "missing",
    "wrong": "not valid",
    "unchecked": "not checked",
}


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One push of a delivery, with its commit and what it launched."""

    push: Push
    commit: Commit | None
    verdict: Verdict
    launched: list[Launched]


@blueprint.get("/p/<name>/deliveries/")
@auth.read
def listing(name: str) -> ResponseReturnValue:
    """Redirect to the page that lists them now."""
    return redirect(url_for("activity.listing", name=name, page=request.args.get("page")), 301)


@blueprint.get(f"{PATH}/")
@auth.read
@changes.shows(changes.PUSHES, changes.RUNS)
def show(name: str, number: int) -> str:
    db = auth.get_db()
    project, delivery = _requested_delivery(db, name, number)
    reported = pushes.list_for_delivery(db, delivery.id)
    effects = _effects(db, reported[:SHOWN_PUSHES])
    secret = _secret(db, delivery)
    body = redaction.redact_body(delivery, secret)
    return render_template(
        "delivery.html",
        project=project,
        delivery=delivery,
        signature=_signature(delivery),
        effects=effects,
        more_effects=len(reported) - len(effects),
        run_again_by=deliveries.list_reruns(db, delivery.id),
        headers=redaction.redact_headers(delivery.headers, secret),
        body=body[:SHOWN_CHARS],
        more=len(body) > SHOWN_CHARS,
    )


@blueprint.get(f"{PATH}/body.txt")
@auth.read
def body(name: str, number: int) -> Response:
    """Download the whole body, without its secrets, as the page shows it."""
    db = auth.get_db()
    project, delivery = _requested_delivery(db, name, number)
    response = Response(redaction.redact_body(delivery, _secret(db, delivery)), mimetype="text/plain")
    response.headers.set("Content-Disposition", "attachment", filename=f"{project.name}-delivery-{delivery.id}.txt")
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.post(f"{PATH}/again")
@auth.launch
def process_again(name: str, number: int) -> ResponseReturnValue:
    """Process the delivery again, as a new one; a delivery that waits for its next attempt is retried now."""
    db = auth.get_db()
    project, delivery = _requested_delivery(db, name, number)
    if delivery.state is DeliveryState.REFUSED:
        raise Conflict(
            f"delivery {number} was rejected: fix the problem it names, then send it again from the Git host"
        )
    if delivery.pruned:
        raise Conflict(f"the body of delivery {number} has been deleted: send it again from the Git host, or push")
    with transaction(db):
        row = delivery.id if delivery.state is DeliveryState.STORED else deliveries.store_again(db, delivery.id)
        deliveries.retry_now(db, row)
        audit.record(db, Act.LAUNCH, Kind.DELIVERY, number, project.id)
    return redirect(url_for("deliveries.show", name=name, number=row), 303)


def _requested_delivery(db: Database, name: str, number: int) -> tuple[Project, Delivery]:
    project, delivery = projects.get_by_name(db, name), deliveries.get(db, number)
    if delivery is None or projects.get_repository(db, delivery.repository_id).project_id != project.id:
        raise NotFound(f"project {name} has no delivery {number}")
    return project, delivery


def _effects(db: Database, pushes: Sequence[Push]) -> list[Effect]:
    of = commits.get_many(db, {push.commit_id for push in pushes if push.commit_id is not None})
    runs = launched.list_by_push(db, [push.id for push in pushes])
    sentences = verdicts.map_by_push(db, pushes, of)
    return [
        Effect(push=push, commit=of.get(push.commit_id or 0), verdict=sentences[push.id], launched=runs[push.id])
        for push in pushes
    ]


def _signature(delivery: Delivery) -> str:
    if delivery.source == OwnSource.POLL:
        return "not needed: found by polling"
    if delivery.source == OwnSource.SCHEDULE:
        return "not needed: created by a schedule"
    if delivery.source == OwnSource.APPROVAL:
        return "not needed: created by an approval"
    if delivery.source == projects.HOSTED and not delivery.headers and delivery.signature == "valid":
        return "not needed: pushed to this server"
    return SIGNATURES.get(delivery.signature, delivery.signature)


def _secret(db: Database, delivery: Delivery) -> str:
    """Return the secret that signed it, so that it can be redacted from the page."""
    kept = projects.get_secret(db, delivery.repository_id)
    return auth.get_server().vault.decrypt(kept).decode() if kept else ""

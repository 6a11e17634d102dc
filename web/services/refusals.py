"""Deliveries that were refused, without their bodies and few: "nothing happens" is mostly a wrong secret."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from sqlite_utils import Database

from core.errors import InvalidDelivery, NotFound
from hooks.forges.registry import FORGES
from web.services import hosting, redaction
from web.store import deliveries, projects
from web.store.db import transaction

WRONG, UNUSABLE, TOO_LARGE, COMPRESSED = 401, 400, 413, 415  # the answers that refuse a delivery
STATUSES = frozenset({WRONG, UNUSABLE, TOO_LARGE, COMPRESSED})
MOST_HEADERS, HEADER_CHARS = 40, 300  # anybody may send these
MESSAGE_CHARS = 500


def record(
    db: Database, project_name: str, forge_name: str, headers: Mapping[str, str], status: int, said: str
) -> None:
    """Keep that a delivery to /hooks/<project>/<forge> was refused, and why; nothing when there is no such project.

    `status` and `said` are what its sender was told, which for a wrong signature is deliberately little.
    """
    with contextlib.suppress(NotFound):
        project = projects.by_name(db, project_name)
        paths = {hosting.webhook_path(project, r.forge): r for r in projects.repositories(db, project.id)}
        if not paths or not deliveries.may_refuse(db, project.id):
            return
        sent_to = f"/hooks/{project_name}/{forge_name}"
        if status != WRONG:
            signature, message = ("valid" if status == UNUSABLE else "unchecked"), said
        elif sent_to not in paths:
            signature, message = "unchecked", f"It was sent to {sent_to}; this project's webhook is {', '.join(paths)}."
        else:
            signature, message = _why(project_name, headers)
        kept = {n[:HEADER_CHARS]: v[:HEADER_CHARS] for n, v in list(headers.items())[:MOST_HEADERS]}
        with transaction(db):
            deliveries.refuse(
                db,
                project.id,
                paths.get(sent_to, next(iter(paths.values()))).id,
                source=forge_name[:HEADER_CHARS],
                event=_event(forge_name, headers),
                headers=redaction.headers(kept),
                signature=signature,
                message=message[:MESSAGE_CHARS],
            )


def _why(project_name: str, headers: Mapping[str, str]) -> tuple[str, str]:
    if any(redaction.SECRET_NAME.search(name) for name in headers):
        known = f"`pushmill project show {project_name}` on the server prints the right one"
        return "wrong", f"Its signature is wrong: the secret at its sender is not this project's. {known}."
    return "missing", "It is not signed: give its sender the webhook's secret, which the server checks."


def _event(forge_name: str, headers: Mapping[str, str]) -> str:
    forge = FORGES.get(forge_name)
    with contextlib.suppress(InvalidDelivery):
        return forge.event(headers)[:HEADER_CHARS] if forge else ""
    return ""

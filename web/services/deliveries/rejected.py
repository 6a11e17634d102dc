"""Record refused deliveries, a limited number and without bodies: "nothing happens" usually means a wrong secret.

Anyone can cause them, so they have no body, a name of our own, and limits per minute and in total, separate for signed
ones. They are written after the answer in a separate thread: on the request's thread they would delay the next answer
on its connection, which would reveal which projects exist.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidDelivery, NotFound
from hooks.forges.registry import FORGES
from web.services.deliveries import redaction
from web.services.repositories import hosting
from web.store import deliveries, projects
from web.store.db import Database, connect, transaction
from web.store.deliveries import Received

# HTTP statuses that refuse a delivery
WRONG, UNUSABLE, TOO_LARGE, COMPRESSED, TOO_MANY, BUSY = 401, 400, 413, 415, 429, 503
STATUSES = frozenset({WRONG, UNUSABLE, TOO_LARGE, COMPRESSED, TOO_MANY, BUSY})
VERIFIED = frozenset({UNUSABLE, TOO_MANY})  # only signed deliveries get that far
WAITING = 200  # refusals not written yet; more are dropped
MOST_HEADERS, HEADER_CHARS = 40, 300  # anyone may send these
MESSAGE_CHARS = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A delivery to /hooks/<project>/<forge> that was refused.

    `status` and `said` are the answer to its sender, which for a wrong signature deliberately says little.
    """

    project_name: str
    forge_name: str
    headers: Mapping[str, str]
    status: int
    said: str


class Recorder:
    """Writes refusals in a separate thread, so that response times do not reveal which projects exist."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._waiting: queue.Queue[Refusal] = queue.Queue(WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, refusal: Refusal) -> None:
        """Queue a refusal to be written; drop it if too many are queued."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(refusal)
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="refusals", daemon=True)
                thread.start()  # may fail, and is tried again at the next call then
                self._thread = thread

    def settle(self) -> None:
        """Wait until all queued refusals are written."""
        self._waiting.join()

    def _run(self) -> None:
        while True:
            refusal = self._waiting.get()
            try:
                with contextlib.closing(connect(self._database)) as db:
                    _record(db, refusal)
            except Exception:
                logger.exception("a refused delivery to project %r is not recorded", refusal.project_name)
            finally:
                self._waiting.task_done()


def _record(db: Database, refusal: Refusal) -> None:
    """Record that a delivery was refused, and why; do nothing if the project does not exist."""
    project_name, forge_name, status = refusal.project_name, refusal.forge_name, refusal.status
    with contextlib.suppress(NotFound):
        project = projects.get_by_name(db, project_name)
        paths = {hosting.get_webhook_path(project, r.forge): r for r in projects.list_repositories(db, project.id)}
        if not paths or not deliveries.may_store_refusal(db, project.id, verified=status in VERIFIED):
            return
        sent_to = f"/hooks/{project_name}/{forge_name}"
        if status != WRONG:
            signature, message = ("valid" if status in VERIFIED else "unchecked"), refusal.said
        elif sent_to not in paths:
            signature, message = "unchecked", f"Sent to {sent_to}, but this project's webhook is {', '.join(paths)}."
        else:
            signature, message = _why(project_name, refusal.headers)
        kept = {n[:HEADER_CHARS]: v[:HEADER_CHARS] for n, v in list(refusal.headers.items())[:MOST_HEADERS]}
        received = Received(
            paths.get(sent_to, next(iter(paths.values()))).id,
            forge_name[:HEADER_CHARS],
            _event(forge_name, refusal.headers),
            redaction.redact_headers(kept),
        )
        with transaction(db):
            deliveries.refuse(db, project.id, received, signature, message[:MESSAGE_CHARS])


def _why(project_name: str, headers: Mapping[str, str]) -> tuple[str, str]:
    if any(redaction.SECRET_NAME.search(name) for name in headers):
        known = f"`pushmill project show {project_name}` on the server shows the right one"
        return "wrong", f"The signature is not valid: the webhook has another secret than this project. {known}."
    return "missing", "The signature is missing: enter the secret in the webhook settings of the Git host."


def _event(forge_name: str, headers: Mapping[str, str]) -> str:
    forge = FORGES.get(forge_name)
    with contextlib.suppress(InvalidDelivery):
        return forge.event(headers)[:HEADER_CHARS] if forge else ""
    return ""

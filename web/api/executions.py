"""Executions: `/executions/…`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request
from sqlite_utils import Database
from werkzeug.exceptions import MethodNotAllowed

from core.errors import InvalidInput
from core.model import Execution
from core.states import FINAL
from web import access
from web.api import query, serialize
from web.api.answers import answer, page_of
from web.services import dispatch, lifecycle
from web.store import commits, data, environments, executions, metadata, projects

ORDERS = {"counter": "counter ASC", "-counter": "counter DESC", "ctime": "id ASC", "-ctime": "id DESC"}


@access.user
def listing() -> Response:
    db, counters = access.db(), [query.whole(item, "counter") for item in request.args.getlist("counter")]
    statuses = request.args.getlist("status")
    # who names executions or asks for unfinished ones without a limit means all of them
    page = query.page(query.MAX_LIMIT if counters or statuses else query.DEFAULT_LIMIT)
    if query.flag("deleted"):
        return page_of([], 0, page)
    project = query.asked_project(db)
    found, count = executions.search(
        db, project_id=project.id if project else None, statuses=statuses, counters=counters,
        creator_id=_creator(), order=_order(), limit=page.limit, offset=page.offset,
    )  # fmt: skip
    return page_of(_objects(db, found), count, page)


@access.user
def detail(identifier: str) -> Response:
    db = access.db()
    found = query.execution(db, identifier)
    result = serialize.execution_detail(
        request.url_root,
        found,
        projects.get(db, found.project_id),
        commits.of_ids(db, [found.commit_id])[found.commit_id],
        environments.by_name(db).get(found.environment),
        latest=metadata.latest(db, found.id),
        outputs=data.of_execution(db, found.id),
    )
    excluded = query.words("exclude")
    return answer({key: value for key, value in result.items() if key not in excluded})


@access.user
def stop(identifier: str) -> Response:
    """Stop it; asked again, kill it. A finished execution is left as it is and that is no error."""
    db, server = access.db(), access.server()
    found = query.execution(db, identifier)
    if found.state in FINAL:
        return answer({"message": "Already complete"})
    stopped = lifecycle.request_stop(db, server.config.logs_dir, found.uuid, access.current_user().username)
    server.changes.publish()
    if stopped.state not in FINAL:
        return answer({"message": "Stopping" if stopped.stop_count == 1 else "Killing"})
    dispatch.dispatch(db, server.queues)
    return answer({"message": "Stopped"})


@access.user
def refuse_creation() -> Response:
    raise MethodNotAllowed(
        ["GET", "HEAD", "OPTIONS"], f"POST to {request.path} is not supported yet: push a commit to start executions."
    )


def _order() -> str:
    given = request.args.get("ordering", "-ctime")
    if given not in ORDERS:
        raise InvalidInput(f"ordering must be one of {', '.join(ORDERS)}, got {given[:80]!r}")
    return ORDERS[given]


def _creator() -> int | None:
    """The user id to filter by; clients that do not know theirs send something else and mean the one who asks."""
    given = request.args.get("creator")
    if given is None:
        return None
    return int(given) if given.isdecimal() and len(given) < query.NUMBER_DIGITS else access.current_user().id


def _objects(db: Database, found: Sequence[Execution]) -> list[dict[str, Any]]:
    ids = [execution.id for execution in found]
    owners = {owner.id: owner for owner in projects.listing(db)}
    made_from = commits.of_ids(db, {execution.commit_id for execution in found})
    latest, outputs, known = metadata.latest_of(db, ids), data.counts_of(db, ids), environments.by_name(db)
    return [
        serialize.execution(
            request.url_root, item, owners[item.project_id], made_from[item.commit_id],
            known.get(item.environment), latest=latest.get(item.id, {}), n_outputs=outputs.get(item.id, 0),
        )
        for item in found
    ]  # fmt: skip

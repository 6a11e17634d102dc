"""Commit statuses and pull request comments on the settings page: state, problems, retry, comments on or off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, request, url_for
from werkzeug import Response

from core import clock
from core.model import Repository
from web.http import auth
from web.http.pages import forms
from web.services.forges import comments, publisher
from web.services.presentation import formats
from web.services.repositories import credentials
from web.store import outbox as lines
from web.store import projects, statuses
from web.store.db import Database
from web.store.outbox import OutboxLine
from web.store.statuses import PostedStatus

blueprint = Blueprint("reports", __name__)

SHOWN = 10  # problems


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is posted to one forge. `silent` is the reason if nothing is posted at all; everything else is then empty.

    `has_api` is whether the forge has an API to post to, `waiting` how many commits and pull requests are pending,
    `refused` what the forge rejected, `troubled` what could not be posted, or not yet. `paused_until` is when the next
    request is allowed.
    """

    repository: Repository
    has_api: bool
    silent: str = ""
    api_url: str = ""
    newest: PostedStatus | None = None
    waiting: int = 0
    paused_until: str | None = None
    refused: Sequence[PostedStatus] = ()
    troubled: Sequence[OutboxLine] = ()


def status_reports(db: Database, repository: Repository, server_url: str) -> Report:
    has_api = credentials.has_forge_api(repository)
    if silent := _silent(repository, server_url):
        return Report(repository=repository, has_api=has_api, silent=silent)
    until = repository.api_retry_at
    return Report(
        repository=repository,
        has_api=has_api,
        api_url=credentials.api_url(repository),
        newest=statuses.newest(db, repository.id),
        waiting=lines.waiting(db, repository.id),
        paused_until=until if until and until > clock.now() else None,
        refused=statuses.refused(db, repository.id)[:SHOWN],
        troubled=lines.failing_lines(db, repository.id)[:SHOWN],
    )


def _silent(repository: Repository, server_url: str) -> str:
    if repository.forge == projects.HOSTED:
        return "No Git host connected."
    if not credentials.has_forge_api(repository):
        return f"{formats.forge_name(repository.forge)} has no API for statuses. Use the badge instead."
    if not repository.has_token:
        return "Nothing is posted: set an API token with `pushmill project set-token`."
    if not server_url:
        return "Nothing is posted: set `url` under [server] in config.toml to the public URL of this server."
    return ""


@blueprint.post("/p/<name>/settings/reports/again")
@auth.own
def again(name: str) -> Response:
    """Retry now: the user has fixed the problem."""
    db = auth.db()
    for repository in projects.repositories(db, projects.by_name(db, name).id):
        publisher.retry_now(db, repository)
    return forms.saved(url_for("settings.show", name=name, _anchor="reports"))


@blueprint.post("/p/<name>/settings/reports/comments")
@auth.own
def change_comments(name: str) -> Response:
    """Switch comments on pull requests on or off."""
    db = auth.db()
    comments.set_comments(db, projects.by_name(db, name), "comments" in request.form)
    return forms.saved(url_for("settings.show", name=name, _anchor="reports"))

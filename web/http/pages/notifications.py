"""The notifications section of the settings: what is posted to the project's forge, problems, comments on or off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, request, url_for
from werkzeug import Response

from core import clock
from core.model import Repository
from web.http import auth
from web.http.pages import forms
from web.http.pages.settings_page import render_section
from web.services.forges import comments, publisher
from web.services.presentation import formats
from web.services.repositories import credentials
from web.store import outbox as lines
from web.store import projects, statuses
from web.store.db import Database
from web.store.outbox import OutboxLine
from web.store.statuses import PostedStatus

blueprint = Blueprint("notifications", __name__)

SHOWN = 10  # most statuses, and most problems of each kind, that are shown


@dataclass(frozen=True, kw_only=True)
class Notifications:
    """What is posted to one forge. `silent` is the reason if nothing is posted at all; everything else is then empty.

    `has_api` is whether the forge has an API to post to, `posted` the newest statuses that it accepted, `waiting` how
    many commits and pull requests are pending, `refused` what the forge rejected, `troubled` what could not be posted,
    or not yet. `paused_until` is when the next request is allowed.
    """

    repository: Repository
    has_api: bool
    silent: str = ""
    api_url: str = ""
    posted: Sequence[PostedStatus] = ()
    waiting: int = 0
    paused_until: str | None = None
    refused: Sequence[PostedStatus] = ()
    troubled: Sequence[OutboxLine] = ()


@blueprint.get("/p/<name>/settings/notifications/")
@auth.read
def show(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    server_url = auth.get_server().config.server.url
    repositories = projects.list_repositories(db, project.id)
    found = [_notifications(db, repository, server_url) for repository in repositories]
    return render_section("notifications", project, notifications=found)


@blueprint.post("/p/<name>/settings/notifications/retry")
@auth.own
def retry(name: str) -> Response:
    """Retry now: the user has fixed the problem."""
    db = auth.get_db()
    for repository in projects.list_repositories(db, projects.get_by_name(db, name).id):
        publisher.retry_now(db, repository)
    return forms.redirect_after_saving(url_for("notifications.show", name=name))


@blueprint.post("/p/<name>/settings/notifications/comments")
@auth.own
def change_comments(name: str) -> Response:
    """Switch comments on pull requests on or off."""
    db = auth.get_db()
    comments.set_comments(db, projects.get_by_name(db, name), "comments" in request.form)
    return forms.redirect_after_saving(url_for("notifications.show", name=name))


def _notifications(db: Database, repository: Repository, server_url: str) -> Notifications:
    has_api = credentials.has_forge_api(repository)
    if silent := _silent(repository, server_url):
        return Notifications(repository=repository, has_api=has_api, silent=silent)
    until = repository.api_retry_at
    return Notifications(
        repository=repository,
        has_api=has_api,
        api_url=credentials.get_api_url(repository),
        posted=statuses.list_accepted(db, repository.id, SHOWN),
        waiting=lines.count_waiting(db, repository.id),
        paused_until=until if clock.is_ahead(until, lines.FAR_S) else None,
        refused=statuses.list_refused(db, repository.id)[:SHOWN],
        troubled=lines.list_failing(db, repository.id)[:SHOWN],
    )


def _silent(repository: Repository, server_url: str) -> str:
    if repository.forge == projects.HOSTED:
        return "Nothing is posted: this project is pushed to this server. Use the badge instead."
    if not credentials.has_forge_api(repository):
        return f"{formats.format_forge_name(repository.forge)} has no API for statuses. Use the badge instead."
    if not repository.has_token:
        return "Nothing is posted: set an API token with `pushmill project set-token`."
    if not server_url:
        return "Nothing is posted: set `url` under [server] in config.toml to the public URL of this server."
    return ""

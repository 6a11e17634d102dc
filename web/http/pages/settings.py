"""A project's settings, in sections with an address each."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from core.errors import InvalidInput
from core.git import url as git_url
from core.model import Project, Repository
from core.units import duration_text
from web.http import auth, numbers
from web.http.pages import forms, reports
from web.http.pages.addresses import base_url
from web.http.pages.settings_page import section
from web.services import removal
from web.services.executions import environments as environment_rules
from web.services.executions import variables
from web.services.repositories import hosting, polling
from web.store import deliveries, environments, projects
from web.store import removal as removal_rows

blueprint = Blueprint("settings", __name__)

DELIVERIES = 5


@dataclass(frozen=True, kw_only=True)
class RepositoryView:
    """A repository with what users enter elsewhere: the URL to push to or of the webhook, and its deploy key.

    `asked` is how often it is polled.
    """

    repository: Repository
    fetched_from: str
    push_url: str
    webhook_url: str
    webhook_page: str
    deploy_key: str
    deploy_key_page: str
    asked: str


@blueprint.get("/p/<name>/settings/")
@auth.read
def show(name: str) -> str:
    """Show the Git host, the statuses posted to it, and its deliveries."""
    db = auth.db()
    project = projects.by_name(db, name)
    repositories = projects.repositories(db, project.id)
    server_url = auth.server().config.server.url
    return section(
        "git",
        project,
        sources=[_source(project, repository) for repository in repositories],
        reports=[reports.status_reports(db, repository, server_url) for repository in repositories],
        deliveries=deliveries.of_project(db, project.id, DELIVERIES),
    )


@blueprint.get("/p/<name>/settings/runs/")
@auth.read
def runs(name: str) -> str:
    db = auth.db()
    return section("runs", projects.by_name(db, name), environments=environments.listing(db))


@blueprint.post("/p/<name>/settings/runs")
@auth.own
@forms.shown_on(runs)
def change_runs(name: str) -> Response:
    """Set the environment of steps that name no existing one, and the limit of concurrent executions."""
    db = auth.db()
    project = projects.by_name(db, name)
    given = request.form.get("max_executions", "").strip() or "0"
    with forms.at("max_executions"):
        at_once = numbers.parse(given, "the limit of concurrent executions")
    environment_rules.set_run_defaults(db, project, request.form.get("environment", ""), at_once)
    return forms.saved(url_for("settings.runs", name=name))


@blueprint.post("/p/<name>/settings/environments")
@auth.admin
@forms.shown_on(runs)
def allow_environments(name: str) -> Response:
    """Limit the project to the chosen environments; choosing none removes the limit."""
    db = auth.db()
    environment_rules.allow(db, projects.by_name(db, name), request.form.getlist("environments"))
    return forms.saved(url_for("settings.runs", name=name))


@blueprint.get("/p/<name>/settings/variables/")
@auth.read
def variables_page(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    return section("variables", project, variables=variables.listing(db, auth.server().vault, project))


@blueprint.post("/p/<name>/settings/variables")
@auth.own
@forms.shown_on(variables_page)
def set_variable(name: str) -> Response:
    """Add or replace a variable."""
    db, given = auth.db(), request.form
    project, variable = projects.by_name(db, name), given.get("variable", "").strip()
    value = given.get("value", "").replace("\r\n", "\n")  # forms send CRLF
    with forms.at("variable"):
        variables.check_name(variable)
    with forms.at("value"):
        variables.set_one(db, auth.server().vault, project, variable, value, is_secret="secret" in given)
    return forms.saved(url_for("settings.variables_page", name=name))


@blueprint.post("/p/<name>/settings/variables/remove")
@auth.own
@forms.shown_on(variables_page)
def remove_variable(name: str) -> Response:
    db = auth.db()
    project = projects.by_name(db, name)
    variables.remove(db, project, request.form.get("variable", ""))
    return forms.saved(url_for("settings.variables_page", name=name))


@blueprint.get("/p/<name>/settings/delete/")
@auth.own
def delete_page(name: str) -> str:
    db = auth.db()
    project = projects.by_name(db, name)
    unfinished, counts = removal.unfinished(db, project), removal_rows.counts(db, project.id)
    return section("delete", project, unfinished=unfinished, counts=counts)


@blueprint.post("/p/<name>/settings/delete")
@auth.own
@forms.shown_on(delete_page)
def delete(name: str) -> ResponseReturnValue:
    """Delete the project whose name was typed, unless something runs."""
    project = projects.by_name(auth.db(), name)
    with forms.at("confirm"):
        if request.form.get("confirm", "").strip() != project.name:
            raise InvalidInput(f"this is not the name of the project: type {project.name}")
    removal.remove(auth.server().config, auth.server().vault, project)
    return redirect(url_for("projects.listing"), 303)


def _source(project: Project, repository: Repository) -> RepositoryView:
    hosted = repository.forge == projects.HOSTED
    return RepositoryView(
        repository=repository,
        fetched_from=git_url.without_credentials(repository.url) if repository.url else "",
        push_url=f"{base_url()}/git/{project.name}.git" if hosted else "",
        webhook_url="" if hosted else base_url() + hosting.webhook_path(project, repository.forge),
        webhook_page=hosting.webhook_page(repository),
        deploy_key=hosting.deploy_key(repository),
        deploy_key_page=hosting.deploy_key_page(repository),
        asked="" if hosted or repository.url is None else _asked(repository),
    )


def _asked(repository: Repository) -> str:
    interval = polling.polling_interval(auth.context(), repository)
    return f"every {duration_text(interval)}" if interval else "off"

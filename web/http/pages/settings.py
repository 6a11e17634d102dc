"""A project's settings, in sections with an address each."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from core.errors import InvalidInput
from core.git import url as git_url
from core.model import Project, Repository
from core.units import format_duration
from web.http import auth, numbers
from web.http.pages import forms
from web.http.pages.addresses import get_base_url
from web.http.pages.settings_page import render_section
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
    """Show the repositories and their deliveries."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    return render_section(
        "git",
        project,
        sources=[_source(project, repository) for repository in projects.list_repositories(db, project.id)],
        deliveries=deliveries.list_deliveries(db, project.id, DELIVERIES),
    )


@blueprint.get("/p/<name>/settings/runs/")
@auth.read
def runs(name: str) -> str:
    db = auth.get_db()
    return render_section("runs", projects.get_by_name(db, name), environments=environments.list_environments(db))


@blueprint.post("/p/<name>/settings/runs")
@auth.own
@forms.shown_on(runs)
def change_runs(name: str) -> Response:
    """Set the environment of steps that name no existing one, and the limit of concurrent executions."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    given = request.form.get("max_executions", "").strip() or "0"
    with forms.name_field("max_executions"):
        at_once = numbers.parse(given, "the limit of concurrent executions")
    environment_rules.set_run_defaults(db, project, request.form.get("environment", ""), at_once)
    return forms.redirect_after_saving(url_for("settings.runs", name=name))


@blueprint.post("/p/<name>/settings/environments")
@auth.admin
@forms.shown_on(runs)
def allow_environments(name: str) -> Response:
    """Limit the project to the chosen environments; choosing none removes the limit."""
    db = auth.get_db()
    environment_rules.allow(db, projects.get_by_name(db, name), request.form.getlist("environments"))
    return forms.redirect_after_saving(url_for("settings.runs", name=name))


@blueprint.get("/p/<name>/settings/variables/")
@auth.read
def variables_page(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    return render_section("variables", project, variables=variables.list_variables(auth.get_context(), project))


@blueprint.post("/p/<name>/settings/variables")
@auth.own
@forms.shown_on(variables_page)
def set_variable(name: str) -> Response:
    """Add or replace a variable."""
    db, given = auth.get_db(), request.form
    project, variable = projects.get_by_name(db, name), given.get("variable", "").strip()
    value = given.get("value", "").replace("\r\n", "\n")  # forms send CRLF
    with forms.name_field("variable"):
        variables.check_name(variable)
    with forms.name_field("value"):
        variables.set_variable(auth.get_context(), project, variable, value, is_secret="secret" in given)
    return forms.redirect_after_saving(url_for("settings.variables_page", name=name))


@blueprint.post("/p/<name>/settings/variables/remove")
@auth.own
@forms.shown_on(variables_page)
def remove_variable(name: str) -> Response:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    variables.remove(db, project, request.form.get("variable", ""))
    return forms.redirect_after_saving(url_for("settings.variables_page", name=name))


@blueprint.get("/p/<name>/settings/delete/")
@auth.own
def delete_page(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    unfinished, counts = removal.list_unfinished(db, project), removal_rows.count_data(db, project.id)
    return render_section("delete", project, unfinished=unfinished, counts=counts)


@blueprint.post("/p/<name>/settings/delete")
@auth.own
@forms.shown_on(delete_page)
def delete(name: str) -> ResponseReturnValue:
    """Delete the project whose name was typed, unless something runs."""
    project = projects.get_by_name(auth.get_db(), name)
    with forms.name_field("confirm"):
        if request.form.get("confirm", "").strip() != project.name:
            raise InvalidInput(f"this is not the name of the project: type {project.name}")
    removal.remove(auth.get_server().config, auth.get_server().vault, project)
    return redirect(url_for("projects.listing"), 303)


def _source(project: Project, repository: Repository) -> RepositoryView:
    hosted = repository.forge == projects.HOSTED
    return RepositoryView(
        repository=repository,
        fetched_from=git_url.remove_credentials(repository.url) if repository.url else "",
        push_url=f"{get_base_url()}/git/{project.name}.git" if hosted else "",
        webhook_url="" if hosted else get_base_url() + hosting.get_webhook_path(project, repository.forge),
        webhook_page=hosting.get_new_webhook_page(repository),
        deploy_key=hosting.get_deploy_key(repository),
        deploy_key_page=hosting.get_deploy_key_page(repository),
        asked="" if hosted or repository.url is None else _polling_text(repository),
    )


def _polling_text(repository: Repository) -> str:
    interval = polling.get_interval(auth.get_context(), repository)
    return f"every {format_duration(interval)}" if interval else "off"

"""A project's settings: sources of pushes, variables, badge, and recent deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from core.errors import InvalidInput
from core.git import url as git_url
from core.model import Project, Repository
from core.units import duration_text
from web.http import auth, numbers
from web.http.pages import badge_picker, reports, rules_section
from web.http.pages.addresses import base_url
from web.http.pages.members import from_forge
from web.http.pages.rules_section import Section
from web.services.executions import environments as environment_rules
from web.services.executions import variables
from web.services.repositories import hosting, polling
from web.store import deliveries, environments, members, projects

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
    return page(projects.by_name(auth.db(), name))


@blueprint.post("/p/<name>/settings/variables")
@auth.own
def set_variable(name: str) -> ResponseReturnValue:
    """Add or replace a variable."""
    db, form = auth.db(), request.form
    project, variable = projects.by_name(db, name), form.get("variable", "").strip()
    value = form.get("value", "").replace("\r\n", "\n")  # forms send CRLF
    try:
        variables.set_one(db, auth.server().vault, project, variable, value, is_secret="secret" in form)
    except InvalidInput as error:
        return page(project, refused=variable, problem=str(error)), 400
    return _back(project)


@blueprint.post("/p/<name>/settings/variables/remove")
@auth.own
def remove_variable(name: str) -> ResponseReturnValue:
    db = auth.db()
    project = projects.by_name(db, name)
    variables.remove(db, project, request.form.get("variable", ""))
    return _back(project)


def _back(project: Project) -> ResponseReturnValue:
    return redirect(url_for("settings.show", name=project.name, _anchor="variables"), 303)


def page(project: Project, *, refused: str = "", problem: str = "", rules: Section | None = None) -> str:
    """Render the page. `refused` is a variable that could not be set, `problem` why; `rules` is an edited section."""
    db = auth.db()
    repositories = projects.repositories(db, project.id)
    return render_template(
        "settings.html",
        project=project,
        sources=[_source(project, repository) for repository in repositories],
        variables=variables.listing(db, auth.server().vault, project),
        refused=refused,
        problem=problem,
        members=members.of_project(db, project.id),
        from_forge=from_forge(project),
        picker=badge_picker.badge_picker(project, repositories),
        rules=rules or rules_section.rules_section(project),
        environments=environments.listing(db),
        reports=[
            reports.status_reports(db, repository, auth.server().config.server.url) for repository in repositories
        ],
        deliveries=deliveries.of_project(db, project.id, DELIVERIES),
    )


@blueprint.post("/p/<name>/settings/runs")
@auth.own
def change_runs(name: str) -> Response:
    """Set the environment of steps that name no existing one, and the limit of concurrent executions."""
    db = auth.db()
    project = projects.by_name(db, name)
    given = request.form.get("max_executions", "").strip() or "0"
    at_once = numbers.parse(given, "the limit of concurrent executions")
    environment_rules.set_runs(db, project, request.form.get("environment", ""), at_once)
    return redirect(url_for("settings.show", name=name, _anchor="h-runs"), 303)


@blueprint.post("/p/<name>/settings/environments")
@auth.admin
def allow_environments(name: str) -> Response:
    """Limit the project to the chosen environments; choosing none removes the limit."""
    db = auth.db()
    environment_rules.allow(db, projects.by_name(db, name), request.form.getlist("environments"))
    return redirect(url_for("settings.show", name=name, _anchor="h-runs"), 303)


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

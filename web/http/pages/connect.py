"""Connect a repository, step by step: its URL, the access to it, the webhook, and checks. Each step is an address."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from core.errors import ForgeError, GitError, InvalidInput
from core.model import Project, Repository
from hooks.apis.registry import APIS
from hooks.forges.registry import FORGES
from web.http import auth
from web.http.pages import forms
from web.http.pages.addresses import get_base_url
from web.services.forges import webhook_setup
from web.services.repositories import connecting, credentials, hosting
from web.store import deliveries, projects

blueprint = Blueprint("connect", __name__)

# endpoint, title
STEPS = (
    ("connect.repository", "Repository"),
    ("connect.access", "Access"),
    ("connect.webhook", "Webhook"),
    ("connect.checks", "Checks"),
)
CALLS_S = 10.0  # time for all calls to the forge within one request
# the steps that fix the problems of a check
WAYS_OUT = {
    "repository": ("repository", "access"), "token": ("access",), "status": ("access",), "comments": ("access",),
    "webhook": ("webhook",), "test delivery": ("webhook",), "last delivery": ("webhook",),
}  # fmt: skip


@blueprint.get("/connect/")
@auth.admin
def new() -> str:
    return _step("repository", None, url="", forges=sorted(FORGES))


@blueprint.post("/connect/")
@auth.admin
@forms.shown_on(new)
def add() -> Response:
    """Add a project with a repository elsewhere."""
    url, name = request.form.get("url", "").strip(), request.form.get("name", "").strip()
    config, forge = auth.get_server().config, _forge()
    with forms.name_field("url"), _explained():
        if not url:
            raise InvalidInput("enter the URL with which you clone the repository")
        forge = forge or connecting.detect_forge(config, url)
        name = name or connecting.make_default_name(config, url)
    with forms.name_field("name"), _explained():
        project, _ = connecting.add(auth.get_context(), name, auth.get_current_user().id, url, forge)
    return forms.redirect_after_saving(url_for("connect.access", name=project.name))


@blueprint.get("/p/<name>/connect/")
@auth.own
def repository(name: str) -> ResponseReturnValue:
    project, found = _connected(name)
    return _step("repository", project, repository=found, url=found.url or "", forges=sorted(FORGES))


@blueprint.post("/p/<name>/connect/")
@auth.admin
@forms.shown_on(repository)
def change(name: str) -> ResponseReturnValue:
    """Change the URL. A form that was not changed leaves the stored user and password as they are."""
    project, found = _connected(name)
    url, forge = request.form.get("url", "").strip(), _forge()
    if (url, forge) not in ((found.url, found.forge), (found.url, None)):
        with forms.name_field("url"), _explained():
            hosting.set_url(auth.get_context(), project, url, forge)
    return forms.redirect_after_saving(url_for("connect.access", name=name))


@blueprint.get("/p/<name>/connect/access/")
@auth.own
def access(name: str) -> ResponseReturnValue:
    project, found = _connected(name)
    api, remote = APIS.get(found.forge), hosting.find_remote(found)
    return _step(
        "access",
        project,
        repository=found,
        rights=api.RIGHTS if api else "",
        usual_api=credentials.get_api_url(found),
        has_path=remote is not None and remote.scheme == "file",
        deploy_key=hosting.get_deploy_key(found),
        deploy_key_page=hosting.get_deploy_key_page(found),
    )


@blueprint.post("/p/<name>/connect/access")
@auth.own
@forms.shown_on(access)
def store_token(name: str) -> ResponseReturnValue:
    """Store the token, and for admins the API's address. An empty token leaves the stored one as it is."""
    _, found = _connected(name)
    token, api_url = request.form.get("token", "").strip(), found.api_url
    if auth.get_current_user().is_admin:
        api_url = request.form.get("api_url", "").strip()
    with forms.name_field("api_url"):
        _check_api_url(found, api_url)
    with forms.name_field("token"):
        if not token and not found.has_token:
            raise InvalidInput("enter a token, or continue without one")
        connecting.store_token(auth.get_context(), found, token or None, None if api_url == found.api_url else api_url)
    return forms.redirect_after_saving(url_for("connect.webhook", name=name))


@blueprint.get("/p/<name>/connect/webhook/")
@auth.own
def webhook(name: str) -> ResponseReturnValue:
    return _webhook(*_connected(name))


@blueprint.post("/p/<name>/connect/webhook")
@auth.own
@forms.shown_on(webhook)
def make_webhook(name: str) -> ResponseReturnValue:
    """Create the webhook on the forge; an existing one stays."""
    project, found = _connected(name)
    added = deliveries.find_last_webhook(auth.get_db(), found.id) is None
    with _explained():
        results = webhook_setup.set_up(auth.get_context(), project, added=added, deadline=time.monotonic() + CALLS_S)
    return _webhook(project, found, results=results)


@blueprint.post("/p/<name>/connect/webhook/secret")
@auth.own
@forms.shown_on(webhook)
def new_secret(name: str) -> ResponseReturnValue:
    """Replace the webhook's secret. The response shows it only once."""
    project, found = _connected(name)
    secret = hosting.make_secret()
    hosting.set_secret(auth.get_context(), project, secret)
    response = make_response(_webhook(project, found, secret=secret))
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/p/<name>/connect/checks/")
@auth.own
def checks(name: str) -> str:
    project, found = _project(name)
    newest, is_hosted = auth.get_server().checks.newest(project.id), found.forge == projects.HOSTED
    values = {} if is_hosted else {"repository": found}
    return _step("checks", project, checked=newest, ways_out={} if is_hosted else WAYS_OUT, **values)


@blueprint.post("/p/<name>/connect/checks")
@auth.own
@forms.shown_on(checks)
def check(name: str) -> Response:
    """Start the checks, whose results the page shows as they come."""
    project, server = projects.get_by_name(auth.get_db(), name), auth.get_server()
    server.checks.start(server.config, server.vault, project.id)
    return redirect(url_for("connect.checks", name=name), 303)


def _step(step: str, project: Project | None, **content: Any) -> str:
    """Render a step; `content` are the values of its template in addition to the project."""
    content = {"repository": None} | content
    return render_template(f"connect_{step}.html", project=project, steps=STEPS, server=get_base_url(), **content)


def _webhook(project: Project, found: Repository, *, results: Sequence[str] = (), secret: str = "") -> str:
    return _step(
        "webhook",
        project,
        repository=found,
        webhook_url=get_base_url() + hosting.get_webhook_path(project, found.forge),
        webhook_page=hosting.get_new_webhook_page(found),
        has_address=bool(auth.get_server().config.server.url),
        last=deliveries.find_last_webhook(auth.get_db(), found.id),
        results=results,
        secret=secret,
    )


def _project(name: str) -> tuple[Project, Repository]:
    project = projects.get_by_name(auth.get_db(), name)
    return project, hosting.get_repository(auth.get_db(), project)


def _connected(name: str) -> tuple[Project, Repository]:
    """Return a project and its repository elsewhere.

    Redirects to the checks, which are the only step, if the project is pushed to this server.
    """
    project, found = _project(name)
    if found.forge == projects.HOSTED:
        abort(redirect(url_for("connect.checks", name=name), 303))
    return project, found


def _forge() -> str | None:
    """Return the chosen forge; None to detect it."""
    given = request.form.get("forge", "")
    if given and given not in FORGES:
        raise InvalidInput(f"unknown Git host {given[:80]!r}")
    return given or None


def _check_api_url(found: Repository, url: str) -> None:
    """Raise InvalidInput for an API on another host than the repository: it would get the token."""
    remote = hosting.find_remote(found)
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if url and url != found.api_url and (remote is None or host != remote.host.lower()):
        where = f"pushmill project set-token {projects.get(auth.get_db(), found.project_id).name} --api-url"
        raise InvalidInput(f"the API must be on the host of the repository; `{where}` on the server takes any other")


@contextmanager
def _explained() -> Iterator[None]:
    """Show problems with the URL or the forge at the form, instead of logging them."""
    try:
        yield
    except (GitError, ForgeError) as error:
        raise InvalidInput(str(error)) from None

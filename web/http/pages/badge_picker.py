"""The badge section of the settings page: choose what the badge shows, copy it, and set who can see it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from flask import Blueprint, request, url_for
from werkzeug import Response

from core.model import Project, Repository, TargetKind
from web.http import auth
from web.http.pages import forms
from web.http.pages.addresses import get_base_url
from web.http.pages.settings_page import render_section
from web.services.presentation import badges as rules
from web.services.presentation.formats import to_one_line
from web.store import audit, badges, execution_table, projects
from web.store.audit import Act, Kind
from web.store.db import transaction

blueprint = Blueprint("badge_picker", __name__)

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#!|&~])")


@dataclass(frozen=True, kw_only=True)
class BadgePicker:
    """`choices` are each field's options, `chosen` its value; `image` is a path, `endpoint` a URL for shields.io."""

    choices: dict[str, Sequence[str]]
    chosen: dict[str, str]
    image: str
    markdown: str
    endpoint: str


@blueprint.get("/p/<name>/settings/badge/")
@auth.read
def show(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    return render_section("badge", project, picker=_picker(project, projects.list_repositories(db, project.id)))


@blueprint.post("/p/<name>/settings/badge")
@auth.own
def change(name: str) -> Response:
    """Make the badge public, or visible only with its token."""
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    with transaction(db):
        projects.set_badge_public(db, project.id, "public" in request.form)
        detail = f"badge {'public' if 'public' in request.form else 'private'}"
        audit.record(db, Act.CHANGE, Kind.SETTINGS, project.name, project.id, detail)
    return forms.redirect_after_saving(url_for("badge_picker.show", name=name))


def _picker(project: Project, repositories: Sequence[Repository]) -> BadgePicker:
    """Return the picker with the choices of the page's query."""
    db, key = auth.get_db(), auth.get_server().vault
    choices: dict[str, Sequence[str]] = {
        "event": [rules.TAG, rules.SCHEDULE],
        "branch": badges.list_branches(db, [repository.id for repository in repositories]),
        "step": execution_table.list_steps(db, project.id),
        "task": badges.list_group_names(db, project.id, TargetKind.TASK),
        "pipeline": badges.list_group_names(db, project.id, TargetKind.PIPELINE),
        "metric": badges.list_metrics(db, project.id),
    }
    chosen = {field: request.args.get(field, "") for field in choices}
    asked = {field: value for field, value in chosen.items() if value}
    if not project.badge_public:
        asked["token"] = rules.compute_token(key, project)
    image = _address(project, "svg", asked)
    page = get_base_url() + url_for("executions.listing", name=project.name)
    alternative = MARKDOWN.sub(r"\\\1", to_one_line(rules.BadgeQuery(project=project.name, **chosen).title))
    return BadgePicker(
        choices={
            field: list(dict.fromkeys([*values, *filter(None, [chosen[field]])])) for field, values in choices.items()
        },
        chosen=chosen,
        image=image,
        markdown=f"[![{alternative}]({get_base_url()}{image})]({page})",
        endpoint=get_base_url() + _address(project, "json", asked),
    )


def _address(project: Project, form: str, asked: dict[str, str]) -> str:
    """Return the badge's URL, escaped so that Markdown leaves it unchanged."""
    query = urlencode(asked, quote_via=quote, safe="", errors="replace")
    return url_for("badges.badge", name=project.name, form=form) + (f"?{query}" if query else "")

"""Edit a project's rules, and try them without a push."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue

from core.errors import InvalidInput, NotFound
from web.http import auth
from web.http.pages import forms, rules_section
from web.http.pages.settings_page import render_section
from web.services.triggers import dry_run, rules
from web.services.triggers.dry_run import HypotheticalEvent
from web.store import projects
from web.store.db import transaction

blueprint = Blueprint("rules", __name__)


@blueprint.get("/p/<name>/settings/rules/")
@auth.read
def show(name: str) -> str:
    db = auth.get_db()
    project = projects.get_by_name(db, name)
    branch = next((found.default_branch for found in projects.list_repositories(db, project.id)), "")
    return render_section(
        "rules", project, rules=rules_section.build_section(project, question=HypotheticalEvent(name=branch))
    )


@blueprint.post("/p/<name>/settings/rules")
@auth.own
def change(name: str) -> ResponseReturnValue:
    """Save new rules. Invalid rules are shown again with the reason, and change nothing."""
    db, text = auth.get_db(), _text()
    project = projects.get_by_name(db, name)
    try:
        rules.parse(text)
    except InvalidInput as error:
        edited = rules_section.build_section(project, text=text, problem=str(error), question=_question())
        return render_section("rules", project, rules=edited), 400
    with transaction(db):
        projects.set_rules(db, project.id, "" if text.strip() == rules_section.START.strip() else text)
    return forms.redirect_after_saving(url_for("rules.show", name=name))


@blueprint.post("/p/<name>/settings/rules/try")
@auth.read
def try_rules(name: str) -> ResponseReturnValue:
    """Show what a commit would trigger by the rules in the editor, saved or not. Changes nothing."""
    db, question = auth.get_db(), _question()
    project = projects.get_by_name(db, name)
    try:
        answer = dry_run.evaluate_event(auth.get_context(), project, question)
    except (InvalidInput, NotFound) as error:
        edited = rules_section.build_section(project, text=question.rules, problem=str(error), question=question)
        return render_section("rules", project, rules=replace(edited, is_of_question=True)), 400
    edited = replace(rules_section.build_section(project, text=question.rules, question=question), answer=answer)
    return render_section("rules", project, rules=edited)


def _question() -> HypotheticalEvent:
    name, event, branch = (request.form.get(key, "").strip() for key in ("name", "event", "branch"))
    return HypotheticalEvent(name=name, event=event, branch=branch, rules=_text())


def _text() -> str:
    """Return the text with LF line ends, where forms send CRLF, and with one at the end."""
    text = request.form.get("rules", "").replace("\r\n", "\n").rstrip()
    return f"{text}\n" if text else ""

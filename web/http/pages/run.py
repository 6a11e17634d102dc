"""The form that launches a step, a task or a pipeline of a commit, also with the values of an earlier run."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug import Response

from core.datum import make_datum_url
from core.errors import InvalidFields, NotFound
from core.model import Commit, Origin, Project, Target, TargetKind
from core.text import parse_whole_number
from web.config.forms import commands
from web.config.forms.fields import INPUT, Texts, group_by_category
from web.config.forms.run_form import Places, RunForm, build_launched_items, find_undeclared, make_run_form, read_form
from web.config.forms.search_fields import RULES, apply_search
from web.config.overrides import Overrides
from web.config.tasks.blueprint import get_task_item
from web.http import auth
from web.http.pages.addresses import get_base_url
from web.services import launch
from web.services.launch import LaunchRequest
from web.services.presentation.earlier_run import Run, choose_configuration, prefill_form
from web.store import commits, data, environments, executions, members, pipelines, projects, pushes, tasks
from web.store.db import Database

blueprint = Blueprint("run", __name__)

PATH = "/p/<name>/commits/<identifier>/run/"
OUTPUTS = 30  # most outputs that are listed to choose from
PAGES = {TargetKind.STEP: "execution.show", TargetKind.TASK: "tasks.show", TargetKind.PIPELINE: "pipelines.show"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The target of a request. `earlier` is the run whose values the form starts with; `config` declares the target."""

    project: Project
    commit: Commit
    target: Target
    earlier: Run | None
    config: Any


@blueprint.get(PATH)
@auth.read
def show(name: str, identifier: str) -> Response | str:
    """Show the form with the values of valohai.yaml, of an earlier run (`?from=`), or of the address."""
    if _target() is None:
        return redirect(url_for("commits.show", name=name, identifier=identifier), 303)
    wanted = _wanted(auth.get_db(), name, identifier)
    texts = dict(request.args.lists())
    form = _form(wanted).filled(texts)
    return _page(wanted, form.with_problems(list(find_undeclared(form, texts))), uuid.uuid4().hex)


@blueprint.post(PATH)
@auth.launch
def submit(name: str, identifier: str) -> Response | tuple[str, int]:
    """Launch what the form says; with another action than `run`, only check it and show it again."""
    context, key = auth.get_context(), request.form.get("key", "")
    wanted = _wanted(context.db, name, identifier)
    texts = _submitted()
    form = _form(wanted).filled(texts)
    overrides, problems = read_form(form)
    problems += find_undeclared(form, texts)
    asked = _request(wanted, form, overrides, key)
    runs = request.form.get("action") == "run"
    try:
        if runs and not problems:
            made = launch.launch(context, asked)
            page = PAGES[wanted.target.kind]
            return redirect(url_for(page, name=name, counter=made.counter), 303)
        launch.plan_request(context.db, asked)
    except InvalidFields as error:
        problems = [*problems, *error.problems]
    return _page(wanted, form.with_problems(list(dict.fromkeys(problems))), key), 400 if runs else 200


def _target() -> Target | None:
    kinds = [kind for kind in TargetKind if request.args.get(kind)]
    return Target(kind=kinds[0], name=request.args[kinds[0]]) if kinds else None


def _wanted(db: Database, name: str, identifier: str) -> Wanted:
    project, target = projects.get_by_name(db, name), _target()
    if target is None:
        raise NotFound("the address names no step, task or pipeline")
    commit, earlier = commits.get_by_identifier(db, project.id, identifier), _earlier(db, project, target.kind)
    config = choose_configuration(commit.config, earlier) if earlier else commit.config
    return Wanted(project=project, commit=commit, target=target, earlier=earlier, config=config)


def _earlier(db: Database, project: Project, kind: TargetKind) -> Run | None:
    counter = parse_whole_number(request.args.get("from"))
    if counter is None:
        return None
    find: dict[TargetKind, Callable[[Database, int, int], Run]] = {
        TargetKind.STEP: executions.get_by_counter,
        TargetKind.TASK: tasks.get_by_counter,
        TargetKind.PIPELINE: pipelines.get_by_counter,
    }
    return find[kind](db, project.id, counter)


def _form(wanted: Wanted) -> RunForm:
    """Return the form before anything was submitted."""
    places = _places(auth.get_db(), wanted.project)
    form = make_run_form(wanted.config, wanted.target, places)
    if wanted.earlier is None:
        return form
    return prefill_form(wanted.config, form, places, wanted.earlier, auth.get_server().config.limits.time)


def _places(db: Database, project: Project) -> Places:
    known = environments.map_by_slug(db)
    slugs = [slug for slug in known if not project.environments or slug in project.environments]
    return Places(slugs=slugs, default=project.environment if project.environment in known else "default")


def _submitted() -> Texts:
    """Return the texts of the form, with the chosen outputs after the URLs of their input."""
    texts = dict(request.form.lists())
    key = f"{INPUT}{request.form.get('pick-for', '')}"
    if picked := request.form.getlist("pick"):
        texts[key] = [*texts.get(key, ()), *map(make_datum_url, picked)]
    return texts


def _request(wanted: Wanted, form: RunForm, overrides: Overrides, key: str) -> LaunchRequest:
    """Return the launch of a form. The same form with other values is another launch."""
    texts = sorted((field.key, field.values) for field in form.fields.values())
    digest = hashlib.sha256(repr((wanted.commit.id, wanted.target, texts)).encode()).hexdigest()
    return LaunchRequest(
        origin=Origin.PAGE,
        project=wanted.project,
        commit=wanted.commit,
        creator=auth.get_current_user(),
        kind=wanted.target.kind,
        name=wanted.target.name,
        config=_items(wanted, form),
        overrides=overrides,
        key=f"{key[:64]}-{digest}" if key else "",
    )


def _items(wanted: Wanted, form: RunForm) -> Any:
    items = build_launched_items(wanted.config, form)
    return wanted.config if items is None and wanted.config is not wanted.commit.config else items


def _page(wanted: Wanted, form: RunForm, key: str) -> str:
    db, project = auth.get_db(), wanted.project
    trusted = commits.is_trusted(db, wanted.commit.id)
    search = request.form.get("search", "").strip()
    return render_template(
        "run.html",
        project=project,
        commit=wanted.commit,
        target=wanted.target,
        earlier=wanted.earlier,
        form=form,
        numbers={key: number for number, key in enumerate(form.fields)},
        groups=group_by_category(form.parameters),
        rule_styles=RULES,
        key=key,
        address=lambda commit: _address(wanted, commit),
        newest=_newest(db, wanted.commit),
        approvers=[] if trusted else _approvers(db, project),
        trusted=trusted,
        outputs=data.search_outputs(db, project.id, search, OUTPUTS) if form.inputs and trusted else [],
        search=search,
        picking=request.form.get("action") == "pick",
        **_commands(wanted, form),
    )


def _address(wanted: Wanted, identifier: str) -> str:
    values: dict[str, Any] = {wanted.target.kind: wanted.target.name}
    if wanted.earlier is not None:
        values["from"] = wanted.earlier.counter
    return url_for("run.submit", name=wanted.project.name, identifier=identifier, **values)


def _newest(db: Database, commit: Commit) -> str:
    """Return the newest commit of this commit's branch; "" if this is the newest, or if it has no branch."""
    last = pushes.find_last(db, commit.repository_id, f"refs/heads/{commit.ref}")
    if last is None or last.push.deleted or last.push.commit_id in (None, commit.id):
        return ""
    return last.push.after


def _approvers(db: Database, project: Project) -> Sequence[str]:
    """Return the users who may approve commits of forks, besides the administrators."""
    able = [member for member in members.list_members(db, project.id) if member.role != "reader"]
    return [member.username for member in able if member.disabled_at is None]


def _commands(wanted: Wanted, form: RunForm) -> Mapping[str, str]:
    """Return the values of the form as commands to copy."""
    overrides, _ = read_form(form)
    launched = commands.FormLaunch(
        target=wanted.target, project_uuid=wanted.project.uuid, commit=wanted.commit.identifier, overrides=overrides
    )
    emptied = [f"no value of {f.name}" for f in form.parameters if f.changed and not f.values]
    searched = ["the search"] if any(field.changed for field in (*form.search, *form.variants)) else []
    body = commands.build_declared_body(wanted.target)
    if searched:
        task = apply_search(get_task_item(wanted.config, wanted.target.name)["task"], form.fields)
        body = commands.build_task_body(task, overrides)
    return {
        "vh": commands.format_vh_command(launched, [*searched, *emptied]),
        "curl": commands.format_curl_command(launched, get_base_url(), body),
    }

"""Projects: `/projects/…`."""

from __future__ import annotations

import time
from typing import Annotated, NotRequired, TypedDict

from flask import request
from msgspec import Meta

from core.errors import Conflict, GitError, InvalidInput
from core.model import Project
from web.http import auth
from web.http.api import query, serialize, shapes
from web.http.api.answers import Created, Empty, Json, Page, make_page
from web.http.api.body import Given, read_fields
from web.http.api.commits import await_pushes
from web.http.api.parameters import MAX_LIMIT, PAGE, read_page, takes
from web.services import removal
from web.services.executions import variables
from web.services.repositories import hosting, polling
from web.store import approvals, commits, deliveries, executions, projects
from web.store.db import Database
from web.store.deliveries import DeliveryState
from web.store.projects import HOSTED
from web.store.selection import Selection

# `vh project commits` crashes on an empty list
NO_COMMITS: shapes.CommitLine = {
    "identifier": "",
    "ref": "",
    "commit_time": "",
    "description": "no commits yet: git push",
    "adhoc": False,
}
SHOWN_UNAPPROVED = 5
FETCH_S, LOOK_S = 10.0, 0.1  # time to wait for the commits of new refs, and pause between two looks


class NewProject(TypedDict):
    """A project to push to."""

    name: Annotated[Given, Meta(examples=["mymodel"])]
    owner: NotRequired[Annotated[str | None, Meta(description="The name of the user of the token.")]]
    description: NotRequired[str | None]


class Fetched(TypedDict):
    """Commits that were found, and what went wrong."""

    commits: list[shapes.Commit]
    errors: list[str]


@auth.read
@takes(*PAGE)
def listing() -> Json[Page[shapes.Project]]:
    """List the projects that you may see, by name."""
    found, wanted = projects.list_projects(auth.get_db(), auth.list_visible_project_ids()), read_page()
    results = [serialize.build_project(request.url_root, item) for item in wanted.cut(found)]
    return make_page(results, len(found), wanted)


@auth.create
@takes(body=NewProject)
def create() -> Created[shapes.ProjectDetail]:
    """Create a project to push to. Its owner is the user of the token."""
    given, user = read_fields(NewProject), auth.get_current_user()
    name, owner = given["name"], given.get("owner") or user.username
    if owner != user.username:
        raise InvalidInput(f"owner must be {user.username}, the user of the token, got {owner[:80]!r}", field="owner")
    description = given.get("description") or ""
    try:
        made, _ = hosting.add_project(auth.get_context(), name, user.id, description=description)
    except Conflict as error:
        raise InvalidInput(f"{error}: link it, or choose another name", field="name", code="unique") from None
    return Created(_detail(made))


@auth.read
def detail(identifier: str) -> Json[shapes.ProjectDetail]:
    """Return a project with its variables, and the number of its executions by state."""
    return Json(_detail(query.get_project(auth.get_db(), identifier)))


@auth.own
@takes(fails=(409,))
def remove(identifier: str) -> Empty:
    """Remove a project with everything that belongs to it. This takes a while, and is refused while something runs."""
    found = query.get_project(auth.get_db(), identifier)
    removal.remove(auth.get_server().config, auth.get_server().vault, found)
    return Empty()


def _detail(found: Project) -> shapes.ProjectDetail:
    db = auth.get_db()
    counts = executions.count_by_state(db, [found.id])[found.id]
    _, stopping = executions.search(db, Selection(projects=[found.id], statuses=["stopping"], limit=0))
    counts |= {"stopping": stopping, "started": counts.get("started", 0) - stopping}
    repository = next(iter(projects.list_repositories(db, found.id)), None)
    shown = variables.list_variables(auth.get_context(), found)
    return serialize.build_project_detail(request.url_root, found, repository, counts, shown)


@auth.read
def listing_of_commits(identifier: str) -> Json[list[shapes.CommitLine]]:
    """List the commits of a project, newest first, as a bare list of flat objects: clients print them as a table."""
    db = auth.get_db()
    found = query.get_project(db, identifier)
    newest, _ = commits.search(db, [found.id], adhoc=False, limit=MAX_LIMIT, offset=0)
    shown: list[shapes.CommitLine] = [
        {
            "identifier": commit.identifier,
            "ref": commit.ref,
            "commit_time": serialize.format_commit_time(commit),
            "description": commit.message.partition("\n")[0],
            "adhoc": False,
        }
        for commit in newest
    ]
    return Json(shown or ([NO_COMMITS] if query.is_vh() else []))


@auth.read
def fetch(identifier: str) -> Created[Fetched]:
    """Look for unreported pushes, and return their commits. Pushes to this server are always recorded."""
    db, context = auth.get_db(), auth.get_context()
    project = query.get_project(db, identifier)
    repository = hosting.get_repository(db, project)
    if repository.forge == HOSTED:
        await_pushes(project)
        return Created({"commits": [], "errors": []})
    errors = _unapproved(db, project)
    try:
        delivery, moved = polling.look_now(context, repository)
    except GitError as error:
        return Created({"commits": [], "errors": [str(error), *errors]})
    auth.get_server().queues.nudge_soon()
    deadline = time.monotonic() + FETCH_S
    while delivery and deliveries.find_state(db, delivery) is DeliveryState.STORED and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    found = [commits.find_by_identifier(db, project.id, after) for _, after in moved.values()]
    shown = [serialize.build_commit(request.url_root, project, item) for item in found if item is not None]
    if late := len(moved) - len(shown):
        errors.append(f"{late} new refs are not read yet, or have no commit")
    return Created({"commits": shown, "errors": errors})


def _unapproved(db: Database, project: Project) -> list[str]:
    """Return sentences about commits that exist but are not in the list of commits, to explain why."""
    page = f"{request.url_root}p/{project.name}/commits/"
    return [
        f"commit {item.push.after[:8]} of pull request {item.pull_request.number} comes from a fork and is not approved:"
        f" approve it at {page}{item.push.after}/ before you run it"
        for item in approvals.list_waiting(db, project.id, limit=SHOWN_UNAPPROVED)
    ]


@auth.read
def ownership_options() -> Json[list[str]]:
    """Return the names of possible owners of a new project: only the user's."""
    return Json([auth.get_current_user().username])

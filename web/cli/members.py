"""`pushmill project members`: who has which role in a project."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from core.errors import Conflict, NotFound
from core.model import Project
from core.rights import Role
from web.cli.options import JSON, get_project, on_server
from web.services import identities
from web.services.context import Context
from web.services.forges import members as service
from web.services.presentation import formats
from web.store import member_sources, members

PROJECT = click.argument("project")
USER = click.argument("username", metavar="USER")
ROLE = click.argument("role", type=click.Choice([role.value for role in Role]))


@click.group("members")
def group() -> None:
    """List, add and remove members of a project."""


@group.command("list")
@PROJECT
@JSON
@on_server
def show_all(context: Context, project: str, as_json: bool) -> None:
    """List the members of a project."""
    found = get_project(context, project)
    listed = members.list_members(context.db, found.id)
    source = member_sources.find_member_source(context.db, found.id)
    if as_json:
        click.echo(json.dumps([asdict(member) for member in listed], indent=2))
        return
    for member in listed:
        notes = [f"from {formats.format_forge_name(member.source)}"] if member.source else []
        notes += ["disabled"] if member.disabled_at else []
        click.echo(f"{member.username:<32}  {member.role.value:<6}  {', '.join(notes)}".rstrip())
    if not listed:
        click.echo(f"Project {project} has no members: `pushmill project members add` adds one.")
    if source and source.problem:
        since = formats.format_age(source.answered_at or source.created_at)
        click.echo(f"Members from the forge were last updated {since}: {source.problem}.", err=True)


@group.command("add")
@PROJECT
@USER
@ROLE
@on_server
def add(context: Context, project: str, username: str, role: str) -> None:
    """Add a user to a project."""
    found = get_project(context, project)
    if _is_member(context, found, username):
        change = f"`pushmill project members set-role {project} {username} {role}`"
        raise Conflict(f"{username} is already a member of {project}: {change} changes the role")
    identities.set_role(context.db, found, username, Role(role))
    click.echo(f"User {username} is now {role} of project {project}.")


@group.command("set-role")
@PROJECT
@USER
@ROLE
@on_server
def set_role(context: Context, project: str, username: str, role: str) -> None:
    """Set the role of a member.

    The forge does not change a role that was set here.
    """
    found = get_project(context, project)
    if not _is_member(context, found, username):
        raise NotFound(
            f"{username} is not a member of {project}: `pushmill project members add {project} {username} {role}`"
        )
    identities.set_role(context.db, found, username, Role(role))
    click.echo(f"User {username} is now {role} of project {project}.")


@group.command("remove")
@PROJECT
@USER
@on_server
def remove(context: Context, project: str, username: str) -> None:
    """Remove a member from a project."""
    found = get_project(context, project)
    if not _is_member(context, found, username):
        raise NotFound(f"{username} is not a member of {project}: `pushmill project members list {project}` lists them")
    identities.set_role(context.db, found, username, None)
    click.echo(f"User {username} is no longer a member of project {project}.")


@group.command("from-forge")
@PROJECT
@click.argument("most", type=click.Choice([*(role.value for role in Role), "off"]))
@on_server
def from_forge(context: Context, project: str, most: str) -> None:
    """Fetch members from the forge, or stop.

    People who can push there become members, at most with this role. With the role owner, only administrators of the
    repository become owners; others become writers. `off` also removes the members who came from there.
    """
    service.set_source(context, get_project(context, project), None if most == "off" else Role(most))
    takes = "takes no members" if most == "off" else "takes members"
    click.echo(f"Project {project} {takes} from its forge.")


def _is_member(context: Context, project: Project, username: str) -> bool:
    user = identities.find_user(context.db, username)
    return members.find_role(context.db, user.id, project.id) is not None

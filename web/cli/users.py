"""`pushmill user` and `pushmill token`: the users of the server and their tokens."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from core import config as configuration
from core.config import Config
from core.errors import InvalidInput
from core.identity import Scope, Token
from core.rights import Role
from web.cli.options import JSON, get_project, on_server
from web.services import identities
from web.services.context import Context
from web.services.presentation import formats
from web.store import members, users

NAME = click.argument("name", metavar="USER")
ADMIN, USER = "admin", "user"  # roles on the server


@click.group("user")
def user() -> None:
    """Add, list, change, disable and enable users."""


@user.command("add")
@NAME
@click.option("--admin", "is_admin", is_flag=True, help="Make the user a server admin.")
@click.option("--invite", is_flag=True, help="Print a link by which the user sets a password or gets a token.")
@on_server
def add(context: Context, name: str, is_admin: bool, invite: bool) -> None:
    """Add a user.

    A new user sees no project: `pushmill user set-role USER ROLE --project PROJECT` gives a role.
    """
    identities.add_user(context.db, name, is_admin=is_admin)
    link = _link(context.config, identities.invite(context.db, name)) if invite else ""
    if link:
        click.echo(link)
        click.echo(f"Added user {name}, who can use this link once, within 7 days.", err=True)
    else:
        click.echo(f"Added user {name}. `pushmill token new {name} --scope admin` creates a token to log in with.")


@user.command("set-role")
@NAME
@click.argument("role")
@click.option("--project", "project_name", help="The project in which the user gets the role.")
@on_server
def set_role(context: Context, name: str, role: str, project_name: str | None) -> None:
    """Set a user's role.

    ROLE is admin or user; with --project reader, writer, owner or none.
    """
    choices = [*Role, "none"] if project_name else [ADMIN, USER]
    if role not in choices:
        where = " with --project" if project_name else "; roles in a project need --project"
        raise InvalidInput(f"ROLE must be {', '.join(choices)}{where}; got {role[:80]!r}")
    if project_name is None:
        identities.set_admin(context.db, name, is_admin=role == ADMIN)
    else:
        project = get_project(context, project_name)
        identities.set_role(context.db, project, name, None if role == "none" else Role(role))
    click.echo(f"User {name} now has the role {role}{f' in {project_name}' if project_name else ''}.")


@user.command("reset")
@NAME
@on_server
def reset(context: Context, name: str) -> None:
    """Print a new invitation link for a user.

    The old password stops working, and all sessions of the user end. Tokens keep working: see `pushmill token revoke`.
    """
    link = _link(context.config, identities.reset_password(context.db, name))
    click.echo(link)
    click.echo(f"User {name} can use this link once, within 7 days. Older links no longer work.", err=True)


@user.command("list")
@JSON
@on_server
def show_users(context: Context, as_json: bool) -> None:
    """List users."""
    found = users.list_users(context.db)
    roles = members.list_projects_by_user(context.db, [one.id for one in found])
    if as_json:
        click.echo(json.dumps([asdict(one) | {"projects": dict(roles[one.id])} for one in found], indent=2))
        return
    for one in found:
        role = "administrator" if one.is_admin else "user"
        state = f"disabled {formats.format_age(one.disabled_at)}" if one.disabled_at else ""
        held = ", ".join(f"{project} ({role})" for project, role in roles[one.id])
        click.echo(f"{one.username:<32}  {role:<13}  {'  '.join(filter(None, (state, held)))}".rstrip())


@user.command("disable")
@NAME
@on_server
def disable(context: Context, name: str) -> None:
    """Disable a user.

    Tokens and sessions of the user stop working at once.
    """
    identities.disable(context.db, name)
    click.echo(f"User {name} is disabled: their tokens and sessions no longer work.")


@user.command("enable")
@NAME
@on_server
def enable(context: Context, name: str) -> None:
    """Enable a disabled user and their tokens again."""
    identities.enable(context.db, name)
    click.echo(f"User {name} is enabled; tokens that are neither revoked nor expired work again.")


@click.group("token")
def token() -> None:
    """Create, list and revoke the tokens of users."""


@token.command("new")
@click.argument("username", metavar="USER")
@click.option(
    "--scope", "scopes", type=click.Choice([scope.value for scope in Scope]), multiple=True, required=True,
    help="read: pages, API, git fetch. push: git push. launch: read, push, launch, stop. admin: everything. Repeatable.",
)  # fmt: skip
@click.option("--expires", help="How long it works, such as '90 d' or '12 h'; without it, until it is revoked.")
@click.option("--name", default="", help="Purpose, shown in the list.")
@on_server
def new(context: Context, username: str, scopes: tuple[str, ...], expires: str | None, name: str) -> None:
    """Create a token and print it, once."""
    lifetime_s = None if expires is None else configuration.parse_duration(expires, "--expires")
    chosen = {Scope(scope) for scope in scopes}
    made = identities.create_token(context.db, username, chosen, name=name, lifetime_s=lifetime_s)
    click.echo(made.secret)
    until = f"until {made.expires_at}" if made.expires_at else "until it is revoked"
    click.echo(f"This is token {made.id} of {username}, shown only once. It works {until}.", err=True)
    if chosen & {Scope.PUSH, Scope.ADMIN}:
        click.echo(f"  git push {_remote(context.config, username)} main", err=True)


@token.command("list")
@click.argument("username", metavar="[USER]", required=False)
@JSON
@on_server
def show_tokens(context: Context, username: str | None, as_json: bool) -> None:
    """List the tokens of all users or one."""
    if username:
        identities.find_user(context.db, username)
    found = [one for one in users.list_tokens(context.db) if username in (None, one.username)]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        click.echo(_line(one))


@token.command("revoke")
@click.argument("number", type=int)
@on_server
def revoke(context: Context, number: int) -> None:
    """Revoke a token by its number.

    Its sessions end at once.
    """
    users.revoke_token(context.db, number)
    click.echo(f"Token {number} is revoked, and its sessions have ended.")


def _line(one: Token) -> str:
    used = f"used {formats.format_age(one.last_used_at)}" if one.last_used_at else "never used"
    until = f"until {one.expires_at[:16]}Z" if one.expires_at and one.state == "active" else ""
    columns = (
        f"{one.id:>4}",
        f"{one.username:<20}",
        f"…{one.last8}",
        f"{' '.join(one.scopes):<15}",
        f"{one.state:<8}",
        used,
    )
    return "  ".join([*columns, *filter(None, (until, one.name))])


def _link(config: Config, secret: str) -> str:
    return f"{config.server.url.rstrip('/') or config.local_url}/invitations/{secret}"


def _remote(config: Config, username: str) -> str:
    scheme, _, rest = (config.server.url.rstrip("/") or config.local_url).partition("://")
    return f"{scheme}://{username}:TOKEN@{rest}/git/NAME.git"

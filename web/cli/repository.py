"""`pushmill project list | show | set-url | set-secret | deploy-key`: projects with their repositories."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import click

from core.config import Config
from core.model import Project, Repository
from hooks.forges.registry import FORGES
from web.cli.options import JSON, get_project, on_server, read_url
from web.services.context import Context
from web.services.repositories import hosting
from web.store import projects

NAME = click.argument("name")
STORED = "user and password of the URL, stored encrypted"


@click.command("list")
@JSON
@on_server
def show_all(context: Context, as_json: bool) -> None:
    """List projects."""
    found = [
        describe(context.config, listed, repository)
        for listed in projects.list_projects(context.db)
        for repository in projects.list_repositories(context.db, listed.id)
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for item in found:
        click.echo(f"{item['name']:<32}  {item['forge']:<8}  {item['repository']}")
    if not found:
        click.echo("No project yet: push to the server, or add one with `pushmill project add`.")


@click.command("show")
@click.argument("name")
@JSON
@on_server
def show(context: Context, name: str, as_json: bool) -> None:
    """Show a project with its webhook's URL and secret."""
    found = get_project(context, name)
    repository = hosting.get_repository(context.db, found)
    secret = context.vault.decrypt(projects.get_secret(context.db, repository.id)).decode()
    print_values(describe(context.config, found, repository) | {"webhook_secret": secret}, as_json)


@click.command("set-secret")
@click.argument("name")
@on_server
def set_secret(context: Context, name: str) -> None:
    """Store the webhook secret that the forge created.

    For forges that create secrets themselves, such as GitLab's signing tokens. The command asks for the secret or reads
    it from stdin.
    """
    found = get_project(context, name)
    piped = not sys.stdin.isatty()
    secret = sys.stdin.readline().strip() if piped else click.prompt("Secret", hide_input=True, err=True)
    hosting.set_secret(context, found, secret)
    click.echo(f"Stored the webhook secret of project {name}.")


@click.command("set-url")
@NAME
@click.argument("url", callback=read_url)
@click.option(
    "--forge",
    type=click.Choice(sorted(FORGES)),
    help="Forge that sends the webhooks (default: detected from the URL, else unchanged).",
)
@on_server
def set_url(context: Context, name: str, url: str, forge: str | None) -> None:
    """Fetch project NAME from another URL.

    For a repository that was renamed, or moved to another forge. "-" reads URL from stdin.
    """
    found = get_project(context, name)
    before = hosting.get_repository(context.db, found)
    after = hosting.set_url(context, found, url, forge)
    shown = describe(context.config, found, after)
    click.echo(f"Project {name} is now fetched from {shown['repository']}.")
    if after.forge != before.forge:
        click.echo(
            f"Its forge is now {after.forge}: remove the webhook on the old one, and enter {shown['webhook_url']} and"
            f" the secret that `pushmill project show {name}` prints{_at(shown['webhook_page'])}."
        )
    elif shown["webhook_page"]:
        click.echo(
            f"Keep the webhook if the forge moved it along with the repository; otherwise enter it{_at(shown['webhook_page'])}."
        )
    if before.has_token and not after.has_token:
        click.echo(
            f"Its token was for the old address and is deleted: store one with `pushmill project set-token {name}`."
        )
    if before.has_login and not after.has_login:
        click.echo("The user and password of the old URL are deleted: give new ones in the URL if it needs them.")
    if shown["deploy_key"]:
        click.echo(f"Enter its deploy key there{_at(shown['deploy_key_page'])}:\n{shown['deploy_key']}")


@click.command("deploy-key")
@NAME
@click.option("--new", is_flag=True, help="Create a new key; the old one stops working.")
@JSON
@on_server
def deploy_key(context: Context, name: str, new: bool, as_json: bool) -> None:
    """Show or replace the deploy key of project NAME.

    Prints the public key with which the server fetches over ssh, and the page of the forge to enter it on.
    """
    found = get_project(context, name)
    if new or not hosting.get_deploy_key(hosting.get_repository(context.db, found)):
        hosting.replace_deploy_key(context, found)
    repository = hosting.get_repository(context.db, found)
    shown = {"deploy_key": repository.deploy_key, "deploy_key_page": hosting.get_deploy_key_page(repository)}
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo(shown["deploy_key"])
    click.echo(
        f"Enter it{_at(shown['deploy_key_page']) or ' on the machine of the repository'}; read access is enough.",
        err=True,
    )


def describe(config: Config, found: Project, repository: Repository) -> dict[str, str]:
    base = config.server.url.rstrip("/") or config.local_url
    hosted = repository.forge == projects.HOSTED
    return {
        "project_id": found.uuid,
        "name": found.name,
        "forge": repository.forge,
        "repository": f"{base}/git/{found.name}.git" if hosted else repository.url or "",
        "credentials": STORED if repository.has_login else "",
        "webhook_url": base + hosting.get_webhook_path(found, repository.forge),
        "webhook_page": hosting.get_new_webhook_page(repository),
        "deploy_key": hosting.get_deploy_key(repository),
        "deploy_key_page": hosting.get_deploy_key_page(repository),
        "page": f"{base}/p/{found.name}/",
    }


def print_values(values: Mapping[str, str], as_json: bool) -> None:
    """Print the values of `describe`; without --json, empty ones are left out."""
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        if value:
            click.echo(f"{name:<16}{value}")


def _at(page: str) -> str:
    return f" at {page}" if page else ""

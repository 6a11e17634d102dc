"""`pushmill project add`."""

from __future__ import annotations

from typing import IO, Any

import click

from core.errors import ForgeError, InvalidInput, NotFound, PushmillError
from core.model import Project
from hooks.apis.registry import APIS
from hooks.forges.registry import FORGES
from hooks.statuses import CONTEXT
from web.cli.forge import API_URL
from web.cli.options import JSON, on_server, read_url
from web.cli.repository import describe, print_values
from web.services import setup
from web.services.context import Context
from web.services.forges import webhook_setup
from web.services.repositories import connecting, credentials, hosting
from web.store import users


@click.command("add")
@click.argument("name")
@click.option(
    "--repo", "url", callback=read_url,
    help="Clone URL of a repository elsewhere; - reads it from stdin. Without it, this server hosts the repository.",
)  # fmt: skip
@click.option(
    "--forge",
    type=click.Choice(sorted(FORGES)),
    help="Forge that sends the webhooks (default: detected from the URL).",
)
@click.option(
    "--token-file", type=click.File("r"), help="API token of the forge, to create the webhook; - reads stdin."
)
@API_URL
@JSON
@on_server
def add(
    context: Context, name: str, url: str | None, forge: str | None, token_file: Any, api_url: str | None, as_json: bool
) -> None:
    """Add a project and print its webhook.

    Prints the URL and secret of its webhook, and the page of the forge to enter both on.
    """
    forge = forge or connecting.detect_forge(context.config, url)
    if api_url and not token_file:
        raise InvalidInput("--api-url needs --token-file: without a token, no API is called")
    token = _token(token_file, forge) if token_file else ""
    made, secret = connecting.add(context, name, _admin_id(context), url, forge)
    results, problem = _set_up(context, made, token, api_url or "") if token else ([], None)
    repository = hosting.get_repository(context.db, made)
    print_values(describe(context.config, made, repository) | {"webhook_secret": secret}, as_json)
    if repository.status_context != CONTEXT:
        text = "Another project uses this repository too: the statuses of this one are named"
        click.echo(f"{text} {repository.status_context}.", err=True)
    if not as_json and not token and not context.config.server.url and hosting.get_new_webhook_page(repository):
        click.echo("The forge cannot reach that address: set `url` below [server] in config.toml.", err=True)
    for line in results:
        click.echo(line, err=as_json)
    if problem is not None:
        raise InvalidInput(f"project {name} was added, but {problem}; then run `pushmill project set-token {name}`")


def _set_up(context: Context, made: Project, token: str, api_url: str) -> tuple[list[str], PushmillError | None]:
    """Store the token and create the webhook; return what was done, or the error. The project stays in any case."""
    try:
        connecting.store_token(context, hosting.get_repository(context.db, made), token, api_url)
        return webhook_setup.set_up(context, made, added=True), None
    except (ForgeError, InvalidInput) as error:
        return [], error


def _token(file: IO[str], forge: str) -> str:
    if forge not in APIS:
        raise InvalidInput(credentials.explain_missing_api(forge))
    token = file.read().strip()
    if not token:
        raise InvalidInput(f"the token file {file.name} is empty")
    return token


def _admin_id(context: Context) -> int:
    """Return the owner of projects that are added on the command line."""
    owner = users.find_by_name(context.db, setup.ADMIN)
    if owner is None:
        raise NotFound("no admin exists yet; the first `pushmill up` creates one")
    return owner.id

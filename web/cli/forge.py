"""`pushmill project set-token | webhook`: the API token of the forge, and the webhook created with it."""

from __future__ import annotations

import sys

import click

from core.errors import ForgeError, InvalidInput
from web.cli.options import get_project, on_server
from web.services.context import Context
from web.services.forges import webhook_setup
from web.services.repositories import connecting, hosting

NAME = click.argument("name")
API_URL = click.option("--api-url", help="URL of the forge's API (default: its usual address).")


@click.command("set-token")
@NAME
@click.option("--remove", is_flag=True, help="Delete the token and stop posting statuses.")
@API_URL
@on_server
def set_token(context: Context, name: str, remove: bool, api_url: str | None) -> None:
    """Store an API token of the forge for project NAME.

    The command asks for the token or reads it from stdin. The server uses it to create the webhook, to post commit
    statuses and to fetch.
    """
    found = get_project(context, name)
    token = "" if remove else _read_token()
    if not token and not remove:
        raise InvalidInput(f"the token is empty; `pushmill project set-token {name} --remove` deletes it")
    connecting.store_token(context, hosting.get_repository(context.db, found), token, api_url)
    if remove:
        click.echo(f"The token of project {name} is deleted.")
        return
    try:
        results = webhook_setup.set_up(context, found)
    except ForgeError as error:
        raise ForgeError(f"the token is stored, but {error.problem}", error.advice) from None
    for line in results:
        click.echo(line)


@click.command("webhook")
@NAME
@on_server
def webhook(context: Context, name: str) -> None:
    """Create the webhook on the forge.

    Uses the API token of project NAME.
    """
    found = get_project(context, name)
    results = webhook_setup.set_up(context, found)
    for line in results:
        click.echo(line)


def _read_token() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()

"""`pushmill project comments`: switch comments on pull requests on or off."""

from __future__ import annotations

import click

from web.cli.options import on_server, project_named
from web.services.context import Context
from web.services.forges import comments as service


@click.command("comments")
@click.argument("name")
@click.argument("wanted", type=click.Choice(["on", "off"]))
@on_server
def comments(context: Context, name: str, wanted: str) -> None:
    """Comment on pull requests, or stop.

    The comment on each pull request of project NAME is a table of the executions, edited in place.
    """
    service.set_comments(context.db, project_named(context, name), wanted == "on")
    click.echo(f"Pull requests of project {name} now get {'one comment' if wanted == 'on' else 'no comment'}.")

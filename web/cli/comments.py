"""`pushmill project comments`: switch comments on pull requests on or off."""

from __future__ import annotations

import click

from web.cli.options import get_project, on_server
from web.services.context import Context
from web.services.forges import comments as service


@click.command("comments")
@click.argument("name")
@click.argument("wanted", type=click.Choice(["on", "off"]))
@on_server
def comments(context: Context, name: str, wanted: str) -> None:
    """Comment on pull requests, or stop.

    Each pull request of project NAME gets one comment, a table of its executions that is updated in place.
    """
    service.set_comments(context.db, get_project(context, name), wanted == "on")
    click.echo(f"Pull requests of project {name} now get {'one comment' if wanted == 'on' else 'no comment'}.")

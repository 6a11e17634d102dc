"""`pushmill project comments`: switch comments on pull requests on or off."""

from __future__ import annotations

from pathlib import Path

import click

from web.cli.options import CONFIG, DATA, opened, project_named
from web.services.forges import comments as service


@click.command("comments")
@click.argument("name")
@click.argument("wanted", type=click.Choice(["on", "off"]))
@DATA
@CONFIG
def comments(name: str, wanted: str, data: Path | None, config_file: Path | None) -> None:
    """Comment on pull requests, or stop.

    The comment on each pull request of project NAME is a table of the executions, edited in place.
    """
    with opened(data, config_file) as context:
        service.set_comments(context.db, project_named(context, name), wanted == "on")
    click.echo(f"Pull requests of project {name} get {'one comment' if wanted == 'on' else 'no comment'} from now on.")

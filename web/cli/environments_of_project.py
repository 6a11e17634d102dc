"""`pushmill project environments`: the environments that a project may use."""

from __future__ import annotations

import click

from core.errors import InvalidInput
from web.cli.options import get_project, on_server
from web.services.context import Context
from web.services.executions import environments as service


@click.command("environments")
@click.argument("name")
@click.option(
    "--allow", "slugs", multiple=True, metavar="ENVIRONMENT", help="Environment that it may use (repeatable)."
)
@click.option("--allow-all", is_flag=True, help="Allow every environment.")
@on_server
def environments(context: Context, name: str, slugs: tuple[str, ...], allow_all: bool) -> None:
    """Show or set the environments of project NAME.

    Executions in any other environment fail at once, whether valohai.yaml, a rule, a push option or a trailer names it.
    """
    if slugs and allow_all:
        raise InvalidInput("--allow and --allow-all cannot be used together")
    project = get_project(context, name)
    if slugs or allow_all:
        service.allow(context.db, project, slugs)
    allowed = get_project(context, name).environments
    click.echo(f"Project {name} may use {', '.join(allowed) if allowed else 'every environment'}.")

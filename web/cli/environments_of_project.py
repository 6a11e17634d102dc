"""`pushmill project environments`: the environments that a project may use."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import InvalidInput
from web.cli.options import CONFIG, DATA, opened, project_named
from web.services.executions import environments as service


@click.command("environments")
@click.argument("name")
@click.option(
    "--allow", "slugs", multiple=True, metavar="ENVIRONMENT", help="Environment that it may use (repeatable)."
)
@click.option("--allow-all", is_flag=True, help="Allow every environment.")
@DATA
@CONFIG
def environments(
    name: str, slugs: tuple[str, ...], allow_all: bool, data: Path | None, config_file: Path | None
) -> None:
    """Show or set the environments of project NAME.

    Executions in any other environment fail at once, whether valohai.yaml, a rule, a push option or a trailer names it.
    """
    if slugs and allow_all:
        raise InvalidInput("--allow and --allow-all exclude each other: give one")
    with opened(data, config_file) as context:
        project = project_named(context, name)
        if slugs or allow_all:
            service.allow(context.db, project, slugs)
        allowed = project_named(context, name).environments
    click.echo(f"Project {name} may use {', '.join(allowed) if allowed else 'every environment'}.")

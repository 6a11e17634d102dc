"""`pushmill project remove`: remove a project with everything that belongs to it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from core.errors import Conflict
from core.model import Project
from core.units import format_size
from web.cli.options import JSON, get_project, on_server
from web.services import removal, setup
from web.services.context import Context
from web.services.removal import Content
from web.services.repositories import hosting


@click.command("remove")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--force", is_flag=True, help="Stop its unfinished executions first.")
@JSON
@on_server
def remove(context: Context, name: str, dry_run: bool, yes: bool, force: bool, as_json: bool) -> None:
    """Remove project NAME and all of its data.

    Removes its executions, logs, outputs, deliveries and repository. This cannot be undone. Running the command again
    completes an interrupted removal.
    """
    removal.clear_leftovers(context.config)
    project = get_project(context, name)
    found = removal.count_content(context, project)
    _show(project, found, as_json)
    if dry_run:
        return
    if (running := removal.list_unfinished(context.db, project)) and not force:
        raise Conflict(f"{', '.join(running[:10])} of {name} have not ended: stop them, or use --force")
    if not yes:
        click.confirm(f"Remove project {name} for good?", abort=True, err=True)
    _remove(context, project)


def _remove(context: Context, project: Project) -> None:
    page = hosting.get_new_webhook_page(hosting.get_repository(context.db, project))
    removal.stop_all(context, project, setup.ADMIN)
    for _ in removal.remove_in_steps(context, project):
        pass
    click.echo(f"Project {project.name} is removed.", err=True)
    if page:
        click.echo(f"Its webhook is still on the forge: delete it at {page}", err=True)


def _show(project: Project, found: Content, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"project": project.name, **asdict(found)}, indent=2))
        return
    click.echo(f"Project {project.name} has")
    outputs = f", {format_size(found.output_bytes)}"
    for count, one, more, rest in (
        (found.executions, "execution", "executions", ""),
        (found.tasks, "task", "tasks", ""),
        (found.pipelines, "pipeline", "pipelines", ""),
        (found.deliveries, "delivery", "deliveries", ""),
        (found.outputs, "output file", "output files", outputs),
    ):
        click.echo(f"  {count:>10,} {one if count == 1 else more}{rest}")
    click.echo(f"  {format_size(found.log_bytes):>10} of logs")
    click.echo(f"  {format_size(found.repository_bytes):>10} of git repositories")

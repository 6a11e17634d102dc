"""`pushmill environment`: the kinds of machines that executions can ask for."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from core.model import Environment
from web.cli.options import JSON, on_server
from web.services.context import Context
from web.services.executions import environments as rules
from web.store import environments, runners


@click.group("environment")
def environment() -> None:
    """List, create, update and remove environments."""


@environment.command("list")
@JSON
@on_server
def show_all(context: Context, as_json: bool) -> None:
    """List the environments and their runners."""
    found, serving = environments.list_environments(context.db), runners.list_runners(context.db)
    names = {e.slug: [runner.name for runner in serving if e.slug in runner.environments] for e in found}
    if as_json:
        click.echo(json.dumps([asdict(e) | {"runners": names[e.slug]} for e in found], indent=2))
        return
    for e in found:
        click.echo(f"{e.slug:<24}  {', '.join(names[e.slug]) or 'no runner':<32}  {_summary(e)}")


@environment.command("set")
@click.argument("slug", metavar="NAME")
@click.option("--description", help="Text shown on the page Environments.")
@click.option("--gpus", help="GPUs for steps that do not set a number.")
@click.option("--memory", help='Limit of each container, e.g. "64 GiB"; 0 = none.')
@click.option("--cpus", help="CPU cores of each container, e.g. 8; 0 = all.")
@click.option("--image", "images", multiple=True, help="Pattern of images that may run, e.g. 'nvcr.io/*'; '' = any.")
@click.option("--pull", type=click.Choice(rules.CHOICES["pull"]), help="Pull an image when it is missing, or always.")
@click.option("--network", type=click.Choice(rules.CHOICES["network"]), help="Network that containers can reach.")
@click.option(
    "--mount", "mounts", multiple=True, help="Directory that steps may mount; '/path:rw' to write; '' = none."
)
@click.option("--max-executions", help="Executions queued or running at once; 0 = no limit.")
@click.option("--autorestart/--no-autorestart", default=None, help="Restart executions lost with their runner.")
@on_server
def change(context: Context, slug: str, **given: Any) -> None:
    """Update an environment, or create it.

    Settings without an option stay as they are.
    """
    wanted = {name: value for name, value in given.items() if value is not None and value != ()}
    for name in ("images", "mounts"):
        if name in wanted:
            wanted[name] = [item for item in wanted[name] if item]
    click.echo(f"{slug}: {_summary(rules.change(context.db, slug, wanted))}")


@environment.command("remove")
@click.argument("slug", metavar="NAME")
@on_server
def remove(context: Context, slug: str) -> None:
    """Remove an environment.

    It must not be used by a runner, a project or an unfinished execution.
    """
    rules.remove(context.db, slug)
    click.echo(f"{slug} is removed: steps that name it run in their project's default environment")


def _summary(found: Environment) -> str:
    return "; ".join(rules.list_differences(found)) or "no limits"

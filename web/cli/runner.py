"""`pushmill runner register | limit | drain | resume | remove | rotate-token`, for use on the server's machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from core.errors import InvalidInput
from web.cli.options import JSON, on_server
from web.services.context import Context
from web.services.runners import overview, registration
from web.services.runners.registration import RunnerCredentials, RunnerLimits

if TYPE_CHECKING:
    from web.services.scheduling.queues import Queues

LOOK_S = 1.0  # pause between two checks whether a draining runner still runs something
NAME = click.argument("name")
SLOTS = click.option("--slots", type=int, help="Slots that it may report (default: 16).")
PROJECTS = click.option("--project", "names", multiple=True, help="Project that it serves (repeatable; default: all).")


@click.command("register")
@NAME
@click.option("--environment", "slugs", multiple=True, required=True, help="Environment that it serves (repeatable).")
@SLOTS
@PROJECTS
@JSON
@on_server
def register(
    context: Context, name: str, slugs: tuple[str, ...], slots: int | None, names: tuple[str, ...], as_json: bool
) -> None:
    """Register runner NAME and print its settings.

    The settings for its machine contain its token and are shown only once. Registering a runner again replaces them.
    """
    limits = RunnerLimits(slots=slots, projects=names or None)
    with _queues(context) as line:
        _print(registration.register(context, line, name, slugs, limits), as_json)


@click.command("limit")
@NAME
@SLOTS
@PROJECTS
@click.option("--all-projects", is_flag=True, help="Let it serve every project.")
@on_server
def limit(context: Context, name: str, slots: int | None, names: tuple[str, ...], all_projects: bool) -> None:
    """Limit the slots and projects of runner NAME.

    Limits without an option stay as they are.
    """
    if names and all_projects:
        raise InvalidInput("--project and --all-projects cannot be used together")
    wanted = () if all_projects else names or None
    registration.limit(
        context.db, registration.get_by_name(context.db, name), RunnerLimits(slots=slots, projects=wanted)
    )
    now = registration.get_by_name(context.db, name)
    whose = f"projects {', '.join(now.projects)}" if now.projects else "every project"
    click.echo(f"{name} may have {now.most_slots} slots and serves {whose}")


@click.command("rotate-token")
@NAME
@JSON
@on_server
def rotate_token(context: Context, name: str, as_json: bool) -> None:
    """Replace the secrets of runner NAME.

    Creates a new token and a new Redis password. The old ones stop working; running executions continue.
    """
    with _queues(context) as line:
        made = registration.rotate(context, line, registration.get_by_name(context.db, name))
    _print(made, as_json)


@click.command("drain")
@NAME
@click.option("--wait", is_flag=True, help="Wait until its executions have ended.")
@on_server
def drain(context: Context, name: str, wait: bool) -> None:
    """Drain runner NAME: give it no new executions.

    It finishes its running executions.
    """
    runner = registration.get_by_name(context.db, name)
    if count := registration.drain(context.db, runner):
        click.echo(f"{count} not yet started there {'waits' if count == 1 else 'wait'} for another runner")
    running = overview.list_running_by_runner(context.db, [runner])[runner.id]
    click.echo(f"{name} is draining; it still runs {_named(running)}")
    while wait and running:
        time.sleep(LOOK_S)
        left = overview.list_running_by_runner(context.db, [runner])[runner.id]
        if left and left != running:
            click.echo(f"waiting for {_named(left)}")
        running = left
    if wait:
        click.echo(f"{name} has no running executions")


@click.command("resume")
@NAME
@on_server
def resume(context: Context, name: str) -> None:
    """Resume drained runner NAME."""
    registration.resume(context.db, registration.get_by_name(context.db, name))
    click.echo(f"{name} gets executions again")


@click.command("remove")
@NAME
@click.option("--force", is_flag=True, help="Give up its running executions.")
@on_server
def remove(context: Context, name: str, force: bool) -> None:
    """Remove runner NAME.

    Its token and its Redis password stop working. Its executions still show its name.
    """
    with _queues(context) as line:
        registration.remove(context, line, registration.get_by_name(context.db, name), force=force)
    click.echo(f"{name} is removed; stop `pushmill runner` on its machine")
    if name == context.config.runner.name:
        click.echo("It is the runner of this machine: the next start of the server registers it again.")


@contextmanager
def _queues(context: Context) -> Iterator[Queues]:
    from redis import Redis  # the other commands need neither of these

    from web.services.scheduling import queues

    with Redis.from_url(queues.get_redis_url(context.config)) as connection:
        yield queues.Queues(connection)


def _print(made: RunnerCredentials, as_json: bool) -> None:
    if as_json:
        shown = asdict(made) | {"config": made.config, "command": registration.COMMAND}
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo(f"Runner {made.name}: this is shown once. On its machine, {registration.CONFIG_FILE} (chmod 600):\n")
    click.echo(made.config)
    click.echo(f"and then, as root: {registration.COMMAND}")
    for note in made.notes:
        click.echo(f"Note: {note}")


def _named(running: list[overview.Running]) -> str:
    return ", ".join(run.name for run in running) or "nothing"

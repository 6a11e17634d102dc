"""`--data` and `--config`: open the server's own data, for administrators' commands on its machine."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from core import config as configuration
from core.errors import NotFound
from core.model import Project
from core.names import explain_unknown_name
from web.services import vault
from web.services.context import Context, open_context
from web.store import audit, projects, schema
from web.store.audit import Actor, Way

DATA = click.option("--data", type=click.Path(path_type=Path), help="Data directory of the server.")
CONFIG = click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:  # noqa: ARG001
    """Return the URL; for "-" the first line of stdin, since all users of the machine can see a command's arguments."""
    if url != "-":
        return url
    if sys.stdin.isatty():
        return str(click.prompt("URL", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


@contextmanager
def open_server(data: Path | None, config_file: Path | None) -> Iterator[Context]:
    """Open the database, the configuration and the key of a server, whether it is running or not."""
    config = configuration.load(data, config_file)
    if not config.database.exists():
        raise NotFound(f"{config.data} contains no server: name its data directory with --data")
    with open_context(config, vault.load(config.data / "secret.key")) as context:
        schema.check(context.db)
        with audit.acting(Actor(way=Way.COMMAND, username=_user_of_machine())):
            yield context


def on_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--data` and `--config`, and as its first argument what they open."""

    @DATA
    @CONFIG
    @wraps(command)
    def run(*arguments: Any, data: Path | None, config_file: Path | None, **given: Any) -> None:
        with open_server(data, config_file) as context:
            command(context, *arguments, **given)

    return run


def _user_of_machine() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return ""


def get_project(context: Context, name: str) -> Project:
    """Return a project; if there is none of this name, the error names the one that was probably meant.

    Requests get the plain error of the store: it must not name other projects, and takes as long as a success.
    """
    try:
        return projects.get_by_name(context.db, name)
    except NotFound:
        raise NotFound(
            explain_unknown_name("project", name, [found.name for found in projects.list_projects(context.db)])
        ) from None

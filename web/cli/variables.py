"""`pushmill project variable`: the environment variables and secrets of a project."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from core.errors import InvalidInput
from core.text import make_printable
from web.cli.options import JSON, get_project, on_server
from web.services.context import Context
from web.services.executions import variables

SHOWN = 60  # most characters of a value in the list


@click.group("variable")
def variable() -> None:
    """Set, list and remove variables and secrets.

    They are set as environment variables in a project's executions.
    """


@variable.command("set")
@click.argument("project")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--secret", is_flag=True, help="Never show the value again; mask it in logs.")
@on_server
def set_one(context: Context, project: str, name: str, value: str | None, secret: bool) -> None:
    """Add or replace a variable.

    Without VALUE, the command asks for it or reads stdin.
    """
    if secret and value is not None:
        raise InvalidInput(
            f"everybody on this machine can see a command line: leave out the value of {name} "
            "to be asked for it, or pipe it in"
        )
    found = get_project(context, project)
    text = _read_value(name) if value is None else value
    note = variables.set_variable(context, found, name, text, is_secret=secret)
    click.echo(f"{name} is set in project {project}; executions that start from now on get it.")
    if note:
        click.echo(f"{note}.", err=True)


@variable.command("list")
@click.argument("project")
@JSON
@on_server
def show_all(context: Context, project: str, as_json: bool) -> None:
    """List the variables of a project.

    For secrets, only the names are listed.
    """
    found = variables.list_variables(context, get_project(context, project))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
        return
    for item in found:
        click.echo(f"{item.name:<32}  {'(secret)' if item.value is None else _on_one_line(item.value)}")
        if item.note:
            click.echo(f"{'':<32}  {item.note}.")
    if not found:
        click.echo(f"Project {project} has no variables: `pushmill project variable set` adds one.")


@variable.command("remove")
@click.argument("project")
@click.argument("name")
@on_server
def remove(context: Context, project: str, name: str) -> None:
    """Remove a variable."""
    variables.remove(context.db, get_project(context, project), name)
    click.echo(f"{name} is removed from project {project}.")


def _read_value(name: str) -> str:
    """Ask for the value without echo, or read it from stdin without the line end that `echo` adds."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, default="", show_default=False))
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"the value of {name} is not UTF-8 text; encode it, for example with `base64`") from None


def _on_one_line(value: str) -> str:
    first, *more = value.split("\n")
    return make_printable(first[:SHOWN]) + ("…" if more or len(first) > SHOWN else "")

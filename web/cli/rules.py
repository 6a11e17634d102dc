"""`pushmill project rules`: the rules that decide what events run."""

from __future__ import annotations

from typing import Any

import click

from core.errors import InvalidInput
from web.cli.options import get_project, on_server
from web.services.context import Context
from web.store import projects
from web.store.db import transaction


@click.command("rules")
@click.argument("name")
@click.option("--set", "file", type=click.File("rb"), help="Replace the rules with those in FILE; - reads stdin.")
@click.option("--default", "clear", is_flag=True, help="Restore the default: every push runs every step.")
@on_server
def rules(context: Context, name: str, file: Any, clear: bool) -> None:
    """Print or replace the rules of a project.

    Rules are TOML.
    """
    if file is not None and clear:
        raise InvalidInput("--set and --default cannot be used together")
    given = "" if clear else read_rules(file) if file is not None else None
    project = get_project(context, name)
    if given is None:
        click.echo(project.rules, nl=not project.rules.endswith("\n") and bool(project.rules))
        if not project.rules:
            click.echo(f"Project {name} has the default rules: every push runs every step.", err=True)
        return
    from web.services.triggers import (
        rules as text,  # imports valohai-yaml and more, which printing rules does not need
    )

    found = text.parse(given)
    with transaction(context.db):
        projects.set_rules(context.db, project.id, given)
    rules_ = "the default rules" if found is text.DEFAULT else f"{len(found)} rule{'s' if len(found) > 1 else ''}"
    click.echo(f"Project {name} now has {rules_}.")


def read_rules(file: Any) -> str:
    """Read the text of rules from a file. Raises InvalidInput."""
    try:
        return str(file.read(1_000_000).decode().replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the rules are not UTF-8 text: {error}") from None

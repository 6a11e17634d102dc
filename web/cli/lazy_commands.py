"""Command groups that import a command's module only to run it: importing all of them costs a second of CPU time.

With this, listing projects costs little more than starting Python.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Mapping
from importlib.metadata import distribution
from typing import Any

import click

from core.names import explain_unknown_name

# name → import path of its click command, and the first sentence of its help: --help of the group imports no commands
Table = Mapping[str, tuple[str, str]]


class LazyCommands(click.Group):
    """A command group that imports a command of its table only when it is run."""

    def __init__(
        self,
        *args: Any,
        table: Table,
        hidden: Table | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self._table, self._hidden = table, hidden or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        target, _ = {**self._hidden, **self._table}.get(cmd_name, ("", ""))
        return load(target) if target else ctx.fail(explain_unknown_name("command", cmd_name, self._table))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._table.items()])


def load(target: str) -> click.Command:
    """Import a command and exempt its modules from garbage collection, which took a fifth of the time."""
    module, attribute = target.split(":")
    gc.disable()
    try:
        command: click.Command = getattr(importlib.import_module(module), attribute)
    finally:
        gc.freeze()
        gc.enable()
    return command


def load_runner_command() -> click.Command:
    """Load the command that the runner's package provides as an entry point: the server's packages do not import it."""
    (found,) = distribution("pushmill").entry_points.select(group="pushmill.commands", name="runner")
    command: click.Command = found.load()
    return command

"""The console script `pushmill`. Commands are loaded by name when they are asked for, so each process imports its own."""

from __future__ import annotations

import importlib
import sys

import click

from core.errors import PushmillError

# name → where its click command is, and its line in `pushmill --help`, which must not import them all
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("web.up:command", "Run everything on this machine: Redis, web server, worker and runner."),
    "web": ("web.serve:command", "Run the web server alone."),
    "worker": ("web.worker:command", "Run the server's worker alone."),
    "runner": ("runner.cli:command", "Run this machine as a runner."),
    "doctor": ("web.doctor:command", "Check Docker, GPUs, Redis, disk, git, and say what to do."),
    "project": ("web.admin:project", "Add, list and show projects."),
    "environment": ("web.environment_admin:environment", "List and change the kinds of machine that steps ask for."),
    "hook": ("web.admin:hook", "Install the hook that tells of pushes to a bare repository."),
}
# Started by `pushmill up`, not by people.
HIDDEN: dict[str, str] = {"quickstart": "web.quickstart:command"}


class LazyCommands(click.Group):
    """A group that knows its commands by name and imports one when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=LazyCommands)
@click.version_option(package_name="pushmill", message="pushmill %(version)s")
def group() -> None:
    """git push, and the commit's steps run in Docker on your own machines."""


def main() -> None:
    """Run the command line; a PushmillError becomes one sentence on stderr and exit code 1."""
    try:
        group(prog_name="pushmill")
    except PushmillError as error:
        click.echo(f"pushmill: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""The console script `pushmill`. Commands are loaded by name when they are asked for, so each process imports its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from core.errors import PushmillError
from web.commands import LazyCommands, Table, load

COMMANDS: Table = {
    "up": ("web.up:command", "Run everything on this machine: Redis, web server, worker and runner."),
    "web": ("web.serve:command", "Run the web server alone."),
    "worker": ("web.worker:command", "Run the server's worker alone."),
    "runner": ("web.cli:runner", "Run this machine as a runner; register, list, drain and remove runners."),
    "doctor": ("web.doctor:command", "Check Docker, GPUs, Redis, disk, git, and say what to do."),
    "backup": ("web.backup_admin:backup", "Write a backup of the server to a file."),
    "restore": ("web.backup_admin:restore", "Make an empty data directory from a backup."),
    "project": ("web.admin:project", "Add, list and show projects."),
    "environment": ("web.environment_admin:environment", "List and change the kinds of machine that steps ask for."),
    "user": ("web.user_admin:user", "Add, list, disable and enable users."),
    "token": ("web.user_admin:token", "Create, list and revoke tokens of users: to push, to read, for all."),
    "hook": ("web.admin:hook", "Install the hook that tells of pushes to a bare repository."),
}
RUNNER: Table = {
    "register": ("web.runner_admin:register", "Register a runner and print its token, once."),
    "list": ("web.runner_list:show_all", "List the runners: state, GPUs, load, what they run."),
    "limit": ("web.runner_admin:limit", "Limit the slots and projects of a runner."),
    "drain": ("web.runner_admin:drain", "Let a runner finish what it has and give it nothing new."),
    "resume": ("web.runner_admin:resume", "Give a drained runner work again."),
    "remove": ("web.runner_admin:remove", "Remove a runner."),
    "rotate-token": ("web.runner_admin:rotate_token", "Give a runner a new token and Redis password."),
}
# Started by `pushmill up`, not by people.
HIDDEN: Table = {"quickstart": ("web.quickstart:command", "")}


@click.command(cls=LazyCommands, table=COMMANDS, hidden=HIDDEN)
@click.version_option(package_name="pushmill", message="pushmill %(version)s")
def group() -> None:
    """git push, and the commit's steps run in Docker on your own machines."""


@click.command("runner", cls=LazyCommands, table=RUNNER, invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
@click.pass_context
def runner(context: click.Context, data: Path | None, config_file: Path | None) -> None:
    """Run executions on this machine until stopped. The commands are for the server's machine."""
    if context.invoked_subcommand is None:
        context.invoke(load("runner.cli:command"), data=data, config_path=config_file)
    given = {"data": data, "config_file": config_file}
    defaults = {name: value for name, value in given.items() if value}
    context.default_map = dict.fromkeys(RUNNER, defaults)


def main() -> None:
    """Run the command line; a PushmillError becomes one sentence on stderr and exit code 1."""
    try:
        group(prog_name="pushmill")
    except PushmillError as error:
        click.echo(f"pushmill: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""The console script `pushmill`. Commands are imported when they are run, so each process imports only its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from core.errors import PushmillError
from web.cli.lazy_commands import LazyCommands, Table, load_runner_command

COMMANDS: Table = {
    "up": ("web.processes.up:command", "Run everything on this machine."),
    "web": ("web.processes.web_server:command", "Run only the web server."),
    "worker": ("web.processes.worker:command", "Run only the worker."),
    "runner": ("web.cli.main:runner", "Run this machine as a runner, or manage runners."),
    "doctor": ("web.cli.doctor:command", "Check Docker, GPUs, Redis, git, disk and runners."),
    "backup": ("web.cli.backup:backup", "Write a backup of the server to FILE."),
    "restore": ("web.cli.backup:restore", "Create a data directory from a backup."),
    "project": ("web.cli.project:project", "Add, list, configure, check and remove projects."),
    "environment": ("web.cli.environment:environment", "List, create, update and remove environments."),
    "user": ("web.cli.users:user", "Add, list, change, disable and enable users."),
    "token": ("web.cli.users:token", "Create, list and revoke the tokens of users."),
    "audit": ("web.cli.audit:command", "Show the audit trail."),
    "hook": ("web.cli.project:hook", "Install the post-receive hook."),
}
RUNNER: Table = {
    "register": ("web.cli.runner:register", "Register runner NAME and print its settings."),
    "list": ("web.cli.runner_list:show_all", "List runners with their state, GPUs and load."),
    "limit": ("web.cli.runner:limit", "Limit the slots and projects of runner NAME."),
    "drain": ("web.cli.runner:drain", "Drain runner NAME: give it no new executions."),
    "resume": ("web.cli.runner:resume", "Resume drained runner NAME."),
    "remove": ("web.cli.runner:remove", "Remove runner NAME."),
    "rotate-token": ("web.cli.runner:rotate_token", "Replace the secrets of runner NAME."),
}
# Started by `pushmill up`, not by users.
HIDDEN: Table = {"quickstart": ("web.processes.quickstart:command", "")}


@click.command(cls=LazyCommands, table=COMMANDS, hidden=HIDDEN)
@click.version_option(package_name="pushmill", message="pushmill %(version)s")
def group() -> None:
    """Run the steps of each git push in Docker.

    The steps of the pushed commit's valohai.yaml run on your own machines.
    """


@click.command("runner", cls=LazyCommands, table=RUNNER, invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
@click.pass_context
def runner(context: click.Context, data: Path | None, config_file: Path | None) -> None:
    """Run this machine as a runner, or manage runners.

    Without a command, run executions on this machine until stopped. The commands manage runners, and run on the
    server's machine.
    """
    if context.invoked_subcommand is None:
        context.invoke(load_runner_command(), data=data, config_path=config_file)
    given = {"data": data, "config_file": config_file}
    defaults = {name: value for name, value in given.items() if value}
    context.default_map = dict.fromkeys(RUNNER, defaults)


def main() -> None:
    """Run the command line. A PushmillError prints one sentence on stderr and exits with code 1."""
    try:
        group(prog_name="pushmill")
    except PushmillError as error:
        click.echo(f"pushmill: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

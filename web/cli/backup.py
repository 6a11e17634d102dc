"""`pushmill backup` and `pushmill restore`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from core import config as configuration
from core.units import format_size
from web.cli.options import CONFIG, DATA
from web.services import backup as backups

FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command("backup")
@FILE
@click.option("--without-outputs", is_flag=True, help="Leave out the output files of executions.")
@DATA
@CONFIG
def backup(file: Path, without_outputs: bool, data: Path | None, config_file: Path | None) -> None:
    """Write a backup of the server to FILE.

    FILE is a tar archive of the database, keys, configuration, repositories, logs and outputs. The server may be
    running. The archive contains all secrets of the server: keep it as safe as the server itself.
    """
    config = configuration.load(data, config_file)
    backups.create(config, file, with_outputs=not without_outputs, say=partial(click.echo, err=True))
    click.echo(f"Wrote {file}, {format_size(file.stat().st_size)}.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@DATA
def restore(file: Path, data: Path | None) -> None:
    """Create a data directory from a backup.

    The directory must be empty. Stop the old server first if it still runs: two servers with one identity would remove
    each other's containers.
    """
    target = (data or configuration.get_default_data_dir()).absolute()
    backups.restore(file, target, partial(click.echo, err=True))
    click.echo(f"Restored {target}. Start the server with `pushmill up --data {target}`.")

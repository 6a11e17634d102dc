"""`pushmill hook install`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.errors import InvalidInput
from hooks import post_receive
from web.cli.options import CONFIG, DATA, get_project, open_server
from web.store import projects


@click.command("install")
@click.argument("bare_repo", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", "name", required=True, help="The project that the repository belongs to.")
@click.option("--url", "server_url", help="The server, as this machine reaches it.")
@click.option(
    "--secret-file", type=click.File("r"), help="The project's secret, on a machine without the server's data."
)
@DATA
@CONFIG
def install(
    bare_repo: Path,
    name: str,
    server_url: str | None,
    secret_file: Any,
    data: Path | None,
    config_file: Path | None,
) -> None:
    """Install the post-receive hook in BARE_REPO.

    BARE_REPO is a bare repository on this machine.
    """
    bare_repo = bare_repo.absolute()
    if secret_file is None:
        server_url, secret, notes = _known_here(bare_repo, name, server_url, data, config_file)
    else:
        secret, notes = secret_file.read().strip(), []
    if not server_url or not secret:
        raise InvalidInput("--secret-file needs --url, and the file must contain the project's secret")
    post_receive.install(bare_repo, f"{server_url.rstrip('/')}/hooks/{name}/plain", secret.encode())
    click.echo(f"Installed in {bare_repo}: its pushes are reported to {server_url.rstrip('/')} as project {name}.")
    for note in notes:
        click.echo(note)


def _known_here(
    bare_repo: Path, name: str, server_url: str | None, data: Path | None, config_file: Path | None
) -> tuple[str, str, list[str]]:
    """Return URL, secret and notes from the server's data. Sets the project's fetch URL if it has none."""
    notes = []
    with open_server(data, config_file) as context:
        found = get_project(context, name)
        plain = [r for r in projects.list_repositories(context.db, found.id) if r.forge == "plain"]
        if not plain:
            raise InvalidInput(
                f"project {name} is not of forge plain: `pushmill project add --repo URL --forge plain` adds one"
            )
        if plain[0].url is None:
            projects.set_url(context.db, plain[0].id, str(bare_repo))
            notes.append(f"The server fetches from {bare_repo}.")
            if not context.config.git.allow_local:
                notes.append("This needs `allow_local = true` below [git] in config.toml and a restart.")
        secret = context.vault.decrypt(projects.get_secret(context.db, plain[0].id)).decode()
        return server_url or context.config.server.url or context.config.local_url, secret, notes

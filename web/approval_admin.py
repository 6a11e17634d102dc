"""`pushmill project approve`: letting a commit of a fork run."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import NotFound
from core.names import check_sha
from web.local import CONFIG, DATA, opened
from web.services import approvals, setup
from web.services.rules import words
from web.store import approvals as store
from web.store import projects, users


@click.command("approve")
@click.argument("name")
@click.argument("sha")
@DATA
@CONFIG
def approve(name: str, sha: str, data: Path | None, config_file: Path | None) -> None:
    """Let commit SHA of a fork's pull request run: a stranger's code, on your machines, with the project's secrets."""
    with opened(data, config_file) as (db, config, _):
        person = users.by_name(db, setup.ADMIN)
        if person is None:
            raise NotFound("there is no admin yet: start the server once with `pushmill up`")
        found = projects.by_name(db, name)
        made = approvals.approve(db, config, found, check_sha(sha), person)
        waits = bool(store.waiting(db, found.id, sha))
    count = words.counted(one.target for one in made)
    what = f"{count} of it begin{'s' if len(made) == 1 else ''} soon" if made else "it runs already"
    click.echo(f"Commit {sha} is approved: {'it runs as soon as its history is fetched' if waits else what}.")

"""`pushmill project check`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict

import click

from core.errors import InvalidInput
from web.cli.options import JSON, get_project, on_server
from web.services.checks.finding import Finding
from web.services.checks.project import examine
from web.services.checks.subject import TIME_LIMIT_S, Subject
from web.services.context import Context
from web.services.repositories import hosting


@click.command("check")
@click.argument("name")
@click.option("--time-limit", default=TIME_LIMIT_S, show_default=True, help="Seconds for all calls to the forge.")
@JSON
@click.pass_context
@on_server
def check(context: Context, command: click.Context, name: str, time_limit: float, as_json: bool) -> None:
    """Check everything that project NAME needs.

    Checks repository, token, valohai.yaml, webhook and deliveries. Exits with 1 when something is wrong.
    """
    findings: list[Finding] = []
    found = get_project(context, name)
    repository = hosting.get_repository(context.db, found)
    folder = context.config.data
    if (owner := folder.stat().st_uid) != os.geteuid():  # fetched files will belong to the current user
        raise InvalidInput(f"run this as the user that the server runs as: {folder} belongs to user {owner}")
    deadline = time.monotonic() + time_limit
    subject = Subject(context=context, project=found, repository=repository, deadline=deadline)
    for finding in examine(subject):
        if finding.level == "skip":
            continue
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.level:<5} {finding.check:<15} {finding.message}")
            if finding.advice:
                click.echo(f"{'':<21} → {finding.advice}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.level == "fail" for finding in findings):
        command.exit(1)

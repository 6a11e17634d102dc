"""`pushmill audit`: who did what to what, when and from where."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import click

from web.cli.options import JSON, on_server
from web.services.context import Context
from web.services.presentation.formats import to_one_line
from web.store import audit
from web.store.audit import Act, AuditEntry, AuditQuery, Kind


@click.command("audit")
@click.option("--user", "username", default="", help="Only what this user did.")
@click.option("--action", type=click.Choice([act.value for act in Act]), help="Only this action.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only actions on this kind of object.")
@click.option("--project", default="", help="Only in this project.")
@click.option("--since", default="", help="From this day or time (UTC) on, such as 2026-11-29.")
@click.option("--until", default="", help="Up to this day or time (UTC).")
@click.option("--limit", default=100, show_default=True, help="Number of entries, the newest ones.")
@JSON
@on_server
def command(context: Context, limit: int, as_json: bool, **asked: str | None) -> None:
    """Show the audit trail.

    Entries are printed oldest first; --json prints one JSON object a line.
    """
    query = replace(AuditQuery(), **{name: value or "" for name, value in asked.items()})  # type: ignore[arg-type]
    found = audit.search(context.db, query, limit)
    for entry in reversed(found):
        click.echo(json.dumps(asdict(entry)) if as_json else _line(entry))
    if not found and not as_json:
        click.echo("No entries.")


def _line(entry: AuditEntry) -> str:
    who = entry.username or f"({entry.way})"
    what = " ".join(filter(None, (entry.action, entry.kind, entry.name, entry.detail and f"({entry.detail})")))
    where = f"in {entry.project}" if entry.project else ""
    source = " ".join(filter(None, ("by", entry.way, entry.address, entry.token)))
    return to_one_line("  ".join(filter(None, (f"{entry.at[:19]}Z", f"{who:<16}", what, where, source))))

"""`pushmill runner list`, separate from the commands that write to Redis: importing its client costs 0.1 s."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from web.cli.options import JSON, on_server
from web.services.context import Context
from web.services.presentation import formats
from web.services.runners import overview
from web.services.runners.overview import RunnerView


@click.command("list")
@JSON
@on_server
def show_all(context: Context, as_json: bool) -> None:
    """List runners with their state, GPUs and load."""
    found = overview.list_runner_views(context.db)
    if as_json:
        click.echo(json.dumps([asdict(view) for view in found], indent=2))
        return
    for view in found:
        click.echo("\n".join(_lines(view)))
    if not found:
        click.echo("No runner yet: `pushmill runner register NAME --environment default` registers one.")


def _lines(view: RunnerView) -> list[str]:
    """Return a runner's lines for the terminal: one summary line, and one for each further detail."""
    seen = f"seen {formats.format_age(view.last_seen_at)}" if view.last_seen_at else ""
    parts = (", ".join(view.environments), overview.format_capacity(view), seen)
    lines = [f"{view.name:<20}  {view.state:<12}  {'; '.join(filter(None, parts))}"]
    lines += [f"  {label:<10}{text}" for label, text in overview.list_runner_facts(view)]
    lines += [f"  {'runs':<10}{run.name}  {formats.to_one_line(run.step)}" for run in view.running]
    return lines

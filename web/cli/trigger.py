"""`pushmill project trigger`: show what an event would run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from web.cli.options import JSON, get_project, on_server
from web.cli.rules import read_rules
from web.services.context import Context
from web.services.presentation import formats
from web.services.triggers import dry_run
from web.services.triggers.dry_run import DryRun, HypotheticalEvent
from web.services.triggers.preview import PlannedRun


@click.command("trigger")
@click.argument("name")
@click.argument("ref")
@click.option(
    "--event", default="", help="push, tag, pull_request or schedule:RULE (default: tag if REF is a tag, else push)."
)
@click.option("--branch", default="", help="The branch pushed to, or a pull request's base.")
@click.option("--option", "-o", "options", multiple=True, help="Push option, as of git push -o (repeatable).")
@click.option("--rules", "file", type=click.File("rb"), help="Try the rules in FILE; - reads stdin.")
@JSON
@on_server
def trigger(context: Context, name: str, ref: str, file: Any, as_json: bool, **conditions: Any) -> None:
    """Show what REF would trigger, and why.

    REF is a commit, branch or tag. Nothing runs.
    """
    tried = read_rules(file) if file is not None else None
    question = HypotheticalEvent(name=ref, rules=tried, **conditions)
    answer = dry_run.evaluate_event(context, get_project(context, name), question)
    if as_json:
        click.echo(json.dumps(_plain(answer), indent=2))
        return
    for line in _lines(answer):
        click.echo(formats.to_one_line(line))  # may contain names from a stranger's commit


def _plain(answer: DryRun) -> dict[str, Any]:
    return {
        "event": answer.event,
        "commit": answer.sha,
        "outcome": answer.outcome,
        "rules": [{"name": v.rule.name, "matches": v.matches, "why": v.why} for v in answer.verdicts],
        "runs": [_plain_run(run) for run in answer.runs],
        "skipped": [{"what": what, "why": why} for what, why in answer.skipped],
        "stops": [{**asdict(one.target), "number": one.number} for one in answer.stops],
    }


def _plain_run(run: PlannedRun) -> dict[str, Any]:
    fields = asdict(run)
    return {**fields.pop("target"), **fields}


def _lines(answer: DryRun) -> list[str]:
    lines = [f"{answer.event}, commit {answer.sha[:8]}: {answer.outcome}"]
    lines += [
        f"  rule {verdict.rule.name} {'matches' if verdict.matches else 'does not match'}: {verdict.why}"
        for verdict in answer.verdicts
    ]
    for run in answer.runs:
        values = "".join(f" {name}={json.dumps(value)}" for name, value in run.parameters.items())
        by = f", by rule {run.rule}" if run.rule else ""
        where = run.environment or "the environments of its steps"
        lines.append(f"  runs {run.target.label} in {where}, priority {run.priority}{by}{values}")
        lines += [f"    {run.makes}"] if run.makes else []
        lines += [f"    {note}" for note in run.notes]
    lines += [f"  skips {what}: {why}" for what, why in answer.skipped]
    lines += [f"  stops {one.number} {one.target.label}" for one in answer.stops]
    return lines

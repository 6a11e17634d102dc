"""The rules section of the settings page: what the rules say, the editor, and what a commit would trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core import clock
from core.errors import InvalidInput
from core.model import Project
from web.services.triggers import dry_run, rules
from web.services.triggers.dry_run import DryRun, HypotheticalEvent
from web.services.triggers.rules import cron, describe

START = """\
# No rules: every push to a branch, and every pull request, runs every step. Example of a rule:
#
# [[rule]]
# name = "main"
# events = ["push", "pull_request"]    # or tag; a schedule = "0 3 * * *" needs none
# branches = ["main", "release/*"]
# paths = ["src/**", "!**/*.md"]
# steps = ["train*"]                   # or tasks, pipelines
# environment = "gpu"
# parameters = { epochs = 3 }
# cancel_older = true
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """`descriptions` is, for each rule, its name, its description and the next time of its schedule.

    `text` is the editor's content, saved or not; `problem` is what is wrong with it, or with the question if
    `is_of_question`.
    """

    descriptions: Sequence[tuple[str, str, str]]
    text: str
    problem: str
    events: Sequence[str]
    question: HypotheticalEvent
    answer: DryRun | None
    is_of_question: bool = False


def build_section(
    project: Project, *, text: str | None = None, problem: str = "", question: HypotheticalEvent | None = None
) -> Section:
    """Return the section without an answer. `text` is unsaved text from the editor."""
    shown = text if text is not None else project.rules or START
    try:
        descriptions = [_rule_line(rule) for rule in rules.parse(project.rules)]
    except InvalidInput as error:
        descriptions, problem = [], problem or str(error)
    return Section(
        descriptions=descriptions,
        text=shown,
        problem=problem,
        events=dry_run.list_event_names(shown),
        question=question or HypotheticalEvent(name=""),
        answer=None,
    )


def _rule_line(rule: rules.Rule) -> tuple[str, str, str]:
    coming = (
        clock.format_moment(cron.compute_next_time(rule.schedule, rule.timezone, datetime.now(UTC)))
        if rule.schedule
        else ""
    )
    return rule.name, describe.describe_rule(rule), coming

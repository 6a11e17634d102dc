"""Describe a rule in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.text import join_words
from web.services.presentation import formats
from web.services.triggers.rules.parse import EVERYTHING, PULL_REQUEST, PUSH, SCHEDULE, TAG, Rule


def describe_rule(rule: Rule) -> str:
    """Describe a rule, such as "Pushes to main: runs every step in environment gpu."."""
    runs = join_words(
        [*_chosen("step", rule.steps), *_chosen("pipeline", rule.pipelines), *_chosen("task", rule.tasks)]
    )
    with_what = join_words(list(_with(rule)))
    when = join_words(list(_when(rule)))
    text = f"{when[:1].upper()}{when[1:]}: runs {runs or 'nothing'}{f' {with_what}' if with_what else ''}."
    return f"{text} Older runs of these are cancelled." if rule.cancel_older else text


def _when(rule: Rule) -> Iterator[str]:
    kinds = [name for kind, name in ((PUSH, "pushes"), (PULL_REQUEST, "pull requests")) if kind in rule.events]
    if kinds:
        to = f" to {_patterns(rule.branches)}" if rule.branches else " to any branch"
        changing = f" that change {_patterns(rule.paths)}" if rule.paths else ""
        yield f"{' and '.join(kinds)}{to}{changing}"
    if TAG in rule.events:
        yield f"tags {_patterns(rule.tags)}" if rule.tags else "all tags"
    if SCHEDULE in rule.events:
        yield f"{_times(rule)} on {rule.branch or 'the default branch'}"


def _times(rule: Rule) -> str:
    minute, hour, *rest = rule.schedule.split()
    if rest == ["*"] * 3 and minute.isdecimal() and hour.isdecimal():
        return f"daily at {int(hour):02}:{int(minute):02} ({rule.timezone})"
    return f'on schedule "{rule.schedule}" ({rule.timezone})'


def _chosen(kind: str, patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return []
    if tuple(patterns) == EVERYTHING:
        return [f"every {kind}"]
    return [f"{kind if len(patterns) == 1 else f'{kind}s'} {_patterns(patterns, 'and')}"]


def _with(rule: Rule) -> Iterator[str]:
    if rule.environment:
        yield f"in environment {rule.environment}"
    if rule.priority:
        yield f"with priority {rule.priority}"
    if rule.parameters:
        yield "with " + ", ".join(f"{name} = {formats.format_value(value)}" for name, value in rule.parameters.items())


def _patterns(patterns: Sequence[str], last: str = "or") -> str:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")]
    text = join_words(wanted, last) or "anything"
    return f"{text} but not {join_words(unwanted, 'or')}" if unwanted else text

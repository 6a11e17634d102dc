"""Decide whether a rule matches an event, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from core.model import EventKind, PushEvent
from web.services.triggers.rules import globs
from web.services.triggers.rules.parse import PULL_REQUEST, SCHEDULE, TAG, Rule

SHOWN_PATHS = 3


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Paths that an event changed; None with a reason if they are unknown."""

    paths: Sequence[str] | None = None
    why: str = "not compared"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Information that is not part of the event.

    `base_branch` is that of a pull request, `rule` the name of the due rule; `changes` is called only if a rule needs
    it. `environments` are the existing names, None if unknown.
    """

    base_branch: str = ""
    rule: str = ""
    changes: Callable[[], Changes] = Changes
    environments: Collection[str] | None = None


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    rule: Rule
    matches: bool
    why: str


def kind_of(event: PushEvent) -> str:
    """Return the name that rules use for the event."""
    return TAG if event.kind is EventKind.PUSH and event.ref.startswith("refs/tags/") else event.kind


def match_rule(rule: Rule, event: PushEvent, facts: Facts) -> RuleVerdict:
    kind = kind_of(event)
    if kind not in rule.events:
        return RuleVerdict(
            rule=rule, matches=False, why=f"runs only for {', '.join(rule.events)}, not for a {_named(kind)}"
        )
    if kind == SCHEDULE:
        due = rule.name == facts.rule
        return RuleVerdict(rule=rule, matches=due, why="due" if due else "not due")
    if kind == TAG:
        matches, why = _by_name("tag", event.ref.removeprefix("refs/tags/"), rule.tags)
        return RuleVerdict(rule=rule, matches=matches, why=why)
    if kind == PULL_REQUEST:
        matches, why = _by_name("base branch", facts.base_branch, rule.branches)
    else:
        matches, why = _by_name("branch", event.branch or event.ref, rule.branches)
    if matches and rule.paths:
        matches, of_paths = _by_paths(facts.changes(), rule.paths)
        why = f"{why}; {of_paths}" if matches else of_paths
    return RuleVerdict(rule=rule, matches=matches, why=why)


def _named(kind: str) -> str:
    return {str(PULL_REQUEST): "pull request", str(SCHEDULE): "scheduled run"}.get(kind, kind)


def _by_name(what: str, name: str, patterns: Sequence[str]) -> tuple[bool, str]:
    if not patterns:
        return True, f"{what} {name}" if name else f"any {what}"
    taken, pattern = globs.decide(patterns, name)
    if taken:
        return True, f"{what} {name} matches {pattern}" if pattern else f"{what} {name} is not excluded"
    if pattern:
        return False, f"excludes {what} {name} ({pattern})"
    return False, f"runs only for {what} {', '.join(patterns)}, not {name or 'an unknown one'}"


def _by_paths(changes: Changes, patterns: Sequence[str]) -> tuple[bool, str]:
    if changes.paths is None:
        return True, f"all paths count as changed: {changes.why}"
    for path in changes.paths:
        taken, pattern = globs.decide(patterns, path)
        if taken:
            return True, f"{path} changed, which matches {pattern}" if pattern else f"{path} changed"
    if not changes.paths:
        return False, "found no changed path"
    shown = ", ".join(changes.paths[:SHOWN_PATHS])
    more = ", …" if len(changes.paths) > SHOWN_PATHS else ""
    return False, f"runs only for changes of {', '.join(patterns)}, not {shown}{more}"

"""Choose what one event runs: which rules match and why, the targets with their values, and what is skipped and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import CannotRun, InvalidInput, NotFound
from core.model import EventKind, PushEvent, Target
from web.services.triggers.rules import globs
from web.services.triggers.rules.directives import Directives, parse_directives
from web.services.triggers.rules.parse import DEFAULT, NO_RULE, PULL_REQUEST, SCHEDULE, TAG, Rule
from web.services.triggers.rules.runnable import KINDS, Plan, Takes

MAX_TARGETS = 200
SHOWN_TEXTS, SHOWN_PATHS = 5, 3
ORDER = tuple(KINDS)


@dataclass(frozen=True, kw_only=True)
class ChangedPaths:
    """Paths that an event changed; None with a reason if they are unknown."""

    paths: Sequence[str] | None = None
    why: str = "not compared"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Information that is not part of the event.

    `base_branch` is that of a pull request, `rule` the name of the due rule; `changes` is called only if a rule needs
    it. So is `environments`, the existing names; None if they are unknown.
    """

    base_branch: str = ""
    rule: str = ""
    changes: Callable[[], ChangedPaths] = ChangedPaths
    environments: Callable[[], Collection[str]] | None = None


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    rule: Rule
    matches: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A chosen target and its plan. `environment` overrides its own if not "". `rule` is NO_RULE if none chose it."""

    target: Target
    plan: Plan
    rule: Rule
    environment: str = ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The choice for one event. `run` is in launch order; `skipped` contains pairs of label and reason.

    `problems` are those of `skipped` that the pusher or a rule requested by name. `verdicts` has one entry per rule.
    `named` is whether the pusher named the targets.
    """

    run: tuple[Chosen, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[RuleVerdict, ...] = ()
    named: bool = False

    def supersedes(self, target: Target) -> bool:
        """Return whether older runs of `target` must stop: a rule with `cancel_older` includes it and chose any."""
        cancelling = [chosen for chosen in self.run if chosen.rule.cancel_older]
        if self.named:
            return any(chosen.target == target for chosen in cancelling)
        return any(_includes(chosen.rule, target) for chosen in cancelling)


def choose(
    config: Any,
    event: PushEvent,
    message: str,
    provided: Container[str] = (),
    *,
    rules: Sequence[Rule] = DEFAULT,
    facts: Facts = Facts(),
) -> Choice:
    """Choose what a push with the commit message `message` runs, in a project that has the variables `provided`.

    Candidates are the pusher's targets if there are any, else those that the matching rules choose; the first rule that
    chooses a target applies to it. Targets that cannot run or do not exist are skipped with a reason.
    """
    directives = parse_directives(event, message)
    verdicts = tuple(match_rule(rule, event, facts) for rule in rules)
    candidates = _candidates(config, directives, [found.rule for found in verdicts if found.matches])
    run, skipped, problems = list[Chosen](), list[tuple[str, str]](), [*directives.unclear]
    declared: dict[Target, Mapping[str, Takes]] = {}
    for target, rule in list(candidates.items())[:MAX_TARGETS]:
        kind = KINDS[target.kind]
        try:
            if directives.parameters or rule.parameters:
                declared[target] = kind.takes(config, target.name)
            given = _values(declared.get(target, {}), rule, directives)
            plan = kind.plan(config, target.name, parameters=given, provided=provided)
            run.append(Chosen(target=target, plan=plan, rule=rule, environment=_environment(rule, directives, facts)))
        except (CannotRun, NotFound, InvalidInput) as error:
            reason = "; ".join(error.problems) if isinstance(error, CannotRun) else str(error)
            (problems if _is_named(target, rule, directives) else skipped).append((target.label, reason))
    if len(candidates) > MAX_TARGETS:
        problems.append((f"{len(candidates) - MAX_TARGETS} more", f"at most {MAX_TARGETS} run for one event"))
    problems += _unused(candidates, declared, directives, facts)
    return Choice(
        run=tuple(run),
        skipped=(*problems, *skipped),
        problems=tuple(problems),
        verdicts=verdicts,
        named=bool(directives.targets),
    )


def _candidates(config: Any, directives: Directives, matching: Sequence[Rule]) -> dict[Target, Rule]:
    """Return targets in launch order, each with the rule whose values it gets, even if the pusher named the target."""
    found: dict[Target, Rule] = {}
    for target in directives.targets:
        found[target] = next((rule for rule in matching if _includes(rule, target)), NO_RULE)
    for kind, declared in KINDS.items() if not directives.targets else ():
        choosing = [rule for rule in matching if rule.patterns[kind]]
        names = declared.names(config) if choosing else ()
        for rule in choosing:
            for name in _named(names, rule.patterns[kind]):
                found.setdefault(Target(kind=kind, name=name), rule)
    return dict(sorted(found.items(), key=lambda item: ORDER.index(item[0].kind)))


def _is_named(target: Target, rule: Rule, directives: Directives) -> bool:
    """Return whether the pusher or the rule named this target, rather than a pattern that matches it."""
    return target in directives.targets or target.name in rule.patterns[target.kind]


def _includes(rule: Rule, target: Target) -> bool:
    return globs.includes(rule.patterns[target.kind], target.name, parts=False)


def _named(known: Collection[str], patterns: Sequence[str]) -> list[str]:
    """Return the known names that the patterns choose, then plain names that are unknown."""
    missing = [name for name in patterns if not globs.is_pattern(name) and name not in known]
    return [*(name for name in known if globs.includes(patterns, name, parts=False)), *missing]


def _values(takes: Mapping[str, Takes], rule: Rule, directives: Directives) -> dict[str, Any]:
    """Return the given parameter values. Raises InvalidInput for several values of a parameter that takes one."""
    given: dict[str, Any] = {}
    for name, kind in takes.items():
        if texts := directives.parameters.get(name):
            if kind is Takes.ONE and len(texts) > 1:
                shown = ", ".join(f'"{text:.40}"' for text in texts[:SHOWN_TEXTS])
                raise InvalidInput(f'parameter "{name:.80}" takes one value and was given {len(texts)}: {shown}')
            given[name] = list(texts) if kind is Takes.LIST or len(texts) > 1 else texts[0]
        elif name in rule.parameters:
            given[name] = rule.parameters[name]
    return given


def _environment(rule: Rule, directives: Directives, facts: Facts) -> str:
    wanted = (directives.environment, rule.environment)
    return next((name for name in wanted if name and _is_there(name, facts)), "")


def _is_there(environment: str, facts: Facts) -> bool:
    return facts.environments is None or environment in facts.environments()


def _unused(
    candidates: Mapping[Target, Rule],
    declared: Mapping[Target, Container[str]],
    directives: Directives,
    facts: Facts,
) -> Iterator[tuple[str, str]]:
    """Yield requests without effect. `declared` contains the parameters of each target."""
    for name in directives.parameters:
        if not any(name in names for names in declared.values()):
            yield f"parameter {name[:80]}", "nothing that runs has it"
    if directives.environment and not _is_there(directives.environment, facts):
        yield f"environment {directives.environment[:80]}", "there is no environment of this name, so it is ignored"
    if directives.targets:
        return
    for rule in {id(rule): rule for rule in candidates.values()}.values():
        chosen = [target for target, chosen_by in candidates.items() if chosen_by is rule]
        for name in rule.parameters:
            if not any(name in declared.get(target, ()) for target in chosen):
                yield f"parameter {name[:80]} of rule {rule.name}", "nothing that the rule chooses has it"
        if rule.environment and not _is_there(rule.environment, facts):
            yield f"environment {rule.environment} of rule {rule.name}", "there is no environment of this name"


def get_event_kind(event: PushEvent) -> str:
    """Return the name that rules use for the event."""
    return TAG if event.kind is EventKind.PUSH and event.ref.startswith("refs/tags/") else event.kind


def match_rule(rule: Rule, event: PushEvent, facts: Facts) -> RuleVerdict:
    kind = get_event_kind(event)
    if kind not in rule.events:
        return RuleVerdict(
            rule=rule, matches=False, why=f"runs only for {', '.join(rule.events)}, not for a {_kind_text(kind)}"
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


def _kind_text(kind: str) -> str:
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


def _by_paths(changes: ChangedPaths, patterns: Sequence[str]) -> tuple[bool, str]:
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

"""What one event makes run: the steps, with where and with what values, and what is skipped and why."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, NotFound
from core.model import PushEvent
from core.steps.model import Step, load_step, step_names
from core.steps.resolve import ResolvedStep, UnresolvedStep, resolve
from web.services.rules import globs, wishes
from web.services.rules.matching import Facts, Verdict, verdict
from web.services.rules.text import DEFAULT, Rule
from web.services.rules.wishes import Wishes

MAX_STEPS = 200
NOT_YET = (("pipeline", "pipelines do not run here yet"), ("task", "tasks do not run here yet"))


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A step that runs. `environment` is instead of its own, "" for its own. `rule` is None when none has chosen it."""

    resolved: ResolvedStep
    rule: Rule | None
    environment: str = ""

    @property
    def step(self) -> Step:
        return self.resolved.step

    @property
    def priority(self) -> int:
        return self.rule.priority if self.rule else 0

    @property
    def cancels_older(self) -> bool:
        return self.rule is not None and self.rule.cancel_older


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`run` is in the order of launching; `skipped` are (step, reason) pairs; `named` says that the pusher named the steps.

    `verdicts` has every rule.
    """

    run: tuple[Chosen, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    named: bool = False

    def supersedes(self, step: str) -> bool:
        """Whether an older execution of this step is to stop, because a rule says so and has chosen something here."""
        cancelling = [chosen for chosen in self.run if chosen.cancels_older]
        if self.named:
            return any(chosen.step.name == step for chosen in cancelling)
        return any(chosen.rule and globs.includes(chosen.rule.steps, step, parts=False) for chosen in cancelling)


def choose(
    config: Any,
    event: PushEvent,
    message: str,
    provided: Container[str] = (),
    *,
    rules: Sequence[Rule] = DEFAULT,
    facts: Facts = Facts(),  # noqa: B008  (it is frozen)
) -> Choice:
    """What of a stored configuration a push of `message` runs, in a project that has the variables `provided`.

    The steps that the pusher names, else those that the rules which are for this event choose, each by the first that does.
    A step that cannot run, or that there is not, is skipped with the reason.
    """
    wished = wishes.read(event, message)
    verdicts = tuple(verdict(rule, event, facts) for rule in rules)
    matching = [found.rule for found in verdicts if found.matches]
    candidates = _candidates(step_names(config), wished, matching)
    run: list[Chosen] = []
    skipped = [*wished.unclear]
    declared: dict[str, set[str]] = {}
    for name, rule in candidates.items():
        try:
            step = load_step(config, name)
            declared[name] = {parameter.name for parameter in step.parameters}
            given = _values(step, rule, wished)
            resolved = resolve(config, name, parameters=given, provided=provided)
            run.append(Chosen(resolved=resolved, rule=rule, environment=_environment(rule, wished, facts)))
        except UnresolvedStep as error:
            skipped.append((name, "; ".join(error.problems)))
        except (NotFound, InvalidInput) as error:
            skipped.append((name, str(error)))
    skipped += _not_yet(config, [] if wished.steps else matching)
    skipped += _unused(candidates, declared, wished, facts)
    return Choice(run=tuple(run), skipped=tuple(skipped), verdicts=verdicts, named=bool(wished.steps))


def _candidates(known: Sequence[str], wished: Wishes, matching: Sequence[Rule]) -> dict[str, Rule | None]:
    """The steps with the rule that has chosen each, and whose values it gets, named by the pusher or not."""
    found: dict[str, Rule | None] = {}
    for name in wished.steps:
        found[name] = next((rule for rule in matching if globs.includes(rule.steps, name, parts=False)), None)
    for rule in () if wished.steps else matching:
        for name in _named(known, rule.steps):
            found.setdefault(name, rule)
    return dict(list(found.items())[:MAX_STEPS])


def _named(known: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """What patterns choose of the known names, with the plain names that are not among them."""
    missing = [name for name in patterns if not globs.is_pattern(name) and name not in known]
    return [*(name for name in known if globs.includes(patterns, name, parts=False)), *missing]


def _values(step: Step, rule: Rule | None, wished: Wishes) -> dict[str, Any]:
    """The values for those of its parameters that were given one; of several texts for a single value the last counts."""
    given: dict[str, Any] = {}
    for parameter in step.parameters:
        if texts := wished.parameters.get(parameter.name):
            given[parameter.name] = list(texts) if parameter.multiple else texts[-1]
        elif rule and parameter.name in rule.parameters:
            given[parameter.name] = rule.parameters[parameter.name]
    return given


def _environment(rule: Rule | None, wished: Wishes, facts: Facts) -> str:
    wanted = (wished.environment, rule.environment if rule else "")
    return next((name for name in wanted if name and _is_there(name, facts)), "")


def _is_there(environment: str, facts: Facts) -> bool:
    return facts.environments is None or environment in facts.environments


def _not_yet(config: Any, matching: Iterable[Rule]) -> Iterator[tuple[str, str]]:
    for kind, reason in NOT_YET:
        items = [item[kind]["name"] for item in config if kind in item] if isinstance(config, list) else []
        patterns = [getattr(rule, f"{kind}s") for rule in matching]
        for name in dict.fromkeys(name for wanted in patterns for name in _named(items, wanted)):
            yield f"{kind} {name}", reason if name in items else f"there is no {kind} of this name"


def _unused(
    candidates: Mapping[str, Rule | None], declared: Mapping[str, Container[str]], wished: Wishes, facts: Facts
) -> Iterator[tuple[str, str]]:
    """What was asked for and has no effect. `declared` are the parameters of each step."""
    for name in wished.parameters:
        if not any(name in names for names in declared.values()):
            yield f"parameter {name[:80]}", "no step that was chosen has it"
    if wished.environment and not _is_there(wished.environment, facts):
        yield f"environment {wished.environment[:80]}", "there is none of this name, so this changes nothing"
    if wished.steps:
        return
    for rule in {id(rule): rule for rule in candidates.values() if rule}.values():
        steps = [name for name, chosen_by in candidates.items() if chosen_by is rule]
        for name in rule.parameters:
            if not any(name in declared.get(step, ()) for step in steps):
                yield f"parameter {name[:80]} of rule {rule.name}", "no step that it chooses has it"
        if rule.environment and not _is_there(rule.environment, facts):
            yield f"environment {rule.environment} of rule {rule.name}", "there is none of this name"

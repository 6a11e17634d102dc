"""Parse and validate the rules of a project, which are TOML text."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import InvalidInput
from core.model import EventKind, TargetKind
from core.names import ENVIRONMENT, explain_unknown_name
from web.services.triggers.rules import cron

PUSH, TAG, PULL_REQUEST, SCHEDULE = EVENTS = (EventKind.PUSH, "tag", EventKind.PULL_REQUEST, EventKind.SCHEDULE)
MAX_BYTES = 64 * 1024
MAX_RULES = 100
MAX_PATTERNS = 200  # of all rules: each may be matched with each changed path
MAX_NAME = 64
MAX_PRIORITY = 1000
EVERYTHING = ("*",)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. Patterns have the syntax of `globs`; an empty tuple of `branches`, `tags` or `paths` matches any.

    `environment` overrides a step's own. `branch` is the branch whose head a schedule runs, "" for the default branch.
    """

    name: str
    events: tuple[str, ...] = (PUSH, PULL_REQUEST)
    branches: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    steps: tuple[str, ...] = EVERYTHING
    pipelines: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    environment: str = ""
    priority: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cancel_older: bool = False
    schedule: str = ""
    branch: str = ""
    timezone: str = "UTC"

    @functools.cached_property
    def patterns(self) -> Mapping[TargetKind, tuple[str, ...]]:
        """Patterns for targets by kind."""
        return {TargetKind.STEP: self.steps, TargetKind.TASK: self.tasks, TargetKind.PIPELINE: self.pipelines}


# Without rules, pushes to branches and pull requests run all steps.
DEFAULT = (Rule(name="default"),)
# of a target that the pusher names, and that no rule chooses
NO_RULE = Rule(name="", events=(), steps=())

LISTS = ("events", "branches", "tags", "paths", "steps", "pipelines", "tasks")
TEXTS = ("environment", "schedule", "branch", "timezone")
KEYS = ("name", *LISTS[:5], "pipelines", "tasks", "environment", "priority", "parameters", "cancel_older", *TEXTS[1:])


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Rule, ...]:
    """Return the rules in the order in which they apply; `DEFAULT` for text without rules. Raises InvalidInput.

    The result is cached, because the sweep reads the rules of all projects every two seconds.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidInput(f"the rules have more than {MAX_BYTES:,} bytes")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise InvalidInput("the rules are not valid TOML: they are nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"the rules are not valid TOML: {str(error)[:300]}") from None
    if unknown := [key for key in table if key != "rule"]:
        raise InvalidInput(f"{unknown[0][:80]!r} is not a valid top-level key: each rule begins with [[rule]]")
    items = table.get("rule", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidInput("each rule begins with [[rule]], in two brackets")
    if len(items) > MAX_RULES:
        raise InvalidInput(f"there are {len(items)} rules; at most {MAX_RULES} are allowed")
    return _checked([_rule(item, number) for number, item in enumerate(items, 1)]) or DEFAULT


def _checked(rules: list[Rule]) -> tuple[Rule, ...]:
    """Check the rules together: unique names and the number of patterns. Raises InvalidInput."""
    names = [rule.name for rule in rules]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"rule {twice[0]}: two rules have this name, and names must be unique")
    patterns = sum(len(getattr(rule, key)) for rule in rules for key in LISTS[1:])
    if patterns > MAX_PATTERNS:
        raise InvalidInput(f"the rules have {patterns} patterns together; at most {MAX_PATTERNS} are allowed")
    return tuple(rules)


def _rule(item: Mapping[str, Any], number: int) -> Rule:
    name = item.get("name")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"rule {number}: name must have 1 to {MAX_NAME} characters, got {_shown(name)}")
    where = f"rule {name}"
    for key in item:
        if key not in KEYS:
            raise InvalidInput(f"{where}: {explain_unknown_name('key', key, KEYS)}")
    values = {key: _value(where, key, value) for key, value in item.items()}
    _check_events(where, values)
    if "steps" not in values and (values.get("pipelines") or values.get("tasks")):
        values["steps"] = ()
    return Rule(**values)


def _value(where: str, key: str, value: Any) -> Any:
    """Convert a value to its type in `Rule`. Raises InvalidInput."""
    if key in LISTS:
        return _list(where, key, value)
    if key == "parameters":
        return _parameters(where, value)
    if key == "priority":
        if type(value) is not int or abs(value) > MAX_PRIORITY:
            raise InvalidInput(f"{where}: priority must be a number up to {MAX_PRIORITY:,}, got {_shown(value)}")
    elif key == "cancel_older":
        if not isinstance(value, bool):
            raise InvalidInput(f"{where}: cancel_older must be true or false, got {_shown(value)}")
    elif not isinstance(value, str) or not value.isprintable():
        raise InvalidInput(f"{where}: {key} must be text in quotes, got {_shown(value)}")
    elif key == "environment" and value and not ENVIRONMENT.fullmatch(value):
        raise InvalidInput(f"{where}: environment must be the name of one, got {_shown(value)}")
    return value


def _list(where: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidInput(f"{where}: {key} must be a list of texts such as [{_example(key)}], got {_shown(value)}")
    for entry in value:
        if key == "events" and entry not in EVENTS:
            raise InvalidInput(f"{where}: events must be among {', '.join(EVENTS)}, got {_shown(entry)}")
        if not entry.removeprefix("!") or not entry.isprintable():
            raise InvalidInput(f"{where}: {key} has a pattern that matches nothing: {_shown(entry)}")
    if not value and key not in ("steps", "pipelines", "tasks"):
        raise InvalidInput(f"{where}: {key} is empty; remove the key to match any")
    return tuple(value)


def _example(key: str) -> str:
    return {"events": '"push"', "tags": '"v*"', "paths": '"src/**"', "branches": '"main"'}.get(key, '"train*"')


def _parameters(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: parameters must be a table such as {{ epochs = 3 }}, got {_shown(value)}")
    for name, given in value.items():
        for atom in given if isinstance(given, list) else [given]:
            finite = isinstance(atom, str | bool | int) or (isinstance(atom, float) and math.isfinite(atom))
            if not finite:
                raise InvalidInput(f"{where}: parameter {name[:80]} is text, a number, true, false or a list of them")
    return value


def _check_events(where: str, values: dict[str, Any]) -> None:
    """Check that keys have their event, and add the event of a `schedule`, which is the only one by default."""
    if "schedule" in values:
        events = values.get("events", ())
        values["events"] = tuple(dict.fromkeys([*events, SCHEDULE]))
        if problem := cron.find_problem(values["schedule"], values.get("timezone", "UTC")):
            raise InvalidInput(f"{where}: schedule {_shown(values['schedule'])}: {problem}")
    elif SCHEDULE in values.get("events", ()):
        raise InvalidInput(f'{where}: events contains "schedule", but the rule has no schedule = "0 3 * * *"')
    for key, meant in (("branch", "; for pushes, use branches"), ("timezone", "")):
        if key in values and "schedule" not in values:
            raise InvalidInput(f"{where}: {key} needs a schedule{meant}")
    if "tags" in values and TAG not in values.get("events", ()):
        raise InvalidInput(f'{where}: tags needs the event tag, such as events = ["tag"]')


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"

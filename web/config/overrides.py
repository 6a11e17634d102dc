"""Values of a launch that replace those of valohai.yaml: their limits, and the changed items of valohai.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import InvalidFields, InvalidInput, Problem
from core.model import TargetKind
from core.names import explain_unknown_name
from web.config.pipelines.override import apply_override
from web.config.steps.model import map_step_items
from web.config.tasks.blueprint import get_task_item, load_task

TITLE_CHARS = 200
TAG_CHARS = 100
MAX_TAGS = 100  # of an execution, task or pipeline, at its launch and later
MAX_PRIORITY = 1000  # as in rules
MAX_TIME_LIMIT_S = 366 * 86_400


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Given values; empty ones leave those of valohai.yaml. A parameter that is None is not set.

    An empty list of URLs means no file for that input. `time_limit_s` is in whole seconds.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    command: str | Sequence[str] = ""
    environment: str = ""
    time_limit_s: int | None = None
    autorestart: bool | None = None
    priority: int = 0
    title: str = ""
    tags: tuple[str, ...] = ()

    @property
    def of_step(self) -> dict[str, Any]:
        """Return the replaced keys of a step by field, without a time limit that `find_override_problems` reports."""
        given = {
            "image": self.image,
            "command": self.command,
            "time_limit": self.time_limit_s if _is_time_limit(self.time_limit_s) else None,
            "autorestart": self.autorestart,
        }
        return {name: value for name, value in given.items() if value not in ("", None, [], ())}


def find_override_problems(overrides: Overrides) -> Iterator[Problem]:
    """Yield the problems of values that do not depend on what is launched."""
    if len(overrides.title) > TITLE_CHARS or not overrides.title.isprintable():
        yield Problem(f"a title has at most {TITLE_CHARS} characters on one line", "title")
    if len(overrides.tags) > MAX_TAGS:
        yield Problem(f"there are {len(overrides.tags)} tags; at most {MAX_TAGS} are allowed", "tags")
    for tag in overrides.tags[:MAX_TAGS]:
        if not tag.strip() or len(tag) > TAG_CHARS or not tag.isprintable():
            yield Problem(f"{tag!r:.120} is not a tag: use 1 to {TAG_CHARS} printable characters", "tags", tag[:80])
    if abs(overrides.priority) > MAX_PRIORITY:
        yield Problem(f"priority is {overrides.priority}; it must be between -{MAX_PRIORITY:,} and {MAX_PRIORITY:,}",
                      "priority")  # fmt: skip
    limit = overrides.time_limit_s
    if limit is not None and not _is_time_limit(limit):
        yield Problem(f"time limit is {limit} s; it must be between 1 and {MAX_TIME_LIMIT_S:,} seconds", "time_limit")


def _is_time_limit(seconds: int | None) -> bool:
    return seconds is not None and 1 <= seconds <= MAX_TIME_LIMIT_S


def override_config(config: Any, kind: TargetKind, name: str, overrides: Overrides) -> Any:
    """Return the items that the target needs, its step with the overrides; or the configuration without any.

    Raises NotFound for an unknown target, and InvalidFields.
    """
    given = overrides.of_step
    if not given:
        return config
    if kind is TargetKind.PIPELINE:
        text = "a pipeline's nodes have it, not the pipeline: change valohai.yaml"
        raise InvalidFields([Problem(f"{key.replace('_', ' ')}: {text}", key) for key in given])
    of_task = [get_task_item(config, name)] if kind is TargetKind.TASK else []
    step_name = load_task(config, name).step if of_task else name
    if step_name not in (steps := map_step_items(config)):
        return config  # planning reports it
    body: dict[str, Any] = dict(steps[step_name]["step"])
    problems = []
    for field_name, value in given.items():
        try:
            if field_name in ("image", "command"):
                body = apply_override(body, {field_name: value})
            else:
                body[field_name.replace("_", "-")] = value
        except InvalidInput as error:
            problems.append(Problem(str(error), field_name))
    if problems:
        raise InvalidFields(problems)
    return [*of_task, {"step": body}]


def make_unknown_target_problem(kind: TargetKind, name: str, known: Iterable[str]) -> Problem:
    return Problem(explain_unknown_name(kind, name, known), str(kind), name, "does_not_exist")

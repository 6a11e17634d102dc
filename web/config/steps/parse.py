"""Parse a valohai.yaml into a Configuration, in this process.

Use `web.config.steps.parse_in_child.parse_limited` for untrusted files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import valohai_yaml
import yaml
from valohai_yaml.lint import LintResult, lint
from valohai_yaml.objs.step import Step as LibraryStep

from core.errors import InvalidInput, InvalidYaml, NotFound
from web.config.pipelines.blueprint import list_pipeline_names, load_pipeline
from web.config.steps.json_schema import describe_schema_errors, explain_unknown_key, list_schema_errors
from web.config.steps.lines import LineNumbers, describe_syntax_error
from web.config.steps.load import YAML_BYTES, load
from web.config.steps.model import load_library_step
from web.config.steps.property_rules import find_step_advice, find_step_problems
from web.config.steps.unused import find_unused_keys
from web.config.tasks.blueprint import list_task_names, load_task
from web.config.tasks.search import search

__all__ = ["YAML_BYTES", "Configuration", "parse"]

ITEMS = 1000
MESSAGE_CHARS = 500  # the library's messages repeat whole values
MESSAGES = 100
SHOWN_STEPS = 3  # of the steps that have a key without effect
KINDS = ("step", "task", "endpoint", "pipeline", "blueprint", "deployment")  # an item's first of these is its kind
UNSUPPORTED = {"endpoint": "endpoints", "deployment": "deployments"}
SERVING = ("endpoint", "deployment")  # never a reason to reject a commit


@dataclass(frozen=True)
class Configuration:
    """A usable valohai.yaml.

    `config` is the file as plain JSON values, without the items that `problems` reports as left out. `problems` are
    warnings: lint messages and notes on features that are not supported here. `steps` are the names in file order.
    """

    config: Any
    problems: tuple[str, ...]
    steps: tuple[str, ...]


def parse(data: bytes, items: int = ITEMS) -> Configuration:
    """Parse the bytes of a valohai.yaml. Raises only InvalidYaml, with every reason found.

    `items` is the maximum number of steps, tasks, pipelines, endpoints and deployments together.

    Violations of the schema or of the rules of steps, and steps that the library cannot parse, are rejected; broken
    endpoints, deployments, tasks and pipelines are left out with a note.
    """
    try:
        return _parse(data, items)
    except InvalidYaml:
        raise
    except yaml.MarkedYAMLError as error:
        raise InvalidYaml([describe_syntax_error(error)[:MESSAGE_CHARS]]) from None
    except MemoryError:
        raise InvalidYaml(["reading valohai.yaml needs more memory than allowed"]) from None
    except Exception as error:  # noqa: BLE001 - the libraries raise nine unrelated classes on bad input
        raise InvalidYaml([f"invalid valohai.yaml: {_describe(error)}"]) from None


def _parse(data: bytes, items: int) -> Configuration:
    config = load(data)
    if config is None:
        return Configuration([], ("valohai.yaml is empty: there is no step to run",), ())
    if not isinstance(config, list):
        raise InvalidYaml(["valohai.yaml must be a list of items such as `- step:`, each beginning with a dash"])
    _check_count(config, items)
    lines = functools.cache(lambda: LineNumbers(data.decode("utf-8-sig")))
    config, left_out_by_schema = _keep_valid(config, lines)
    unknown = _unknown_items(config, lines)
    config, left_out_by_parser = _keep_parsable(config)
    steps = [item["step"] for item in config if "step" in item]
    if problems := [problem for step in steps for problem in find_step_problems(step)]:
        raise InvalidYaml(_capped(problems))
    names = tuple(dict.fromkeys(step["name"] for step in steps))
    advice = [
        *unknown,
        *left_out_by_schema,
        *left_out_by_parser,
        *_unsupported(config),
        *_task_advice(config),
        *_pipeline_advice(config),
        *(sentence for step in steps for sentence in find_step_advice(step)),
        *_unused(steps),
        *_lint(config),
    ]
    return Configuration(config, tuple(_capped(advice)), names)


def _check_count(config: list[Any], items: int) -> None:
    counts = {kind: sum(isinstance(item, dict) and kind in item for item in config) for kind in KINDS}
    counts["other item"] = sum(not (isinstance(item, dict) and item.keys() & counts) for item in config)
    if sum(counts.values()) > items:
        found = ", ".join(f"{count:,} {kind}{'s'[: count != 1]}" for kind, count in counts.items() if count)
        raise InvalidYaml(
            [
                f"valohai.yaml declares {found}: the server reads at most {items:,} items ([limits] config_items)."
                " Use parameters or tasks instead of many similar steps."
            ]
        )


def _keep_valid(config: list[Any], lines: Callable[[], LineNumbers]) -> tuple[list[Any], list[str]]:
    """Leave out endpoints and deployments that violate the schema; reject the file for any other violation."""
    errors = list_schema_errors(config)
    failures = [tuple(error.absolute_path)[:2] for error in errors]
    if any(len(path) < 2 or path[1] not in SERVING for path in failures):
        raise InvalidYaml(_capped(describe_schema_errors(errors, lines())))
    kept, notes = [], []
    found: dict[int, set[str]] = {}
    for at, key in failures:
        found.setdefault(at, set()).add(key)
    for index, item in enumerate(config):
        broken = found.get(index, set())
        notes += [f"{_name(item, key)} is ignored: it does not match the schema" for key in sorted(broken)]
        if rest := {key: value for key, value in item.items() if key not in broken}:
            kept.append(rest)
    return kept, notes


def _unknown_items(config: list[Any], lines: Callable[[], LineNumbers]) -> list[str]:
    """Say which items are of no known kind: the library ignores them."""
    found = []
    for index, item in enumerate(config):
        if isinstance(item, dict) and _kind(item) == "item":
            key = next(iter(item), "")
            line = lines().of([index], key) if key else None
            found.append(
                f"{f'line {line}: ' if line else ''}{explain_unknown_key(key, get_close_matches(key[:80], KINDS, n=1))}"
            )
    return found


def _keep_parsable(config: list[Any]) -> tuple[list[Any], list[str]]:
    """Leave out items that the library cannot parse; reject the file if one is a step."""
    kept, notes = [], []
    for item in config:
        kind = _kind(item)
        try:
            valohai_yaml.parse([item], validate=False)
        except Exception as error:  # noqa: BLE001 - as in parse()
            if kind == "step":
                raise InvalidYaml([f"invalid valohai.yaml: {_describe(error)} ({_name(item, kind)})"]) from None
            notes.append(f"{_name(item, kind)} is ignored: {_describe(error)}")
        else:
            kept.append(item)
    return kept, notes


def _unsupported(config: list[Any]) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for item in config:
        kind = _kind(item)
        if kind in UNSUPPORTED:
            names.setdefault(UNSUPPORTED[kind], []).append(str(item[kind].get("name")))
    for plural, found in names.items():
        yield f"{plural} are not supported here: {', '.join(found)}"


def _unused(steps: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each key without effect, with the steps that have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        for key_and_reason in find_unused_keys(step):
            found.setdefault(key_and_reason, []).append(f'"{step["name"]:.80}"')
    for (key, reason), names in found.items():
        more = f" and {len(names) - SHOWN_STEPS} more" if len(names) > SHOWN_STEPS else ""
        yield f"step {', '.join(names[:SHOWN_STEPS])}{more}: {key} has no effect: {reason}"


def _task_advice(config: list[Any]) -> Iterator[str]:
    """Yield why tasks cannot run here and which of their keys have no effect, for the first MESSAGES tasks.

    Each task may take time.
    """
    steps: dict[str, LibraryStep] = {}
    for name in list_task_names(config)[:MESSAGES]:
        try:
            blueprint = load_task(config, name)
            if blueprint.step not in steps:
                steps[blueprint.step] = load_library_step(config, blueprint.step)
            search(blueprint, steps[blueprint.step], {})
        except NotFound as error:
            yield f'task "{name}": {error}'
        except InvalidInput as error:
            yield str(error)
        else:
            yield from (f'task "{name}": {note}' for note in blueprint.notes)


def _pipeline_advice(config: list[Any]) -> Iterator[str]:
    for name in list_pipeline_names(config):
        try:
            notes = load_pipeline(config, name).notes
        except (NotFound, InvalidInput) as error:
            yield str(error)
        else:
            yield from (f'pipeline "{name:.80}": {note}' for note in notes)


def _lint(config: list[Any]) -> list[str]:
    """Return the library's messages, except on pipelines: it rejects valid ones and crashes on parsable ones."""
    items = [item for item in config if _kind(item) not in ("pipeline", "blueprint", "item")]
    try:
        return _messages(lint(items, validate_schema=False, ansi_colors=False))
    except Exception as error:  # noqa: BLE001 - as in parse()
        return [f"the linter stopped: {_describe(error)}"]


def _messages(result: LintResult) -> list[str]:
    return _capped(str(message["message"]) for message in result.messages)


def _capped(sentences: Iterable[str]) -> list[str]:
    short = [" ".join(sentence.split())[:MESSAGE_CHARS] for sentence in sentences]
    more = len(short) - MESSAGES
    return [*short[:MESSAGES], f"and {more} more"] if more > 0 else short


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MESSAGE_CHARS]}"


def _kind(item: dict[str, Any]) -> str:
    return next((kind for kind in KINDS if kind in item), "item")


def _name(item: dict[str, Any], kind: str) -> str:
    body = item.get(kind)
    name = body.get("name") if isinstance(body, dict) else None
    return f'{kind} "{name!s:.80}"'

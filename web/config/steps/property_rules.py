"""Rules for steps beyond valohai-yaml's schema, which neither checks nor limits these properties."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

COMMAND_BYTES = 16 * 1024  # of one item: matching placeholders takes quadratic time in the worst case
STEP_COMMAND_BYTES = 64 * 1024
UNCLOSED_BRACES = 100  # after the last } of a line; the matcher reads the rest of the line for each of them
PASS_AS_CHARS = 1000
NAME_CHARS = 64

# pass-as is a Python format string: {v:>1000000000} fills the memory, {value.__class__} reads attributes
PASS_AS = re.compile(r"(?:[^{}]|\{\{|\}\}|\{(?:name|value|v)\})*")
PASS_AS_KEYS = ("pass-as", "pass-true-as", "pass-false-as")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
QUOTED_PLACEHOLDER = re.compile(r"[\"'](\{parameter(?:-value)?:[^{}\"']*\})")


def list_commands(step: Mapping[str, Any]) -> list[str]:
    command = step["command"]
    return [command] if isinstance(command, str) else list(command)


def is_path_safe(name: str) -> bool:
    """Return True if the name is a single path component that stays in its directory."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)


def find_step_problems(step: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about what makes a schema-valid step unusable."""
    where = f'step "{step["name"][:NAME_CHARS]}"'
    if not step["name"].strip():
        yield "a step has an empty name"
    if CONTROL.search(step["name"]):
        yield f"step {step['name']!r:.80}: a name cannot contain control characters"
    if not step["image"].strip():
        yield f"{where}: image is empty"
    yield from _command_problems(where, list_commands(step))
    for parameter in step.get("parameters", ()):
        yield from _parameter_problems(where, parameter)
    for item in step.get("inputs", ()):
        yield from _input_problems(where, item)
    for variable in step.get("environment-variables", ()):
        yield from find_variable_problems(f"{where}: environment variable", variable["name"])
    for key in ("time-limit", "no-output-timeout"):
        if isinstance(step.get(key), int) and step[key] < 0:
            yield f"{where}: {key} is {step[key]}; it must be positive, or 0 for none"


def _command_problems(where: str, commands: list[str]) -> Iterator[str]:
    if not any(command.strip() for command in commands):
        yield f"{where}: command is empty"
    sizes = [len(command.encode()) for command in commands]
    if max(sizes, default=0) > COMMAND_BYTES:
        yield f"{where}: a command has {max(sizes):,} bytes; at most {COMMAND_BYTES:,} are allowed: put it in a file"
    if sum(sizes) > STEP_COMMAND_BYTES:
        yield f"{where}: the commands have {sum(sizes):,} bytes together; at most {STEP_COMMAND_BYTES:,} are allowed"
    lines = (line for command in commands for line in command.split("\n"))
    if any(line.rpartition("}")[2].count("{") > UNCLOSED_BRACES for line in lines):
        yield f"{where}: a command has a line with more than {UNCLOSED_BRACES} {{ that no }} follows"


def _parameter_problems(where: str, parameter: Mapping[str, Any]) -> Iterator[str]:
    name = parameter["name"]
    if not name.strip() or CONTROL.search(name):
        yield f"{where}: {name!r:.80} cannot be the name of a parameter"
    for key in PASS_AS_KEYS:
        template = parameter.get(key) or ""
        if len(template) > PASS_AS_CHARS:
            yield f'{where}: parameter "{name:.64}": {key} has more than {PASS_AS_CHARS} characters'
        elif not PASS_AS.fullmatch(template):
            yield (
                f'{where}: parameter "{name:.64}": {key} {template!r:.120} may only contain the placeholders '
                "{name}, {value} and {v}; write {{ and }} for braces"
            )


def _input_problems(where: str, item: Mapping[str, Any]) -> Iterator[str]:
    name, filename = item["name"], item.get("filename")
    if not is_path_safe(name) or len(name) > NAME_CHARS:
        yield f"{where}: {name!r:.80} cannot be the name of an input, since a directory gets this name"
    if filename is not None and not is_path_safe(filename):
        yield f'{where}: input "{name:.64}": {filename!r:.80} cannot be the name of a file'


def find_variable_problems(where: str, name: str) -> Iterator[str]:
    if not name.strip() or "=" in name or CONTROL.search(name):
        yield f"{where} {name!r:.80}: a name cannot be empty or contain = or control characters"


def find_step_advice(step: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about valid but probably unintended parts of a step."""
    where = f'step "{step["name"]}"'
    for key, kind in (("parameters", "parameter"), ("inputs", "input"), ("environment-variables", "variable")):
        for name, count in Counter(item["name"] for item in step.get(key, ())).items():
            if count > 1:
                yield f'{where}: {kind} "{name}" is declared {count} times; the last one is used'
    placeholders = {found for command in list_commands(step) for found in QUOTED_PLACEHOLDER.findall(command)}
    for placeholder in sorted(placeholders):
        yield (
            f"{where}: {placeholder} is in quotes, but values are already quoted for the shell: "
            "remove the quotes, so that no value can run as a command"
        )

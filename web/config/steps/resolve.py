"""Resolve a step with given values into interpolated commands, typed parameters, inputs and variables."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from valohai_yaml.commands import interpolable_re
from valohai_yaml.excs import ValidationErrors
from valohai_yaml.objs.parameter import Parameter
from valohai_yaml.objs.step import Step as LibraryStep
from valohai_yaml.utils import listify

from core import datum
from core.errors import CannotRun, Problem
from core.names import explain_unknown_name
from core.text import find_text_problem
from core.wire import InputSpec
from web.config.steps.load import JSON_INTEGERS
from web.config.steps.model import Step, StepInput, StepVariable, load_library_step, read_step, to_declared_type
from web.config.steps.property_rules import find_variable_problems
from web.config.steps.variables import VALUE_BYTES, is_reserved

COMMANDS_BYTES = 4 * 1024**2  # of all commands with their values, estimated generously
SCHEMES = ("http", "https")
PLACEHOLDER = re.compile(r"\{parameter:([^{}]+)\}")
BLANK = re.compile(r"[\x00-\x20\x7f]")
SHOWN_CHARS = 200
FLAG_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class UnresolvedStep(CannotRun):
    """Raised when a step cannot run with the given values."""

    def __init__(self, step: str, problems: Sequence[str]) -> None:
        super().__init__(f'step "{step}"', problems)


@dataclass(frozen=True, kw_only=True)
class ResolvedStep:
    """The values of a step that an execution records.

    `parameters` are typed, in declared order, without those that have no value; a number that JSON cannot represent
    (NaN, infinity) is None there while the commands contain its text. `inputs` contains every declared input, including
    empty ones. `notes` are sentences for the execution's status lines.
    """

    step: Step
    image: str
    commands: tuple[str, ...]
    parameters: dict[str, Any]
    inputs: dict[str, InputSpec]
    environment_variables: dict[str, str]
    environment: str | None
    time_limit_s: float | None
    no_output_limit_s: float | None
    notes: tuple[str, ...]


@dataclass
class _Findings:
    """Problems and notes about the values, collected so that all are reported at once."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, text: str, where: str, name: str = "", code: str = "invalid") -> None:
        self.problems.append(Problem(text, where, name, code))


def resolve(
    config: Any,
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Sequence[str]] | None = None,
    environment_variables: Mapping[str, str] | None = None,
    provided: Container[str] = (),
) -> ResolvedStep:
    """Resolve the step `name` of a stored configuration: given values, else defaults, else none; None is "not given".

    A given input replaces the default list; variables that the step does not declare are passed on; those `provided`
    get their values later. Raises NotFound for an unknown step and UnresolvedStep with every problem found.
    """
    library = load_library_step(config, name)
    step = read_step(library)
    found = _Findings(notes=list(step.notes))
    values = _parameters(library, parameters or {}, found)
    specs = _inputs(step.inputs, inputs or {}, values, found)
    variables = _variables(step.environment_variables, environment_variables or {}, provided, found)
    chosen_image = _image(step.image, found)
    commands = _commands(library, values, found)
    if found.problems:
        raise UnresolvedStep(step.name, found.problems)
    return ResolvedStep(
        step=step,
        image=chosen_image,
        commands=commands,
        parameters=_json_values(values, found),
        inputs=specs,
        environment_variables=variables,
        environment=step.environment,
        time_limit_s=step.time_limit_s,
        no_output_limit_s=step.no_output_limit_s,
        notes=tuple(found.notes),
    )


def _parameters(step: LibraryStep, given: Mapping[str, Any], found: _Findings) -> dict[str, Any]:
    found.problems += find_unknown_names("parameter", given, step.parameters)
    values = {}
    for name, parameter in step.parameters.items():
        value = given.get(name)
        if value is None:
            value = parameter.default
        if value is None and parameter.type == "flag":
            value = False
        if value is not None:
            try:
                values[name] = convert_value(parameter, value)
            except ValueError as error:
                found.add(f'parameter "{name}": {error}', "parameters", name)
        elif not parameter.optional:
            found.add(f'parameter "{name}" needs a value', "parameters", name, "required")
    return values


def convert_value(parameter: Parameter, value: Any) -> Any:
    """Return the value as the parameter's type, a list for a `multiple` one. Raises ValueError with the reason."""
    if isinstance(value, list | tuple) and not parameter.multiple:
        raise ValueError(f"one value is expected, got {_shown(value)}")
    atoms = [_atom(parameter, atom) for atom in listify(value)]
    if sum(len(str(atom).encode()) for atom in atoms) > VALUE_BYTES:
        raise ValueError(f"the value is larger than {VALUE_BYTES:,} bytes; pass a file instead")
    return atoms if parameter.multiple else atoms[0]


def _atom(parameter: Parameter, value: Any) -> Any:
    if value is None or isinstance(value, dict | list | tuple):
        raise ValueError(f"{_shown(value)} is not a value of type {parameter.type}")
    if parameter.type == "flag":
        if str(value).lower() not in FLAG_WORDS:
            raise ValueError(f"{_shown(value)} is neither true nor false")
        return FLAG_WORDS[str(value).lower()]
    if isinstance(value, str) and (reason := find_text_problem(value)):
        raise ValueError(reason)
    return _validated(parameter, to_declared_type(parameter.type, value))


def _validated(parameter: Parameter, value: Any) -> Any:
    try:
        checked = parameter.validate([value] if parameter.multiple else value)
    except ValidationErrors as error:
        raise ValueError(", ".join(str(reason)[:SHOWN_CHARS] for reason in error)) from None
    atom = checked[0] if isinstance(checked, list) else checked
    if isinstance(atom, int) and atom not in JSON_INTEGERS:
        raise ValueError(f"{_shown(value)} does not fit into 64 bits")
    return atom


def _inputs(
    declared: Iterable[StepInput],
    given: Mapping[str, Sequence[str]],
    values: Mapping[str, Any],
    found: _Findings,
) -> dict[str, InputSpec]:
    by_name = {item.name: item for item in declared}
    found.problems += find_unknown_names("input", given, by_name)
    specs = {}
    for name, item in by_name.items():
        uris = given.get(name)
        if uris is None:
            uris = item.default
        urls = [_url(name, uri, values, found) for uri in listify(uris) if uri != ""]
        if not urls and not item.optional:
            found.add(f'input "{name}" needs at least one URL', "inputs", name, "required")
        specs[name] = InputSpec(
            name=name,
            urls=urls,
            filename=item.filename if len(urls) == 1 else None,
            keep_directories=item.keep_directories,
            on_demand=item.on_demand,
        )
    return specs


def _url(name: str, uri: Any, values: Mapping[str, Any], found: _Findings) -> str:
    if not isinstance(uri, str):
        found.add(f'input "{name}": {_shown(uri)} is not a URL', "inputs", name)
        return ""
    for parameter in sorted(set(PLACEHOLDER.findall(uri)) - values.keys()):
        found.add(f'input "{name}": {{parameter:{parameter}}} in its URL has no value', "inputs", name)
    url = PLACEHOLDER.sub(lambda match: _plain_text(values.get(match.group(1), "")), uri).strip()
    if reason := _cannot_fetch(url):
        found.add(f'input "{name}": {reason}', "inputs", name)
    return url


def _plain_text(value: Any) -> str:
    return ",".join(str(atom) for atom in listify(value))


def _cannot_fetch(url: str) -> str | None:
    if len(url) > VALUE_BYTES:
        return f"its URL is longer than {VALUE_BYTES:,} characters"
    if BLANK.search(url) or find_text_problem(url):
        return f"{_shown(url)} contains spaces or control characters; write %20 for a space"
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return f"{_shown(url)} is not a URL ({error})"
    if parts.scheme == datum.SCHEME:
        return (
            None
            if datum.parse_datum_url(url) or datum.parse_alias_url(url)
            else f"{_shown(url)} does not name an output: write datum:// and its UUID or alias"
        )
    if parts.scheme not in SCHEMES:
        return f"{url[:SHOWN_CHARS]} is not supported; use http, https or datum"
    return None if host else f"{_shown(url)} has no host"


def _variables(
    declared: Iterable[StepVariable], given: Mapping[str, Any], provided: Container[str], found: _Findings
) -> dict[str, str]:
    by_name = {variable.name: variable for variable in declared}
    variables: dict[str, str] = {}
    for name in dict.fromkeys([*by_name, *given]):
        variable = by_name.get(name)
        value = given.get(name)
        if value is None and variable is not None:
            value = variable.default
        if is_reserved(name):
            if value is not None:
                found.notes.append(f"environment variable {name} is ignored: the runner sets it itself or forbids it")
        elif value is not None:
            for problem in _variable_problems(name, value):
                found.add(problem, "environment_variables", str(name))
            variables[name] = value
        elif variable is not None and not variable.optional and name not in provided:
            found.add(f"environment variable {name} needs a value", "environment_variables", name, "required")
    return variables


def _variable_problems(name: str, value: Any) -> list[str]:
    problems = list(find_variable_problems("environment variable", name))
    if not isinstance(value, str):
        problems.append(f"environment variable {name!s:.80}: {_shown(value)} is not text")
    elif reason := find_text_problem(value):
        problems.append(f"environment variable {name:.80}: {reason}")
    elif len(value.encode()) > VALUE_BYTES:
        problems.append(f"environment variable {name:.80} is larger than {VALUE_BYTES:,} bytes")
    return problems


def _image(image: str, found: _Findings) -> str:
    image = image.strip()
    if not image or BLANK.search(image) or find_text_problem(image):
        found.add(f"{_shown(image)} is not the name of an image", "image")
    return image


def _commands(step: LibraryStep, values: Mapping[str, Any], found: _Findings) -> tuple[str, ...]:
    """Return the commands with all values interpolated.

    The library ignores flag defaults, so they are passed explicitly. It also keeps `{parameter-value:NAME}` of a
    parameter without a value, which becomes empty here.
    """
    placeholders = sum(command.count("{param") for command in listify(step.command))
    size = sum(_size_on_command_line(step.parameters[name], value) for name, value in values.items())
    if placeholders * size > COMMANDS_BYTES:
        found.add("the commands would be too long with these values; pass a file instead", "parameters")
        return ()
    empty = {f"parameter-value:{name}" for name in step.parameters if values.get(name) is None}
    commands = [
        interpolable_re.sub(lambda match: "" if match[1] in empty else match[0], str(command))
        for command in listify(step.command)
    ]
    return tuple(step.build_command(dict(values), commands))


def _size_on_command_line(parameter: Parameter, value: Any) -> int:
    template = parameter.pass_as or parameter.pass_true_as or parameter.pass_false_as or parameter.default_pass_as
    placeholders = 1 + template.count("{")
    text = sum(len(str(atom)) + 1 for atom in listify(value))
    return len(listify(value)) * (len(template) + placeholders * len(parameter.name)) + placeholders * text


def _json_values(values: Mapping[str, Any], found: _Findings) -> dict[str, Any]:
    plain = {}
    for name, value in values.items():
        atoms = [None if isinstance(atom, float) and not math.isfinite(atom) else atom for atom in listify(value)]
        if None in atoms:
            found.notes.append(
                f'parameter "{name}" is {_shown(value)}, which JSON cannot represent: parameters.json contains null'
            )
        plain[name] = atoms if isinstance(value, list) else atoms[0]
    return plain


def find_unknown_names(kind: str, given: Iterable[Any], declared: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(explain_unknown_name(kind, name, declared), f"{kind}s", str(name), "does_not_exist")
        for name in given
        if name not in declared
    ]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"

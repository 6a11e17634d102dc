"""A step of a stored configuration, limited to what this server supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import valohai_yaml
from valohai_yaml.objs.environment_variable import EnvironmentVariable
from valohai_yaml.objs.input import DownloadIntent, Input
from valohai_yaml.objs.parameter import Parameter
from valohai_yaml.objs.step import Step as LibraryStep
from valohai_yaml.utils import listify

from core.errors import NotFound
from core.names import explain_unknown_name
from web.config.steps.unused import DESCRIBING, GPU_DEVICE, HOST_MOUNT_TYPES, find_unused_keys

MIB = 1024 * 1024  # the unit of resources.memory
MAX_AMOUNT = 2.0**32


@dataclass(frozen=True, kw_only=True)
class StepParameter:
    """A declared parameter. `type` is integer, float, string or flag; `multiple` is None, "repeat" or "separate"."""

    name: str
    type: str
    default: Any
    optional: bool
    multiple: str | None
    choices: tuple[Any, ...] | None
    min: Any
    max: Any
    description: str
    category: str
    widget: str


@dataclass(frozen=True, kw_only=True)
class StepInput:
    """A declared input. `keep_directories` is "none", "full" or "suffix"."""

    name: str
    default: tuple[str, ...]
    optional: bool
    filename: str | None
    keep_directories: str
    on_demand: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class StepVariable:
    """A declared environment variable."""

    name: str
    default: str | None
    optional: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class StepMount:
    """A directory of the runner's machine that a step asks for, as written; the runner checks it."""

    source: str
    destination: str
    readonly: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """A declared step. `gpus` is None if the environment decides; limits are seconds, None for none.

    `memory` (bytes) and `cpus` are requested limits; 0 leaves them to the runner. `notes` are sentences about keys that
    have no effect here.
    """

    name: str
    image: str
    commands: tuple[str, ...]
    parameters: tuple[StepParameter, ...]
    inputs: tuple[StepInput, ...]
    environment: str | None
    environment_variables: tuple[StepVariable, ...]
    gpus: int | None
    memory: int
    cpus: float
    time_limit_s: float | None
    no_output_limit_s: float | None
    mounts: tuple[StepMount, ...]
    autorestart: bool
    description: str
    category: str
    icon: str
    notes: tuple[str, ...]


def map_step_items(config: Any) -> dict[str, dict[str, Any]]:
    """Return the items that declare steps, by name in file order; of equal names the last counts, as in the library."""
    items = config if isinstance(config, list) else []
    return {item["step"]["name"]: {"step": item["step"]} for item in items if "step" in item}


def load_step(config: Any, name: str) -> Step:
    """Load the step `name` of a stored configuration (`Configuration.config`). Raises NotFound."""
    return read_step(load_library_step(config, name))


def load_library_step(config: Any, name: str) -> LibraryStep:
    """Return the step as the library's object, which validates values and builds commands.

    Choices are converted to the parameter's declared type: YAML reads 1e-5 as text. Raises NotFound.
    """
    items = map_step_items(config)
    if name not in items:
        raise NotFound(explain_unknown_name("step", name, items))
    step = valohai_yaml.parse([items[name]], validate=False).steps[name]
    for parameter in step.parameters.values():
        if parameter.choices is not None and parameter.type != "flag":
            parameter.choices = [to_declared_type(parameter.type, choice) for choice in parameter.choices]
    return step


CASTS: dict[str, Callable[[str], Any]] = {"integer": lambda text: int(text, 10), "float": float, "string": str}


def to_declared_type(kind: str, value: Any) -> Any:
    """Return a scalar as the declared type of its parameter, or unchanged if it cannot be converted."""
    if value is None or isinstance(value, dict | list):
        return value
    try:
        return CASTS[kind](str(value))
    except ValueError:
        return value


def read_step(step: LibraryStep) -> Step:
    """Convert the library's object."""
    devices = step.resources.devices.devices
    return Step(
        name=step.name,
        image=step.image.strip(),
        commands=tuple(listify(step.command)),
        parameters=tuple(map(_parameter, step.parameters.values())),
        inputs=tuple(map(_input, step.inputs.values())),
        environment=step.environment,
        environment_variables=tuple(map(_variable, step.environment_variables.values())),
        gpus=None if devices is None else int(devices.get(GPU_DEVICE, 0)),  # an explicit "no devices" is 0
        memory=round(_positive(step.resources.memory.max) * MIB),
        cpus=_positive(step.resources.cpu.max),
        time_limit_s=_limit(step.time_limit),
        no_output_limit_s=_limit(step.no_output_timeout),
        mounts=tuple(
            StepMount(source=mount.source, destination=mount.destination, readonly=mount.readonly)
            for mount in step.mounts
            if mount.type in HOST_MOUNT_TYPES
        ),
        autorestart=bool(step.autorestart),
        description=step.description or "",
        category=step.category or "",
        icon=step.icon or "",
        notes=tuple(_notes(step)),
    )


def _parameter(parameter: Parameter) -> StepParameter:
    return StepParameter(
        name=parameter.name,
        type=parameter.type,
        default=parameter.default,
        optional=parameter.optional,
        multiple=parameter.multiple.value if parameter.multiple else None,
        choices=tuple(parameter.choices) if parameter.choices else None,
        min=parameter.min,
        max=parameter.max,
        description=parameter.description or "",
        category=parameter.category or "",
        widget=parameter.widget.type if parameter.widget else "",
    )


def _input(item: Input) -> StepInput:
    return StepInput(
        name=item.name,
        default=tuple(listify(item.default)),
        optional=item.optional,
        filename=item.filename,
        keep_directories=str(item.keep_directories.value),
        on_demand=item.download is DownloadIntent.ON_DEMAND,
        description=item.description or "",
    )


def _variable(variable: EnvironmentVariable) -> StepVariable:
    return StepVariable(
        name=variable.name,
        default=variable.default,
        optional=variable.optional,
        description=variable.description or "",
    )


def _limit(duration: timedelta | None) -> float | None:
    """Return seconds; a limit of 0 means none."""
    return duration.total_seconds() or None if duration is not None else None


def _positive(value: Any) -> float:
    """Return the amount; 0 if it is missing, text or not positive."""
    return float(value) if type(value) in (int, float) and 0 < value < MAX_AMOUNT else 0.0


def _notes(step: LibraryStep) -> Iterator[str]:
    declared: Any = step._original_data or {}  # noqa: SLF001 - the only place that has the keys as written
    for key, reason in find_unused_keys(declared):
        if reason not in DESCRIBING:
            yield f"{key} has no effect: {reason}"

"""Fields of a form: what valohai.yaml declares, what the form contains, and how both become values of a launch.

Every value in a form is a list of texts under the field's key: a default, a value of an earlier run, a submitted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from valohai_yaml.utils import listify

from web.config.steps.model import StepInput, StepParameter, StepVariable, to_declared_type

Texts = Mapping[str, Sequence[str]]

PARAMETER, INPUT, VARIABLE = "parameter:", "input:", "variable:"  # prefixes of keys
CODE_WIDGETS = frozenset({"sql"})


class Control(StrEnum):
    """How a field is edited.

    TEXTAREA has one value of several lines, LINES a list with one value per line, and EACH one value per line of which
    each is tried. CHECKS are any of the choices.
    """

    TEXT = "text"
    TEXTAREA = "textarea"
    LINES = "lines"
    EACH = "each"
    SELECT = "select"
    CHECKS = "checks"
    FLAG = "flag"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a form. `key` is its name in the form, `name` the one in valohai.yaml.

    `type` is that of a parameter, `choices` are pairs of value and label. `default` and `values` are texts, () for no
    value. `notes` say what is allowed.
    """

    key: str
    name: str
    control: Control
    default: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    type: str = "string"
    choices: tuple[tuple[str, str], ...] = ()
    optional: bool = True
    category: str = ""
    description: str = ""
    notes: str = ""
    problems: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The content of a field of text."""
        return "\n".join(self.values)

    @property
    def changed(self) -> bool:
        return self.values != self.default

    @property
    def before(self) -> str:
        """The default as one line."""
        return ", ".join(self.default)

    def filled(self, texts: Texts) -> Field:
        """Return the field with the texts under its key, if there are any."""
        return replace(self, values=self._read(texts[self.key])) if self.key in texts else self

    def _read(self, texts: Sequence[str]) -> tuple[str, ...]:
        plain = [text.replace("\r\n", "\n") for text in texts]
        if self.control in (Control.LINES, Control.EACH):
            return tuple(line for text in plain for line in text.split("\n") if line.strip())
        if self.control is Control.CHECKS:
            return tuple(dict.fromkeys(filter(None, plain)))
        text = plain[-1] if plain else ""
        empty = text == "" and (self.optional or self.type != "string" or not any(self.default))
        return () if empty else (text,)

    def value(self) -> Any:
        """Return the value, typed as far as it can be; None for no value."""
        typed = [_typed(self.type, text) for text in self.values]
        if self.control in (Control.LINES, Control.CHECKS) or len(typed) > 1:
            return typed
        return typed[0] if typed else None


def make_parameter_field(parameter: StepParameter) -> Field:
    """Return the field of a parameter."""
    default = False if parameter.default is None and parameter.type == "flag" else parameter.default
    texts = tuple(format_declared_value(parameter.type, item) for item in listify(default))
    return Field(
        key=f"{PARAMETER}{parameter.name}",
        name=parameter.name,
        control=_control(parameter, texts),
        default=texts,
        values=texts,
        type=parameter.type,
        choices=_choices(parameter),
        optional=parameter.optional,
        category=parameter.category,
        description=parameter.description,
        notes=_notes(parameter),
    )


def make_input_field(item: StepInput) -> Field:
    return Field(
        key=f"{INPUT}{item.name}",
        name=item.name,
        control=Control.LINES,
        default=item.default,
        values=item.default,
        optional=item.optional,
        description=item.description,
    )


def make_variable_field(variable: StepVariable) -> Field:
    default = () if variable.default is None else (variable.default,)
    return Field(
        key=f"{VARIABLE}{variable.name}",
        name=variable.name,
        control=Control.TEXTAREA if "\n" in str(variable.default) else Control.TEXT,
        default=default,
        values=default,
        optional=variable.optional,
        description=variable.description,
    )


def group_by_category(fields: Iterable[Field]) -> list[tuple[str, list[Field]]]:
    """Group fields by category in the order of their first ones; fields without a category come first."""
    groups: dict[str, list[Field]] = {"": []}
    for field in fields:
        groups.setdefault(field.category, []).append(field)
    return [(category, found) for category, found in groups.items() if found]


def format_declared_value(kind: str, value: Any) -> str:
    """Return a value of valohai.yaml as the text of a parameter of this type."""
    return format_value(value if kind == "flag" else to_declared_type(kind, value))


def format_value(value: Any) -> str:
    """Return a value as the text that a field contains and a command line takes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _control(parameter: StepParameter, texts: Sequence[str]) -> Control:
    if parameter.type == "flag":
        return Control.FLAG
    if parameter.multiple:
        return Control.CHECKS if parameter.choices else Control.LINES
    if parameter.choices:
        return Control.SELECT
    several_lines = parameter.widget in CODE_WIDGETS or any("\n" in text for text in texts)
    return Control.TEXTAREA if several_lines else Control.TEXT


def _choices(parameter: StepParameter) -> tuple[tuple[str, str], ...]:
    texts = [format_value(choice) for choice in parameter.choices or ()]
    empty = [""] if texts and not parameter.multiple and (parameter.optional or parameter.default is None) else []
    return tuple((text, text or ("none" if parameter.optional else "choose")) for text in (*empty, *texts))


def _notes(parameter: StepParameter) -> str:
    if parameter.type == "flag":
        return ""
    words = [] if parameter.type == "string" else [parameter.type]
    low, high = parameter.min, parameter.max
    if low is not None and high is not None:
        words.append(f"{low} to {high}")
    elif low is not None:
        words.append(f"at least {low}")
    elif high is not None:
        words.append(f"at most {high}")
    if parameter.multiple and not parameter.choices:
        words.append("one per line")
    if parameter.optional:
        words.append("optional")
    return ", ".join(words)


def _typed(kind: str, text: str) -> Any:
    if kind == "flag":
        return {"true": True, "false": False}.get(text, text)
    value = to_declared_type(kind, text)
    return text if isinstance(value, float) and not math.isfinite(value) else value

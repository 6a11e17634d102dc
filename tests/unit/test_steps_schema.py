"""Our validator finds the same errors as that of valohai-yaml, which is much slower; and its messages."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from valohai_yaml.validation import validate

from web.config.steps.json_schema import HINTED, describe_schema_errors, list_schema_errors
from web.config.steps.lines import LineNumbers
from web.config.steps.parse_in_child import WARM_UP

GOOD = yaml.safe_load(WARM_UP)
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({}) | st.just([{}])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in ((*path, key), *places(item, (*path, key)))]


def changed(path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(GOOD)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@given(st.sampled_from(places(GOOD)), VALUES)
def test_any_change_of_a_good_file_is_reported_as_the_library_does(path: tuple[Any, ...], value: Any) -> None:
    document = changed(path, value)
    errors = list_schema_errors(document)
    assert [error.message for error in errors] == [error.message for error in validate(document, raise_exc=False)]
    assert not errors or describe_schema_errors(errors, LineNumbers(yaml.safe_dump(document)))


@pytest.mark.parametrize("document", [GOOD, [], [{}], {}, "text", [1], [{"step": None}], [{"step": {}}]])
def test_documents_of_other_shapes_too(document: Any) -> None:
    errors = list_schema_errors(document)
    assert [error.message for error in errors] == [error.message for error in validate(document, raise_exc=False)]
    assert not errors or describe_schema_errors(errors, LineNumbers(yaml.safe_dump(document)))


TYPOS = """\
- step:
    name: train
    image: python:3.12
    comand: python train.py
    parameters:
      - {name: rate, typ: float}
      - name: kind
        type: integr
- task:
    name: search
    step: train
    parameters: 3
"""


def test_messages_have_the_line_and_the_key_that_was_meant_in_the_order_of_the_file() -> None:
    assert describe_schema_errors(list_schema_errors(yaml.safe_load(TYPOS)), LineNumbers(TYPOS))[:4] == [
        "line 4: unknown key 'comand', did you mean 'command'?",
        "line 6: unknown key 'typ', did you mean 'type'?",
        "line 8: parameters 2: type: 'integr' is unknown, did you mean 'integer'?",
        "line 12: task: parameters: 3 is not of type 'array'",
    ]


def test_lines_are_found_through_aliases_and_stop_at_merged_keys() -> None:
    lines = LineNumbers("- &a\n  one: 1\n- two: {<<: *a}\n- *a\n")
    assert (lines.of([0, "one"]), lines.of([1, "two", "one"]), lines.of([2, "one"]), lines.of([9])) == (2, 3, 2, None)


def test_thousands_of_unknown_keys_cost_no_more_hints_than_a_few_hundred() -> None:
    text = "- step:\n    name: a\n    image: b\n    command: c\n" + "".join(f"    comand{n}: x\n" for n in range(5000))
    said = describe_schema_errors(list_schema_errors(yaml.safe_load(text)), LineNumbers(text))
    assert len(said) == 5000
    assert sum("did you mean" in message for message in said) == HINTED

"""Our validator and messages against those of valohai-yaml, which are slower by far and otherwise the same."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from valohai_yaml.lint import lint
from valohai_yaml.validation import validate

from web.config.steps.sandbox import WARM_UP
from web.config.steps.schema import schema_errors, schema_messages

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
    errors = schema_errors(document)
    assert [error.message for error in errors] == [error.message for error in validate(document, raise_exc=False)]
    if errors:
        assert schema_messages(errors) == [
            str(message["message"]) for message in lint(document, ansi_colors=False).messages
        ]


@pytest.mark.parametrize("document", [GOOD, [], [{}], {}, "text", [1], [{"step": None}], [{"step": {}}]])
def test_documents_of_other_shapes_too(document: Any) -> None:
    errors = schema_errors(document)
    if errors:
        assert schema_messages(errors) == [
            str(message["message"]) for message in lint(document, ansi_colors=False).messages
        ]
    else:
        assert validate(document, raise_exc=False) == []

from __future__ import annotations

from typing import Any

import pytest

from core.model import PushEvent
from core.steps.parse import parse
from web.services import rules

YAML = b"""
- step: {name: a, image: i, command: c}
- step: {name: b, image: i, command: c}
- step: {name: needy, image: i, command: c, parameters: [{name: rate, type: float}], inputs: [{name: data}]}
"""


@pytest.fixture(scope="module")
def config() -> Any:
    return parse(YAML).config


def event(*options: str, ref: str = "refs/heads/main") -> PushEvent:
    return PushEvent(ref=ref, before="0" * 40, after="a" * 40, options=options)


def names(choice: rules.Choice) -> list[str]:
    return [resolved.step.name for resolved in choice.run]


def test_a_branch_runs_every_step_that_has_its_values_and_says_what_the_others_lack(config: Any) -> None:
    choice = rules.choose(config, event(), "work")
    assert names(choice) == ["a", "b"]
    ((step, reason),) = choice.skipped
    assert step == "needy"
    assert "rate" in reason
    assert "data" in reason


def test_options_come_before_trailers_and_each_step_runs_once(config: Any) -> None:
    choice = rules.choose(config, event("pushmill.step=b", "pushmill.step=b", "x"), "work\n\nPushmill-Step: a")
    assert names(choice) == ["b"]


def test_an_unknown_step_is_skipped_with_the_names_that_there_are(config: Any) -> None:
    choice = rules.choose(config, event("pushmill.step=nope", "pushmill.step=a"), "")
    assert names(choice) == ["a"]
    assert choice.skipped[0][0] == "nope"
    assert '"a", "b", "needy"' in choice.skipped[0][1]


def test_a_tag_runs_what_options_name_and_ignores_trailers(config: Any) -> None:
    assert names(rules.choose(config, event(ref="refs/tags/v1"), "x\n\nPushmill-Step: a")) == []
    assert names(rules.choose(config, event("pushmill.step=a", ref="refs/tags/v1"), "")) == ["a"]


@pytest.mark.parametrize(
    ("message", "chosen"),
    [
        ("work\n\nPushmill-Step: b", ["b"]),
        ("work\n\nbody\n\npushmill-step:  b \nSigned-off-by: Ada\n\n", ["b"]),
        ("work\n\nPushmill-Step: b\nPushmill-Step: a", ["b", "a"]),
        ("Pushmill-Step: b", ["a", "b"]),
        ("work\n\nPushmill-Step: b\n\nmore", ["a", "b"]),
        ("work\n\nPushmill-Step:", ["a", "b"]),
        ("", ["a", "b"]),
    ],
)
def test_trailers_are_read_in_the_last_paragraph_only(config: Any, message: str, chosen: list[str]) -> None:
    assert names(rules.choose(config, event(), message)) == chosen


@pytest.mark.parametrize("message", ["[skip ci]", "x [CI skip] y", "[No CI]", "a\n\n[skip-ci]", "[pushmill skip]"])
def test_skip_marks_are_found_in_any_case(message: str) -> None:
    assert "commit message" in (rules.skip_reason(event(), message) or "")


@pytest.mark.parametrize("message", ["skip ci", "[skip]", "[skip cix]", "[ski pci]", ""])
def test_other_brackets_skip_nothing(message: str) -> None:
    assert rules.skip_reason(event("ci.skipped"), message) is None


def test_the_skip_option_is_the_reason() -> None:
    assert rules.skip_reason(event("ci.skip"), "[skip ci]") == "-o ci.skip"


def test_long_hostile_messages_are_read_in_no_time(config: Any) -> None:
    for hostile in (
        "\n" * 60_000,
        "[ " * 30_000,
        "pushmill-step:" + " " * 60_000 + "x\n\n",
        "x\n\n" + "\n \n" * 20_000,
    ):
        rules.skip_reason(event(), hostile)
        rules.choose(config, event(), hostile)

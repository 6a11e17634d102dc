from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import EventKind, PushEvent
from web.config.steps.parse import parse
from web.services.triggers import rules
from web.services.triggers.rules import ChangedPaths, Facts, Rule

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
    return [chosen.target.label for chosen in choice.run]


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
    assert "a, b, needy" in choice.skipped[0][1]


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
    assert "commit message" in (rules.find_skip_reason(event(), message) or "")


@pytest.mark.parametrize("message", ["skip ci", "[skip]", "[skip cix]", "[ski pci]", ""])
def test_other_brackets_skip_nothing(message: str) -> None:
    assert rules.find_skip_reason(event("ci.skipped"), message) is None


def test_the_skip_option_is_the_reason() -> None:
    assert rules.find_skip_reason(event("ci.skip"), "[skip ci]") == "-o ci.skip"


def test_long_hostile_messages_are_read_in_no_time(config: Any) -> None:
    for hostile in (
        "\n" * 60_000,
        "[ " * 30_000,
        "pushmill-step:" + " " * 60_000 + "x\n\n",
        "x\n\n" + "\n \n" * 20_000,
    ):
        rules.find_skip_reason(event(), hostile)
        rules.choose(config, event(), hostile)


@pytest.mark.parametrize("kind", [EventKind.PUSH, EventKind.PULL_REQUEST])
@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/tags/v1", "refs/pull/3/head"])
def test_skip_marks_count_for_whatever_a_person_did_and_not_for_a_schedule(kind: EventKind, ref: str) -> None:
    made = PushEvent(kind=kind, ref=ref, before="0" * 40, after="a" * 40)
    assert rules.find_skip_reason(made, "x [skip ci]") == "[skip ci] in the commit message"
    planned = PushEvent(kind=EventKind.SCHEDULE, ref=ref, before="a" * 40, after="a" * 40, options=("ci.skip",))
    assert rules.find_skip_reason(planned, "x [skip ci]") is None


MAYBE = st.none() | st.integers(-9, 9)
EPOCHS = parse(
    b"- step: {name: a, image: i, command: c, parameters: [{name: epochs, type: integer, default: 100}]}"
).config


@given(option=MAYBE, trailer=MAYBE, by_rule=MAYBE)
def test_a_value_is_the_option_s_else_the_trailer_s_else_the_rule_s_else_the_default(
    option: int | None, trailer: int | None, by_rule: int | None
) -> None:
    options = () if option is None else (f"pushmill.parameter=epochs={option}",)
    message = "work" if trailer is None else f"work\n\nPushmill-Parameter: epochs = {trailer}"
    rule = Rule(name="r", parameters={} if by_rule is None else {"epochs": by_rule})
    (chosen,) = rules.choose(EPOCHS, event(*options), message, rules=[rule]).run
    expected = next(value for value in (option, trailer, by_rule, 100) if value is not None)
    assert chosen.plan.parameters == {"epochs": expected}


@given(option=st.sampled_from(["", "one", "gone"]), trailer=st.sampled_from(["", "two", "gone"]), by_rule=st.booleans())
def test_an_environment_is_the_option_s_else_the_trailer_s_else_the_rule_s_if_it_is_there(
    option: str, trailer: str, by_rule: bool
) -> None:
    options = (f"pushmill.environment={option}",) if option else ()
    message = f"work\n\nPUSHMILL-environment: {trailer}" if trailer else "work"
    rule = Rule(name="r", environment="three" if by_rule else "")
    choice = rules.choose(
        EPOCHS, event(*options), message, rules=[rule], facts=Facts(environments=lambda: {"one", "two", "three"})
    )
    wished = option or trailer
    assert choice.run[0].environment == (wished if wished != "gone" else "") or ("three" if by_rule else "")
    assert bool(choice.skipped) == (wished == "gone")


def test_a_value_that_does_not_fit_skips_the_step_with_the_reason() -> None:
    choice = rules.choose(EPOCHS, event("pushmill.parameter=epochs=many"), "")
    assert choice.run == ()
    assert choice.skipped[0][0] == "a"
    assert "epochs" in choice.skipped[0][1]


def test_a_tag_reads_no_trailers_and_a_schedule_neither() -> None:
    rule = Rule(name="r", events=("tag", "schedule"), schedule="0 3 * * *", parameters={"epochs": 1})
    message = "work\n\nPushmill-Parameter: epochs=5\nPushmill-Step: none"
    for made in (
        event(ref="refs/tags/v1"),
        PushEvent(kind=EventKind.SCHEDULE, ref="refs/heads/x", before="a", after="a"),
    ):
        (chosen,) = rules.choose(EPOCHS, made, message, rules=[rule], facts=Facts(rule="r")).run
        assert chosen.plan.parameters == {"epochs": 1}


def test_changed_paths_are_asked_for_only_by_a_rule_that_needs_them_and_count_when_they_cannot_be_told() -> None:
    asked: list[int] = []

    def changes() -> ChangedPaths:
        asked.append(1)
        return ChangedPaths(why="there are too many")

    listed = [Rule(name="a", branches=("x",), paths=("src/**",)), Rule(name="b")]
    rules.choose(EPOCHS, event(), "", rules=listed, facts=Facts(changes=changes))
    assert asked == []
    listed = [Rule(name="a", paths=("src/**",))]
    choice = rules.choose(EPOCHS, event(), "", rules=listed, facts=Facts(changes=changes))
    assert choice.verdicts[0].why == "branch main; all paths count as changed: there are too many"
    assert names(choice) == ["a"]

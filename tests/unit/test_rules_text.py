"""The text of rules: what is valid, and what error messages name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from web.services.triggers.rules import DEFAULT, Rule, parse
from web.services.triggers.rules.cron import compute_latest_time, compute_next_time

WHOLE = """
[[rule]]
name = "main"
events = ["push", "tag", "pull_request", "schedule"]
branches = ["main", "release/*", "!wip/*"]
tags = ["v*"]
paths = ["src/**", "valohai.yaml", "!**/*.md"]
steps = ["train*"]
pipelines = []
tasks = []
environment = "gpu"
priority = 10
parameters = { epochs = 3, rate = 0.1, layers = [1, 2], fast = true, name = "x" }
cancel_older = true
schedule = "0 3 * * *"
branch = "main"
timezone = "Europe/Helsinki"
"""


def test_every_key_is_read() -> None:
    assert parse(WHOLE) == (
        Rule(
            name="main",
            events=("push", "tag", "pull_request", "schedule"),
            branches=("main", "release/*", "!wip/*"),
            tags=("v*",),
            paths=("src/**", "valohai.yaml", "!**/*.md"),
            steps=("train*",),
            environment="gpu",
            priority=10,
            parameters={"epochs": 3, "rate": 0.1, "layers": [1, 2], "fast": True, "name": "x"},
            cancel_older=True,
            schedule="0 3 * * *",
            branch="main",
            timezone="Europe/Helsinki",
        ),
    )


def rule(*lines: str) -> str:
    return "\n".join(["[[rule]]", 'name = "r"', *lines])


@pytest.mark.parametrize("text", ["", "\n", "# words\r\n"])
def test_text_without_a_rule_is_the_default(text: str) -> None:
    assert parse(text) == DEFAULT


def test_what_is_left_out_has_a_default() -> None:
    assert parse(rule()) == (Rule(name="r", events=("push", "pull_request"), steps=("*",)),)
    assert parse(rule('pipelines = ["a"]'))[0].steps == ()
    assert parse(rule('schedule = "0 3 * * *"'))[0].events == ("schedule",)
    assert parse(rule('schedule = "0 3 * * *"', 'events = ["push"]'))[0].events == ("push", "schedule")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule = 1", "each rule begins with [[rule]]"),
        ("[rule]\nname = 'a'", "each rule begins with [[rule]]"),
        ("[[rules]]", "'rules' is not a valid top-level key"),
        ("[[rule]]", "rule 1: name must have 1 to 64 characters, got None"),
        ("[[rule]]\nname = 'a'\n[[rule]]\nname = 'a'", "rule a: two rules have this name"),
        (rule("branchs = ['x']"), 'rule r: there is no key "branchs": did you mean "branches"?'),
        (rule("events = ['pushh']"), "rule r: events must be among push, tag, pull_request, schedule, got 'pushh'"),
        (rule("events = 'push'"), "rule r: events must be a list of texts such as [\"push\"], got 'push'"),
        (rule("branches = []"), "rule r: branches is empty; remove the key to match any"),
        (rule("branches = ['!']"), "rule r: branches has a pattern that matches nothing: '!'"),
        (rule("branches = ['main', 3]"), "rule r: branches must be a list of texts"),
        (rule("tags = ['v*']"), "rule r: tags needs the event tag"),
        (rule("priority = 1.5"), "rule r: priority must be a number up to 1,000, got 1.5"),
        (rule("priority = true"), "rule r: priority must be a number up to 1,000, got True"),
        (rule("priority = 10000000000000000000000"), "rule r: priority must be a number up to 1,000"),
        (rule("cancel_older = 1"), "rule r: cancel_older must be true or false, got 1"),
        (rule("environment = 'a b'"), "rule r: environment must be the name of one, got 'a b'"),
        (rule("environment = 3"), "rule r: environment must be text in quotes, got 3"),
        (rule("parameters = 3"), "rule r: parameters must be a table such as { epochs = 3 }, got 3"),
        (rule("parameters = { a = 2020-01-01 }"), "rule r: parameter a is text, a number, true, false or a list"),
        (rule("parameters = { a = [[1]] }"), "rule r: parameter a is text, a number"),
        (rule("parameters = { a = nan }"), "rule r: parameter a is text, a number"),
        (rule("branch = 'main'"), 'rule r: branch needs a schedule; for pushes, use branches'),
        (rule("timezone = 'UTC'"), "rule r: timezone needs a schedule"),
        (rule("events = ['schedule']"), 'rule r: events contains "schedule", but the rule has no schedule'),
        (rule("schedule = '@daily'"), "rule r: schedule '@daily': five fields of cron"),
        (rule("schedule = '* * * * * *'"), "five fields of cron"),
        (rule("schedule = 'R 3 * * *'"), "five fields of cron"),
        (rule("schedule = '61 * * * *'"), "it is not a valid cron expression"),
        (rule("schedule = '0 0 31 2 *'"), "it is not a valid cron expression"),
        (rule("schedule = '0 3 * * *'", "timezone = 'Mars/Base'"), "unknown time zone 'Mars/Base'"),
        (rule("schedule = '0 3 * * *'", "timezone = '../../etc/passwd'"), "unknown time zone"),
        ("x = ", "the rules are not valid TOML: "),
        ("x = " + "[" * 5000, "the rules are not valid TOML"),
        ("x = " + "9" * 5000, "the rules are not valid TOML"),
        ("#" * 70_000, "the rules have more than 65,536 bytes"),
        ("[[rule]]\n" * 101, "there are 101 rules; at most 100 are allowed"),
        (rule("paths = [" + "'a', " * 201 + "]"), "the rules have 202 patterns together; at most 200 are allowed"),
    ],
)  # fmt: skip
def test_an_error_names_the_rule_the_key_the_value_and_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse(text)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 500


@given(st.text(max_size=200) | st.lists(st.sampled_from(WHOLE.split("\n"))).map("\n".join))
def test_whatever_the_text_is_it_is_rules_or_one_error(text: str) -> None:
    try:
        assert parse(text)
    except InvalidInput:
        pass


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "last", "coming"),
    [
        ("0 3 * * *", "UTC", "2026-11-25T03:00:00", "2026-11-25T03:00", "2026-11-26T03:00"),
        ("0 3 * * *", "UTC", "2026-11-25T02:59:59.9", "2026-11-24T03:00", "2026-11-25T03:00"),
        ("0 3 * * *", "Europe/Helsinki", "2026-11-25T12:00", "2026-11-25T01:00", "2026-11-26T01:00"),
        ("0 3 * * mon-fri", "UTC", "2026-11-22T12:00", "2026-11-20T03:00", "2026-11-23T03:00"),
        # the clock in Berlin shows 02:30 twice on this day: one schedule, one run
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T01:30", "2026-10-25T02:30"),
        # and never on this one
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T01:00", "2026-03-30T00:30"),
    ],
)
def test_a_schedule_has_a_last_and_a_next_time(cron: str, zone: str, now: str, last: str, coming: str) -> None:
    assert (compute_latest_time(cron, zone, at(now)), compute_next_time(cron, zone, at(now))) == (at(last), at(coming))

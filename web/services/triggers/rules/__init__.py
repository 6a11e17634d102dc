"""Decide which events run what. Everything here is pure: it turns text and facts into a choice with reasons."""

from web.services.triggers.rules.choice import Changes, Choice, Chosen, Facts, RuleVerdict, choose, kind_of
from web.services.triggers.rules.directives import skip_reason
from web.services.triggers.rules.parse import DEFAULT, EVENTS, PULL_REQUEST, PUSH, SCHEDULE, TAG, Rule, parse

__all__ = [
    "DEFAULT",
    "EVENTS",
    "PULL_REQUEST",
    "PUSH",
    "SCHEDULE",
    "TAG",
    "Changes",
    "Choice",
    "Chosen",
    "Facts",
    "Rule",
    "RuleVerdict",
    "choose",
    "kind_of",
    "parse",
    "skip_reason",
]

"""Decide which events run what. Everything here is pure: it turns text and facts into a choice with reasons."""

from web.services.triggers.rules.choice import ChangedPaths, Choice, Chosen, Facts, RuleVerdict, choose, get_event_kind
from web.services.triggers.rules.directives import find_skip_reason
from web.services.triggers.rules.parse import DEFAULT, EVENTS, NO_RULE, PULL_REQUEST, PUSH, SCHEDULE, TAG, Rule, parse

__all__ = [
    "DEFAULT",
    "EVENTS",
    "NO_RULE",
    "PULL_REQUEST",
    "PUSH",
    "SCHEDULE",
    "TAG",
    "ChangedPaths",
    "Choice",
    "Chosen",
    "Facts",
    "Rule",
    "RuleVerdict",
    "choose",
    "find_skip_reason",
    "get_event_kind",
    "parse",
]

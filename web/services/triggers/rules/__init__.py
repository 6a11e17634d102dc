"""Which events run what. All of it is pure: text and facts in, a choice with its reasons out."""

from web.services.triggers.rules.choice import Choice, Chosen, choose
from web.services.triggers.rules.directives import skip_reason
from web.services.triggers.rules.matching import Changes, Facts, Verdict, kind_of
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
    "Verdict",
    "choose",
    "kind_of",
    "parse",
    "skip_reason",
]

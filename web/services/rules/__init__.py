"""Which events run what. All of it is pure: text and facts in, a choice with its reasons out."""

from web.services.rules.choice import Choice, Chosen, choose
from web.services.rules.matching import Changes, Facts, Verdict, kind_of
from web.services.rules.text import DEFAULT, EVENTS, PULL_REQUEST, PUSH, SCHEDULE, TAG, Rule, parse
from web.services.rules.wishes import skip_reason

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

"""Filters of executions: their meaning, and their error messages."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from web.config.filters.parse import MAX_CHARS, MAX_TERMS, Joined, Node, Not
from web.config.filters.terms import Names, Term, read

NAMES = Names(parameters=("lr", "batch size", "both"), metrics=("accuracy", "val/loss", "both"))
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def shown(node: Node) -> str:
    if isinstance(node, Not):
        return f"not({shown(node.part)})"
    if isinstance(node, Joined):
        return f"({(' or ' if node.either else ' and ').join(map(shown, node.parts))})"
    assert isinstance(node, Term)
    return f"{node.kind.value}:{node.name}{node.operator}{node.value}"


def meaning(text: str) -> list[str]:
    return [shown(clause.node) for clause in read(text, NAMES, NOW).clauses]


def problem(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(text, NAMES, NOW)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("accuracy > 0.9 and step = train", ["metric:accuracy>0.9", "field:step=train"]),
        ("learning rate", ["word:~learning", "word:~rate"]),
        ("lr=1e-3 val/loss<=.5", ["parameter:lr=0.001", "metric:val/loss<=0.5"]),
        ('"batch size" != "a \\" b"', ['parameter:batch size!=a " b']),
        ("both > 1 p.both > 1 m.unheard > 1", ["metric:both>1.0", "parameter:both>1.0", "metric:unheard>1.0"]),
        ("step = a or step = b and who = c", ["(field:step=a or (field:step=b and field:who=c))"]),
        ("(step = a or step = b) who = c", ["(field:step=a or field:step=b)", "field:who=c"]),
        ("not (step = a NOT who = b)", ["not((field:step=a and not(field:who=b)))"]),
        ("state = Failed state != running", ["field:state=error", "field:state!=started"]),
        ('task = "!7" pipeline = 3 task = lr-search', ["field:task=7.0", "field:pipeline=3.0", "field:task=lr-search"]),
        ("branch ~ EXP/* message ~ fix", ["field:branch~exp/*", "field:message~*fix*"]),
        ("duration > 1.5h number >= #12", ["field:duration>5400.0", "field:number>=12.0"]),
        ("created > 7d", ["field:created>2026-11-23T12:00:00.000000Z"]),
        ("created <= 2026-11-02", ["field:created<2026-11-03T00:00:00.000000Z"]),
        ("created < 2026-11-02T09:30", ["field:created<2026-11-02T09:30:00.000000Z"]),
        (
            "created = 2026-11-02",
            ["(field:created>=2026-11-02T00:00:00.000000Z and field:created<2026-11-03T00:00:00.000000Z)"],
        ),
        ('step = "and" "or"', ["field:step=and", "word:~or"]),
    ],
)  # fmt: skip
def test_a_filter_is_read(text: str, expected: list[str]) -> None:
    assert meaning(text) == expected


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("acuracy > 1", 1, 'did you mean "accuracy"?'),
        ("step = a and stat = failed", 14, 'did you mean "state"?'),
        ("state = faild", 9, 'did you mean "failed"?'),
        ("accuracy => 1", 10, '"=>" is not an operator; there are = != < <= > >= ~'),
        ("accuracy > high", 12, '"high" is not a number, and > compares numbers: use = or ~'),
        ("step > train", 1, "step cannot be compared with >: use =, != or ~"),
        ("accuracy >", 11, 'a value after ">" is missing, the filter ends'),
        ("step = and", 8, 'found "and"; quote it if it is meant as text'),
        ("(step = a", 1, '"(" is not closed: add ")"'),
        ("step = a)", 9, '")" closes nothing'),
        ('step = "a', 8, '" opens a text that is not closed'),
        ("created > yesterday", 11, "write 2026-11-30, 2026-11-30T09:00 or, for 7 days ago, 7d"),
        ("created > 9999-12-31", 11, "is not a time"),
        ("duration > long", 12, "write 90s, 10m, 2h or 1d"),
        ("number = first", 10, '"first" is not a number'),
        ("step ~ " + 9 * "*a", 8, "at most 200 characters and 8 of * ? ["),
        ("not " * 12 + "a", 45, "nested at most 10 levels deep"),
        ("a " * (MAX_TERMS + 1), 2 * MAX_TERMS + 1, f"at most {MAX_TERMS} terms"),
    ],
)
def test_a_problem_names_the_place_the_value_and_the_way_out(text: str, at: int, said: str) -> None:
    found = problem(text)
    assert found.startswith(f"character {at} of the filter: "), found
    assert said in found


def test_a_filter_is_bounded() -> None:
    assert "it may have at most 1,000" in problem("a" * (MAX_CHARS + 1))


def test_a_clause_is_removed_as_it_was_written() -> None:
    found = read('"batch size"=3 and (step = a or  step = b) word', NAMES)
    assert [found.without(i) for i in range(3)] == [
        "(step = a or  step = b) and word",
        '"batch size"=3 and word',
        '"batch size"=3 and (step = a or  step = b)',
    ]


PIECES = [*"()=!<>~\"'\\ .*7d", "and ", "or ", "not ", "step", "created", "lr "]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_a_filter_or_has_a_problem(text: str) -> None:
    with suppress(InvalidInput):
        found = read(text, NAMES, NOW)
        for index in range(len(found.clauses)):
            assert len(read(found.without(index), NAMES, NOW).clauses) >= len(found.clauses) - 1

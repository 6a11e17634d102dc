"""Patterns: what they match, compared with an oracle that tries every way, and in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.services.triggers.rules import globs

PATTERNS = st.text("ab/*?", max_size=8)
NAMES = st.text("ab/", min_size=1, max_size=9)


def naive(pattern: str, name: str, parts: bool) -> bool:
    """The rules as they are told, letter by letter, in exponential time."""
    if parts and pattern.endswith("/"):
        pattern += "**"

    def match(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(name)
        if parts and pattern.startswith("**", i):
            end = i
            while end < len(pattern) and pattern[end] == "*":
                end += 1
            if pattern.startswith("/", end) and (i == 0 or pattern[i - 1] == "/"):
                slashes = [at for at in range(j, len(name)) if name[at] == "/"]
                return match(end + 1, j) or any(match(end + 1, at + 1) for at in slashes)
            return any(match(end, at) for at in range(j, len(name) + 1))
        if pattern[i] == "*":
            wall = name.find("/", j) if parts else -1
            return any(match(i + 1, at) for at in range(j, (len(name) if wall < 0 else wall) + 1))
        fits = j < len(name) and (pattern[i] == name[j] or (pattern[i] == "?" and (name[j] != "/" or not parts)))
        return fits and match(i + 1, j + 1)

    return pattern == name or match(0, 0)


@given(PATTERNS, NAMES, st.booleans())
def test_a_pattern_matches_what_trying_every_way_finds(pattern: str, name: str, parts: bool) -> None:
    assert globs.matches(pattern, name, parts=parts) == naive(pattern, name, parts)


@given(st.lists(st.tuples(st.booleans(), PATTERNS.filter(bool)), min_size=1, max_size=5), NAMES)
def test_the_last_pattern_that_matches_decides(listed: list[tuple[bool, str]], name: str) -> None:
    taken = not listed[0][0]  # a list that begins with a negation begins with everything
    for wanted, pattern in listed:
        if naive(pattern, name, True):
            taken = wanted
    patterns = [pattern if wanted else f"!{pattern}" for wanted, pattern in listed]
    assert globs.includes(patterns, name) == taken


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("main", ["main"], ["mainx", "x/main", "Main"]),
        ("release/*", ["release/1", "release/"], ["release", "release/1/2"]),
        ("src/**", ["src/a", "src/a/b.py"], ["src", "xsrc/a"]),
        ("src/", ["src/a", "src/a/b.py"], ["src"]),
        ("**/*.md", ["a.md", "docs/a.md", "a/b/c.md"], ["a.mdx", "md"]),
        ("**.md", ["a.md", "docs/a.md"], ["a.mdx"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("v?", ["v1"], ["v", "v12", "v/"]),
        ("a[1].(b)", ["a[1].(b)"], ["a1xb"]),
    ],
)
def test_what_the_documentation_says_of_patterns(pattern: str, matched: list[str], others: list[str]) -> None:
    assert [name for name in [*matched, *others] if globs.matches(pattern, name)] == matched


def test_in_the_name_of_a_step_a_slash_is_a_letter_and_a_name_is_itself() -> None:
    assert globs.matches("*", "data/train", parts=False)
    assert globs.matches("eval [*] (b)", "eval [*] (b)", parts=False)
    assert globs.includes(["*", "!slow *"], "slow a/b", parts=False) is False


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("*a" * 100 + "b", "a" * 4000), ("**/a" * 60 + "b", "a/" * 2000), ("**a*b" * 60 + "c", "ab/" * 1300)],
)
def test_no_pattern_takes_long(pattern: str, name: str) -> None:
    begun = time.process_time()
    assert not globs.matches(pattern, name)
    assert time.process_time() - begun < 0.5

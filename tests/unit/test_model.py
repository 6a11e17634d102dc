"""Names of git objects and refs."""

from __future__ import annotations

import pytest

from core.model import shorten_ref
from core.names import is_sha


@pytest.mark.parametrize(
    ("ref", "short"),
    [
        ("refs/heads/main", "main"),
        ("refs/heads/tags/x", "tags/x"),
        ("refs/tags/v1", "v1"),
        ("refs/pull/7/head", "pull/7/head"),
        ("refs/heads/refs/heads/x", "refs/heads/x"),
        ("HEAD", "HEAD"),
    ],
)
def test_a_refs_short_name_is_what_git_shows(ref: str, short: str) -> None:
    assert shorten_ref(ref) == short


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("a" * 40, True),
        ("a" * 64, True),
        ("a" * 12, False),
        ("A" * 40, False),
        ("a" * 41, False),
        ("a" * 40 + "\n", False),
    ],
)
def test_only_a_whole_commit_name_is_one(text: str, full: bool) -> None:
    assert is_sha(text) == full

"""Validation of names from outside. Valid names are safe in a path, a URL and a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from core.errors import InvalidInput

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
RUNNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
ENVIRONMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
NAMES_OF_GIT = (b".git", b"git~1")  # reserved, in lower case; git~1 is the short name of .git on some file systems
MAX_KNOWN = 200  # most names that are compared with an unknown one
# git-check-ref-format(1): everything is allowed except what git itself rejects
REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|/\.|\.$|/$")


def explain_unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """Return the sentence that no `kind` has this name, with the most similar known name, or else the first ones."""
    shown, names = str(name)[:80], list(known)[:MAX_KNOWN]
    near = get_close_matches(shown, [item[:80] for item in names], n=1)
    way_out = f': did you mean "{near[0]}"?' if near else f"; there are: {', '.join(names) or 'none'}"[:500]
    return f'there is no {kind} "{shown}"{way_out}'


def check_project(name: str) -> str:
    if UUID.fullmatch(name):
        raise InvalidInput(f"{name!r} is not a valid project name: it is a UUID, and no project has it", field="name")
    if not PROJECT.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is not a valid project name: use 1 to 64 of a-z, 0-9 and '-', without '-' at the ends",
            field="name",
        )
    return name


def check_environment(name: str) -> str:
    return _checked(ENVIRONMENT, name, "environment", "'.', '-' and '_'")


def check_runner(name: str) -> str:
    return _checked(RUNNER, name, "runner", "'-' and '_', a letter or digit first")


def check_user(name: str) -> str:
    return _checked(USER, name, "user", "'.', '-' and '_', a letter or digit first")


def _checked(pattern: re.Pattern[str], name: str, kind: str, allowed: str) -> str:
    if not pattern.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} is not a valid {kind} name: use 1 to 63 letters, digits, {allowed}")
    return name


def is_sha(text: str) -> bool:
    """Return whether `text` is a full commit name."""
    return SHA.fullmatch(text) is not None


def check_sha(sha: str) -> str:
    if not SHA.fullmatch(sha):
        raise InvalidInput(f"{sha[:80]!r} is not a full commit name: 40 or 64 hexadecimal digits")
    return sha


def check_ref(ref: str) -> str:
    """Return `ref` if it is a full ref below refs/ by the rules of git-check-ref-format(1). Raises InvalidInput."""
    if not ref.startswith("refs/") or len(ref) > 1024 or REF_FORBIDDEN.search(ref):
        raise InvalidInput(f"{ref[:200]!r} is not a ref that git accepts")
    return ref

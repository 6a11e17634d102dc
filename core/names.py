"""Validation of names from outside. Valid names are safe in a path, a URL and a command line."""

from __future__ import annotations

import re

from core.errors import InvalidInput

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
RUNNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62})")
USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
ENVIRONMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")
# git-check-ref-format(1): everything is allowed except what git itself rejects
REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|/\.|\.$|/$")


def check_project(name: str) -> str:
    if not PROJECT.fullmatch(name):
        raise InvalidInput(f"{name!r} is no project name: use 1 to 64 of a-z, 0-9 and '-', not at the ends")
    return name


def check_environment(name: str) -> str:
    if not ENVIRONMENT.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} is no environment name: use up to 63 letters, digits, '.', '-' and '_'")
    return name


def check_runner(name: str) -> str:
    if not RUNNER.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} is no runner name: use 1 to 63 letters, digits, '-' and '_', a letter or digit first"
        )
    return name


def check_user(name: str) -> str:
    if not USER.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} is not a valid user name: use 1 to 63 letters, digits, '.', '-' and '_', a letter or digit first"
        )
    return name


def is_sha(text: str) -> bool:
    """Return whether `text` is a full commit name."""
    return SHA.fullmatch(text) is not None


def check_sha(sha: str) -> str:
    if not is_sha(sha):
        raise InvalidInput(f"{sha[:80]!r} is no full commit name: 40 or 64 hexadecimal digits")
    return sha


def check_ref(ref: str) -> str:
    """Return `ref` if it is a full ref below refs/ by the rules of git-check-ref-format(1). Raises InvalidInput."""
    if not ref.startswith("refs/") or len(ref) > 1024 or REF_FORBIDDEN.search(ref):
        raise InvalidInput(f"{ref[:200]!r} is no ref that git accepts")
    return ref

"""Deliveries without the secrets in them: signatures, tokens, passwords in URLs. For keeping headers, and for showing all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from web.store.deliveries import Delivery

REMOVED = "(removed)"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 10
WORDS = "secret|token|password|passwd|signature|authorization|cookie|credential|private[_-]?key|api[_-]?key"
SECRET_NAME = re.compile(WORDS, re.IGNORECASE)
# Bodies have megabytes: what follows takes a bounded number of steps for each byte, and few for most. So names are looked
# for in lower-case bytes, which is ten times as fast as without regard to case.
NAME = re.compile(WORDS.encode())
ASSIGNED = re.compile(rb"[\w.-]{0,40}=([^&\s\"'#\\]+)")  # behind a name, in queries and push options
STATED = re.compile(rb"[\w.-]{0,40}[\"']?\s{0,4}[:=]\s{0,4}(\"(?:[^\"\\]|\\.)*\"?|[^\s,;&\"']+)")  # in text of any kind
IN_QUERY = re.compile(rb"([?&](?:key|sig)=)[^&\s\"'#\\]+")
# the name and password of a URL, but `git@`, which everybody has; its slashes may be escaped as in JSON
IN_URL = re.compile(rb"(:(?://|\\/\\/))(?!git@)[^/\s\"'<>\\]{1,400}@")


def headers(given: Mapping[str, str], secret: str = "") -> dict[str, str]:
    """Headers with nothing in them that proves who sent them."""
    return {name: REMOVED if SECRET_NAME.search(name) else text(value, secret) for name, value in given.items()}


def body(delivery: Delivery, secret: str) -> str:
    """The body to be read: JSON with line breaks, also out of a form; `secret` is the one that signed it."""
    given = _form_field(delivery.body) if delivery.headers.get("content-type", "").startswith(FORM) else delivery.body
    shown = _json(given)
    if shown is None:
        shown = _without_values(delivery.body, STATED).decode("utf-8", "replace")
    return text(shown, secret)


def text(given: str, secret: str = "") -> str:
    """Any text without the passwords of URLs, values of names such as TOKEN=… and `secret` itself."""
    if secret:
        given = given.replace(secret, REMOVED)
    found = _without_values(given.encode("utf-8", "replace"), ASSIGNED)
    for pattern in (IN_QUERY, IN_URL):
        found = pattern.sub(rb"\g<1>" + REMOVED.encode() + (b"@" if pattern is IN_URL else b""), found)
    return found.decode("utf-8", "replace")


def _without_values(given: bytes, value: re.Pattern[bytes]) -> bytes:
    """Bytes without what `value` finds right behind each name that tells of a secret."""
    kept, at = [], 0
    for name in NAME.finditer(given.lower()):
        if name.start() >= at and (found := value.match(given, name.end())):
            kept += [given[at : found.start(1)], REMOVED.encode()]
            at = found.end(1)
    return b"".join([*kept, given[at:]])


def _form_field(given: bytes) -> str | bytes:
    """The field that forges put their JSON into."""
    try:
        return parse_qs(given.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)["payload"][0]
    except (ValueError, KeyError):
        return given


def _json(given: str | bytes) -> str | None:
    """None when it is no JSON, or such that nobody could read it."""
    try:
        document = orjson.loads(given)
        _strip(document)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    except (ValueError, TypeError):
        return None


def _strip(document: Any) -> None:
    """Remove, in place, what stands under a name that tells of a secret."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        for key, value in list(
            item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
        ):
            if isinstance(key, str) and SECRET_NAME.search(key) and not (value is None or isinstance(value, bool)):
                item[key] = REMOVED
            elif isinstance(value, dict | list):
                waiting.append(value)

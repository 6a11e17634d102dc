"""Remove secrets from deliveries (signatures, tokens, passwords in URLs) before storing headers or showing anything."""

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
# Bodies have megabytes, so these patterns take a bounded number of steps for each byte, and few for most. Names are
# searched in lower-case bytes, which is ten times as fast as ignoring case.
NAME = re.compile(WORDS.encode())
ASSIGNED = re.compile(rb"[\w.-]{0,40}=([^&\s\"'#\\]+)")  # after a name, in queries and push options
STATED = re.compile(rb"[\w.-]{0,40}[\"']?\s{0,4}[:=]\s{0,4}(\"(?:[^\"\\]|\\.)*\"?|[^\s,;&\"']+)")  # in any text
IN_QUERY = re.compile(rb"([?&](?:key|sig)=)[^&\s\"'#\\]+")
# user and password of a URL, except `git@`, which is not a secret; the slashes may be escaped as in JSON
IN_URL = re.compile(rb"(:(?://|\\/\\/))(?!git@)[^/\s\"'<>\\]{1,400}@")


def redact_headers(given: Mapping[str, str], secret: str = "") -> dict[str, str]:
    """Return headers without anything that authenticates their sender."""
    joined = "\n".join(given.values())  # at once: a header is one line
    lines = (redact_text(joined, secret) if secret or "=" in joined or ":" in joined else joined).split("\n")
    return {
        name: REMOVED if NAME.search(name.lower().encode("utf-8", "replace")) else line
        for name, line in zip(given, lines, strict=False)
    }


def redact_body(delivery: Delivery, secret: str) -> str:
    """Return the body for display: indented JSON, also if it was in a form field. `secret` is the webhook's secret."""
    given = _form_field(delivery.body) if delivery.headers.get("content-type", "").startswith(FORM) else delivery.body
    shown = _json(given)
    if shown is None:
        shown = _without_values(delivery.body, STATED).decode("utf-8", "replace")
    return redact_text(shown, secret)


def redact_text(given: str, secret: str = "") -> str:
    """Return text without passwords of URLs, values of names such as TOKEN=… and `secret` itself."""
    if secret:
        given = given.replace(secret, REMOVED)
    found = _without_values(given.encode("utf-8", "replace"), ASSIGNED)
    for pattern in (IN_QUERY, IN_URL):
        found = pattern.sub(rb"\g<1>" + REMOVED.encode() + (b"@" if pattern is IN_URL else b""), found)
    return found.decode("utf-8", "replace")


def _without_values(given: bytes, value: re.Pattern[bytes]) -> bytes:
    """Return bytes without the values that `value` matches directly after each name of a secret."""
    kept, at = [], 0
    for name in NAME.finditer(given.lower()):
        if name.start() >= at and (found := value.match(given, name.end())):
            kept += [given[at : found.start(1)], REMOVED.encode()]
            at = found.end(1)
    return b"".join([*kept, given[at:]])


def _form_field(given: bytes) -> str | bytes:
    """Return the form field that contains a forge's JSON; the whole input if there is none."""
    try:
        return parse_qs(given.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)["payload"][0]
    except (ValueError, KeyError):
        return given


def _json(given: str | bytes) -> str | None:
    """Return redacted and indented JSON; None if `given` is not valid JSON or cannot be written back."""
    try:
        document = orjson.loads(given)
        _strip(document)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    except (ValueError, TypeError):
        return None


def _strip(document: Any) -> None:
    """Replace, in place, all values whose name is that of a secret."""
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

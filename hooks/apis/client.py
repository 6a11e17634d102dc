"""Send calls to a forge's API and classify the result: an answer, a reason to retry later, or a permanent refusal.

No behaviour of a forge raises an exception, and neither results nor logs contain the token.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from core.text import make_printable, parse_whole_number
from hooks.apis.base import Answer, Call

if TYPE_CHECKING:
    import httpx  # loaded with the first call: many servers make none

TIMEOUT_S = 10.0  # time to connect, and between two chunks of an answer
ANSWER_S = 30.0  # time for the whole answer
ANSWER_BYTES = 4 * 1024**2
REASON_CHARS = 300
OVER = "not called: the time limit was reached"
LATER = frozenset({408, 409, 425, 429})
MAX_WAIT_S = 24 * 3600.0  # a forge that asks for more is called once a day
SAYING = ("message", "error", "detail", "error_description", "errors")
LIMIT_WAIT_S = 60.0  # GitHub's advice for a rate limit without a time


@dataclass(frozen=True, kw_only=True)
class Later:
    """The same call may succeed later. `wait_s` is how long the forge wants no calls; None if it did not say."""

    reason: str
    wait_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The same call would be refused again. `reason` is the forge's message."""

    status: int
    reason: str


Outcome = Answer | Later | Refused


class Client:
    """Calls one API with one token, sequentially. Use as a context manager."""

    def __init__(self, url: str, headers: Mapping[str, str], token: str, deadline: float | None = None) -> None:
        """No call runs past `deadline` (time.monotonic), and none starts after it."""
        import httpx

        self._url, self._token, self._deadline = url.rstrip("/"), token, deadline
        self._http = httpx.Client(
            headers={"User-Agent": "pushmill", "Accept-Encoding": "identity", **headers},
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),  # the same certificate authorities as git
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, call: Call) -> Outcome:
        """Send a call; takes up to TIMEOUT_S to connect and ANSWER_S for the answer."""
        import httpx

        left = ANSWER_S if self._deadline is None else self._deadline - time.monotonic()
        if left <= 0:
            return Later(reason=OVER)
        try:
            timeout = min(TIMEOUT_S, left)
            with self._http.stream(call.method, self._url + call.path, json=call.json, timeout=timeout) as response:
                return self._sorted(response, _read(response, min(ANSWER_S, left)))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            return Refused(status=0, reason=self._printable(f"{self._url} cannot be called: {error}"))
        except (httpx.HTTPError, OSError, _TooMuch) as error:
            return Later(reason=self._printable(f"{self._url}: {type(error).__name__}: {error}"))

    def _sorted(self, response: httpx.Response, body: bytes) -> Outcome:
        status, headers = response.status_code, {name.lower(): value for name, value in response.headers.items()}
        found = _parsed(body)
        if 200 <= status < 300:
            return Answer(status=status, headers=headers, json=found)
        reason = self._printable(f"{status} {extract_error_text(found) or response.reason_phrase}".strip())
        if 300 <= status < 400:
            place = self._printable(headers.get("location", "").partition("?")[0])
            return Refused(status=status, reason=f"{reason}: it has moved to {place}")
        wait_s = _wait_s(headers) if status in LATER or status in (403, 503) else None
        if wait_s is None and status in (403, 429) and "rate limit" in reason.lower():
            wait_s = LIMIT_WAIT_S
        if status in LATER or status >= 500 or wait_s is not None:
            return Later(reason=reason, wait_s=wait_s)
        return Refused(status=status, reason=reason)

    def _printable(self, text: str) -> str:
        """Remove the token, in case the forge or a library repeats it, and unprintable characters."""
        text = text.replace(self._token, "…") if self._token else text
        return make_printable(text, " ")[:REASON_CHARS]


class _TooMuch(Exception):
    """Raised when an answer is too large or takes too long."""


def extract_error_text(found: Any, depth: int = 4) -> str:
    """Return the forge's error message: `message` or `error`, as text or in an object, with GitHub's `errors`."""
    if isinstance(found, str):
        return found
    if depth == 0 or not isinstance(found, dict | list):
        return ""
    if isinstance(found, list):
        return "; ".join(filter(None, (extract_error_text(item, depth - 1) for item in found)))
    parts = [extract_error_text(found.get(name), depth - 1) for name in SAYING]
    if any(parts):
        return ": ".join(filter(None, parts))
    return "; ".join(
        f"{name} {what}" for name, value in found.items() if (what := extract_error_text(value, depth - 1))
    )


def _read(response: httpx.Response, limit_s: float) -> bytes:
    body, until = bytearray(), time.monotonic() + limit_s
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise _TooMuch(f"the answer has more than {ANSWER_BYTES:,} bytes")
        if time.monotonic() > until:
            raise _TooMuch(f"the answer takes more than {limit_s:.0f} seconds")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the forge wants no calls, from any of the headers that forges use."""
    if given := headers.get("retry-after", "").strip():
        seconds = parse_whole_number(given)
        return _bounded(_until(given) if seconds is None else seconds)
    for prefix in ("x-ratelimit", "ratelimit"):
        reset = parse_whole_number(headers.get(f"{prefix}-reset", "").strip())
        if headers.get(f"{prefix}-remaining", "").strip() == "0" and reset is not None:
            return _bounded(reset - time.time())
    return None


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return LIMIT_WAIT_S


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), MAX_WAIT_S)

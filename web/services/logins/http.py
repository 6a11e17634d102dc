"""HTTP calls to providers of logins: bounded in time and size, without redirects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.errors import ForgeError

TIMEOUT_S = 10.0
MOST_BYTES = 1024 * 1024


def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    kind: type = dict,
) -> Any:
    """Return the JSON of an answer, an object or a list. Raises ForgeError, which contains nothing of what was sent."""
    import httpx  # with the first login: many servers have none by other servers

    given = {"Accept": "application/json", "User-Agent": "pushmill", **(headers or {})}
    where = url.partition("?")[0]
    try:
        with httpx.stream(method, url, headers=given, data=form, timeout=TIMEOUT_S) as answer:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ForgeError(f"{where} answers with more than {MOST_BYTES:,} bytes", "")
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ForgeError(f"{where} cannot be reached: {type(error).__name__}", "try again later") from None
    try:
        found = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        found = None
    if status >= 400 or found is None:
        reason = found.get("error") if isinstance(found, dict) else None
        raise ForgeError(f"{where} answers {status}" + (f": {str(reason)[:200]}" if reason else ""), "")
    if not isinstance(found, kind):
        raise ForgeError(f"{where} sent an unexpected answer", "")
    return found

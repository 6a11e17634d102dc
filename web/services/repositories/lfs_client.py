"""Download Git LFS objects from a server with the batch API.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md: the answer to a list of objects is the location of each.
Credentials are sent only to the server itself and to downloads of the same origin; redirects are not followed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from core.errors import GitError
from core.git import TooSlow
from core.git import url as git_url
from core.git.lfs import Pointer
from core.text import make_printable

MEDIA_TYPE = "application/vnd.git-lfs+json"
ANSWER_BYTES = 4 * 1024**2
CHUNK = 256 * 1024
TIMEOUT = urllib3.Timeout(connect=20, read=60)
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class LfsAction:
    """URL and headers to download an object."""

    href: str
    headers: Mapping[str, str]


class LfsClient:
    """Client of one server; `headers` authenticate, `deadline` is by time.monotonic. Use as a context manager."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], *, allow_http: bool, deadline: float) -> None:
        self._endpoint, self._allow_http, self._deadline = endpoint.rstrip("/"), allow_http, deadline
        self._authorization = dict(headers)
        self._http = urllib3.PoolManager(ssl_context=ssl.create_default_context(), retries=False, timeout=TIMEOUT)

    def __enter__(self) -> LfsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def locate(self, pointers: Sequence[Pointer]) -> dict[str, LfsAction | str]:
        """Return by object its location, or why the server does not have it. Raises GitError if the request fails."""
        objects = [{"oid": pointer.oid, "size": pointer.size} for pointer in pointers]
        body = json.dumps({"operation": "download", "transfers": ["basic"], "objects": objects}).encode()
        headers = {
            "Accept": MEDIA_TYPE,
            "Content-Type": MEDIA_TYPE,
            "Accept-Encoding": "identity",
            **self._authorization,
        }
        with self._answer("POST", f"{self._endpoint}/objects/batch", headers, body) as response:
            data = b"".join(self._chunks(response, ANSWER_BYTES))
        try:
            found = json.loads(data)["objects"]
            return {str(item["oid"]): self._action(item) for item in found}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise GitError(f"{self._endpoint} does not answer as a Git LFS server") from None

    def download(self, action: LfsAction, size: int) -> Iterator[bytes]:
        """Yield the content of an object, at most little more than `size` bytes. Raises GitError."""
        with self._answer("GET", action.href, {"Accept-Encoding": "identity", **action.headers}, None) as response:
            yield from self._chunks(response, size)

    def _action(self, item: Mapping[str, Any]) -> LfsAction | str:
        if error := item.get("error"):
            return self._printable(f"the server says: {error.get('message') or error.get('code')}")
        download = (item.get("actions") or {}).get("download")
        if not download:
            return "the server does not say where to fetch it"
        headers = {str(name): str(value) for name, value in (download.get("header") or {}).items()}
        href = str(download["href"])
        if not any(name.lower() == "authorization" for name in headers) and _origin(href) == _origin(self._endpoint):
            headers |= self._authorization
        return LfsAction(href=href, headers=headers)

    @contextlib.contextmanager
    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        place = self._printable(git_url.remove_credentials(url))
        if urlsplit(url).scheme not in (("https", "http") if self._allow_http else ("https",)):
            raise GitError(f"{place} is not https; [git] allow_http turns http on")
        try:
            response = self._http.request(
                method, url, body=body, headers=dict(headers), redirect=False, preload_content=False
            )
            with contextlib.closing(response):
                if response.status != 200:
                    raise GitError(
                        f"{place} answers {response.status} {response.reason or ''}".rstrip() + _way_out(response)
                    )
                yield response
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise GitError(self._printable(f"{place}: {type(error).__name__}: {error}")) from None

    def _chunks(self, response: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        received = 0
        while chunk := response.read1(CHUNK, decode_content=False):  # returns received data without waiting for more
            received += len(chunk)
            if time.monotonic() > self._deadline:
                raise TooSlow("fetching took longer than [git] sources_time allows")
            yield chunk
            if received > limit:
                return

    def _printable(self, text: str) -> str:
        for secret in self._authorization.values():
            text = text.replace(secret, "…")
        return make_printable(text, " ")[: 2 * SHOWN]


def make_basic_header(user: str, password: str | None) -> dict[str, str]:
    """Return the header for a user and a password; empty without a password."""
    if not password:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _way_out(response: urllib3.BaseHTTPResponse) -> str:
    if response.status in (401, 403, 404):
        return ": the project's credentials are missing, wrong or not enough"
    return ": redirects are not followed" if 300 <= response.status < 400 else ""

"""A git server on loopback: `git http-backend` behind the standard library, with basic authentication, and Git LFS."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@functools.cache
def backend() -> str:
    """Return the path of git's CGI program, since `git http-backend` would be one more process per request."""
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{folder}/git-http-backend"


class GitServer(ThreadingHTTPServer):
    """Serves the repositories below `root` at /git/; `requests` and `agents` are what was asked and by whom."""

    daemon_threads = True

    def __init__(self, root: Path, username: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
        self.requests: list[tuple[str, str]] = []
        self.agents: list[str] = []
        self.redirect: str | None = None  # where all requests are sent on to
        self.moved: dict[
            str, str
        ] = {}  # by the beginning of paths, what takes its place: a repository that was renamed
        self.public = "/nothing"  # the beginning of paths that need no credentials
        self.credentials_seen: set[str] = set()  # the public paths that were asked for with some
        self.lfs: dict[str, bytes] = {}  # what git-lfs uploaded, and what is given of it
        self.lfs_batches: list[dict[str, Any]] = []
        self.lfs_site = ""  # where objects are said to be; "" = here

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


class Handler(BaseHTTPRequestHandler):
    server: GitServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.server.agents.append(self.headers.get("User-Agent", ""))
        body = self._body()
        if self.server.redirect:
            return self._plain(301, {"Location": self.server.redirect + self.path})
        for old, new in self.server.moved.items():
            if self.path.startswith(old):
                return self._plain(301, {"Location": new + self.path.removeprefix(old)})
        public = self.path.startswith(self.server.public)
        if public and self.headers.get("Authorization"):
            self.server.credentials_seen.add(self.path)
        if not public and self.headers.get("Authorization") != f"Basic {self.server.credentials}":
            return self._plain(401, {"WWW-Authenticate": 'Basic realm="git"'})
        if "/info/lfs/" in self.path:
            return self._lfs(body)
        return self._backend(body)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def _lfs(self, body: bytes) -> None:
        place, _, oid = self.path.rpartition("/")
        if oid == "batch":
            asked = json.loads(body)
            self.server.lfs_batches.append(asked)
            objects = [self._lfs_object(place, asked["operation"], item) for item in asked["objects"]]
            return self._content(200, json.dumps({"transfer": "basic", "objects": objects}).encode())
        if self.command == "PUT":
            self.server.lfs[oid] = body
        found = self.server.lfs.get(oid)
        return self._content(404, b"{}") if found is None else self._content(200, found)

    def _lfs_object(self, place: str, operation: str, item: dict[str, Any]) -> dict[str, Any]:
        known, href = item["oid"] in self.server.lfs, f"{self.server.lfs_site or self.server.url}{place}/{item['oid']}"
        if operation == "download" and not known:
            return item | {"error": {"code": 404, "message": "no such object"}}
        return item | {"actions": {} if operation == "upload" and known else {operation: {"href": href}}}

    def _content(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path.removeprefix("/git"),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "runner",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run([backend()], env=environment, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


@contextlib.contextmanager
def served(root: Path, username: str = "runner", password: str = "s3cret-token") -> Iterator[GitServer]:
    with GitServer(root, username, password) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

"""`pushmill up` with stub children: a web server that is always healthy, a worker and a runner that only wait."""

from __future__ import annotations

import http.server
import socket
import sys
import time
from functools import partial
from pathlib import Path

from core import config as configuration
from core.errors import CannotStart
from web.processes import up


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def serve(data: Path, listener: socket.socket) -> None:
    if (data / "broken").exists():
        raise CannotStart("the web server is broken on purpose")
    token = data / "admin-token"
    if not token.exists():
        token.write_text("a-token-of-the-first-start\n", encoding="utf-8")
        (data / "push-token").write_text("a-token-to-push\n", encoding="utf-8")
    server = http.server.ThreadingHTTPServer(listener.getsockname(), Healthy, bind_and_activate=False)
    server.socket = listener
    server.serve_forever()


def wait(_: socket.socket) -> None:
    time.sleep(600)


def main(data: Path, port: int) -> None:
    config = configuration.load(data, server__port=port)
    programs = {"web": partial(serve, data), "worker": wait, "runner": wait}
    up.run(up.LocalServer(config=config, programs=programs, say=up.say, check_s=0.1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""`pushmill up` with children that do nothing but live: a web server that is healthy, a worker and a runner that wait."""

from __future__ import annotations

import http.server
import os
import sys
import time
from pathlib import Path

from core import config as configuration
from web.processes import up


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def main(role: str, data: Path, port: int) -> None:
    if role == "up":
        programs = {name: [sys.executable, "-P", __file__, name, str(data), str(port)] for name in up.STARTED_IN_ORDER}
        config = configuration.load(data, server__port=port)
        up.run(up.Machine(config=config, programs=programs, say=up.say, check_s=0.1))
    elif role == "web":
        if (data / "broken").exists():
            sys.exit("the web server is broken on purpose")
        token = data / "admin-token"
        if not token.exists():
            token.write_text("a-token-of-the-first-start\n", encoding="utf-8")
            (data / "push-token").write_text("a-token-to-push\n", encoding="utf-8")
        address = (os.environ["PUSHMILL_HOST"], int(os.environ["PUSHMILL_PORT"]))
        http.server.ThreadingHTTPServer(address, Healthy).serve_forever()
    else:
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

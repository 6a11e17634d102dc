"""Who gets threads: each kind of request has its own, so that none can take those of another."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.config import KIB, MIB, ServerConfig
from web.serving.pool import Pool

TRANSFER = re.compile(r"/git/|/data/|/api/runner/executions/[^/]+/(?:outputs|data)/")
AHEAD = 64 * KIB
WAITING = 500  # requests of a lane that wait for a thread


@dataclass(frozen=True)
class Lane:
    """`ahead` bytes of a body are read before a thread is taken, so that a slow sender holds none meanwhile."""

    pool: Pool
    ahead: int


class Lanes:
    """The threads of `[server] threads`, and a few for what must always be answered.

    Half are for transfers, which need a token and may take long; a quarter for pages and the API; an eighth each for webhooks
    and for what runners report.
    """

    def __init__(self, config: ServerConfig) -> None:
        threads = config.threads
        self._health = Lane(Pool("health", 1, WAITING), 0)
        self._runners = Lane(Pool("runners", max(2, threads // 8), WAITING), AHEAD)
        self._transfers = Lane(Pool("transfers", max(2, threads // 2), WAITING), AHEAD)
        self._pages = Lane(Pool("pages", max(2, threads // 4), WAITING), MIB)
        self.hooks = Lane(Pool("hooks", max(2, threads // 8), WAITING), config.hook_body + 1)
        self.live = Pool("live", max(2, threads // 16), 2 * config.followers)

    def of(self, path: str) -> Lane:
        if path == "/healthz":
            return self._health
        if path.startswith("/hooks/"):
            return self.hooks
        if TRANSFER.match(path):
            return self._transfers
        return self._runners if path.startswith("/api/runner/") else self._pages

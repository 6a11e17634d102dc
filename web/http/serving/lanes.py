"""Assign threads: each kind of request has its own, so that none can use up those of another.

Lanes are: transfers (git, outputs, packages), pages and the API, webhooks, reports of runners, and `/healthz`. Pages
and webhooks cannot take the threads of runners, and an upload cannot take those of heartbeats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.config import KIB, MIB, ServerConfig
from web.http.serving.pool import Pool
from web.services.deliveries import intake

TRANSFER = re.compile(
    r"/git/|/data/|/api/runner/executions/[^/]+/(?:outputs|data)/|/api/v0/projects/[^/]+/import-package"
    r"|/p/[^/]+/executions/[0-9]+/(?:outputs\.zip$|outputs/.+/|media/)"
)
AHEAD = 64 * KIB
ANY = 1 << 62  # no memory limit: at most AHEAD is read ahead, plus what the connection had buffered beyond it
PAGES_MEMORY = 64 * MIB  # for bodies of pages and the API: forms of a few bytes, but up to a megabyte is allowed
WAITING = 500  # requests of a lane that may wait for a thread


@dataclass(frozen=True)
class Lane:
    """`ahead` bytes of a body are read before a thread is taken, so that slow senders hold no thread.

    `memory` limits what is read of all bodies together, except for the first `free` bytes of each.
    """

    pool: Pool
    ahead: int
    memory: intake.MemoryBudget
    free: int = AHEAD


class Lanes:
    """The threads of `[server] threads`, and a few for requests that must always be answered.

    Half are for transfers, which need a token and may take long; a quarter for pages and the API; an eighth each for
    webhooks and for reports of runners.
    """

    def __init__(self, config: ServerConfig, hook_memory: intake.MemoryBudget) -> None:
        threads, none = config.threads, intake.MemoryBudget(0)
        self._health = Lane(Pool("health", 1, WAITING), 0, none)
        self._runners = Lane(Pool("runners", max(2, threads // 8), WAITING), AHEAD, none, ANY)
        self._transfers = Lane(Pool("transfers", max(2, threads // 2), WAITING), AHEAD, none, ANY)
        self._pages = Lane(Pool("pages", max(2, threads // 4), WAITING), MIB, intake.MemoryBudget(PAGES_MEMORY))
        self.hooks = Lane(Pool("hooks", max(2, threads // 8), WAITING), config.hook_body + 1, hook_memory, 0)
        self.live = Pool("live", max(2, threads // 16), 2 * config.followers)

    def of(self, path: str) -> Lane:
        if path == "/healthz":
            return self._health
        if path.startswith("/hooks/"):
            return self.hooks
        if TRANSFER.match(path):
            return self._transfers
        return self._runners if path.startswith("/api/runner/") else self._pages

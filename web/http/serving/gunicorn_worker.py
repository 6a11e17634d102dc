"""gunicorn's worker process: uvicorn's server with our connections."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import uvicorn
from uvicorn_worker import UvicornWorker

from web.http.serving.bridge import Bridge
from web.http.serving.connections import Connection, Connections

GRACEFUL_S = 3
WATCHED_EVERY_S = 1.0
SETTINGS: dict[str, Any] = {
    "loop": "asyncio",
    "ws": "none",
    "lifespan": "off",
    "access_log": False,
    "log_config": None,
    "proxy_headers": False,  # web.http.proxies decides which proxies are trusted
    "server_header": False,
    "timeout_keep_alive": 75,  # runners and browsers keep their connection between heartbeats
    "timeout_graceful_shutdown": GRACEFUL_S,
}


class Worker(UvicornWorker):  # type: ignore[misc]
    """Serves the Bridge that the application loads."""

    CONFIG_KWARGS = SETTINGS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.config.timeout_notify = WATCHED_EVERY_S

    async def callback_notify(self) -> None:
        """Report to the master that this worker lives; exit if the master was killed, or the port stays in use."""
        if self.ppid != os.getppid():
            os.kill(os.getpid(), signal.SIGTERM)
        self.notify()

    async def _serve(self) -> None:
        use(self.config, self.wsgi)
        await super()._serve()


def server(bridge: Bridge) -> uvicorn.Server:
    """Return a server in this process, for sockets that the caller has opened."""
    config = uvicorn.Config(bridge, **SETTINGS)
    use(config, bridge)
    return uvicorn.Server(config)


def use(config: uvicorn.Config, bridge: Bridge) -> None:
    """Make uvicorn create connections limited by the server's configuration."""
    connections = Connections(bridge.config)

    def connection(
        config: uvicorn.Config, server_state: Any, app_state: Any, _loop: asyncio.AbstractEventLoop | None = None
    ) -> Connection:
        return Connection(connections, config=config, server_state=server_state, app_state=app_state, _loop=_loop)

    config.http = connection  # type: ignore[assignment]

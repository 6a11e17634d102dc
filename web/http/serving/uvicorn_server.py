"""uvicorn's server with our connections."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from web.http.serving.bridge import Bridge
from web.http.serving.connections import ClientConnection, Connections

SETTINGS: dict[str, Any] = {
    "loop": "asyncio",
    "ws": "none",
    "lifespan": "off",
    "access_log": False,
    "log_config": None,
    "proxy_headers": False,  # web.http.proxies decides which proxies are trusted
    "server_header": False,
    "timeout_keep_alive": 75,  # runners and browsers keep their connection between heartbeats
    "timeout_graceful_shutdown": 3,  # larger transfers take longer, and are resumed
}


def make_server(bridge: Bridge) -> uvicorn.Server:
    """Return a server in this process, for sockets that the caller has opened."""
    connections = Connections(bridge.config)

    def connection(
        config: uvicorn.Config, server_state: Any, app_state: Any, _loop: asyncio.AbstractEventLoop | None = None
    ) -> ClientConnection:
        return ClientConnection(connections, config=config, server_state=server_state, app_state=app_state, _loop=_loop)

    config = uvicorn.Config(bridge, **SETTINGS)
    config.http = connection  # type: ignore[assignment]
    return uvicorn.Server(config)

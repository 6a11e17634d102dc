"""Serve an application on a port of loopback as `pushmill web` does, in a thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from functools import partial

from flask import Flask
from instance import wait_for

from web.http.serving.bridge import Bridge
from web.http.serving.pool import Pool
from web.http.serving.uvicorn_server import make_server

logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class Serving:
    """Serves until it is stopped."""

    def __init__(self, app: Flask, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.create_server((host, port))
        # asyncio sets it only where the socket's protocol was named; without it an answer may wait 40 ms for an ACK
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self._app, self._bridge = app, Bridge(app)
        self._server = make_server(self._bridge)
        self._server.config.timeout_graceful_shutdown = 1
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_for(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        for found in vars(self._bridge._lanes).values():
            pool: Pool = getattr(found, "pool", found)
            together = threading.Barrier(pool._started) if pool._started else None
            for _ in range(pool._started):
                pool.submit(partial(self._leave, together))
            pool.close()

    def _leave(self, together: threading.Barrier) -> None:
        """Close what a thread of the server has open; each thread runs this once."""
        together.wait()
        local = self._app.extensions["pushmill"].local
        if hasattr(local, "context"):
            local.context.db.close()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

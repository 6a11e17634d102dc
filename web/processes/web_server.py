"""`pushmill web`: the application in uvicorn, in one process.

One, since live pages are woken within it, and SQLite has one web writer.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from core import config as configuration
from core.config import Config
from web.http.app import create_app
from web.http.serving import uvicorn_server
from web.http.serving.bridge import Bridge
from web.processes import preflight
from web.services import setup

HUNG_S = 120.0
YOUNG = 50_000  # objects allocated between two garbage collections; a batch of a log allocates 30,000, all short-lived


def serve(config: Config, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    setup.prepare(config, partial(click.echo, err=True))
    run(Bridge(create_app(config)), listener)


def run(bridge: Bridge, listener: socket.socket) -> None:
    """Serve an application, of a benchmark too, until SIGTERM or SIGINT."""
    gc.collect()
    gc.freeze()  # exempts the application, whose collection during a long list took 80 ms
    gc.set_threshold(YOUNG)
    server = uvicorn_server.make_server(bridge)
    server.config.callback_notify, server.config.timeout_notify = watch, 1
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


async def watch() -> None:
    """Called each second on the event loop: if it hangs, log what each thread does and exit, to be started again."""
    faulthandler.dump_traceback_later(HUNG_S, exit=True)


@click.command("web")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
def command(data: Path | None, config_file: Path | None, host: str | None, port: int | None) -> None:
    """Run only the web server.

    Serves the pages, the API, git and the webhooks.
    """
    config = configuration.load(data, config_file, server__host=host, server__port=port)
    serve(config, preflight.listen(config.server.host, config.server.port))

"""`pushmill web`: run the application in gunicorn, which keeps one worker process running."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import Any

import click
from gunicorn.app.base import BaseApplication

from core import config as configuration
from core.config import Config
from web.http.app import create_app
from web.http.serving.bridge import Bridge
from web.http.serving.gunicorn_worker import GRACEFUL_S, Worker
from web.services import setup


class Gunicorn(BaseApplication):  # type: ignore[misc]
    """One worker process, restarted when it exits: live pages are woken within it, and SQLite has one web writer."""

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        server = self._config.server
        settings: dict[str, Any] = {
            "bind": f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}",
            "worker_class": Worker,
            "workers": 1,
            "graceful_timeout": GRACEFUL_S,  # larger transfers take longer, and are resumed
            "timeout": 120,
            "accesslog": None,
            "worker_tmp_dir": str(self._config.data),
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Bridge:
        bridge = Bridge(create_app(self._config))
        gc.collect()
        gc.freeze()  # a collection during a long list took 80 ms to look at the application, which stays
        return bridge


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
    setup.prepare(config, partial(click.echo, err=True))
    Gunicorn(config).run()

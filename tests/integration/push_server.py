"""The server as seen by people who push: git over HTTP and webhooks, with sweeps on demand or in a thread."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import made_once
from flask import Flask
from instance import Checkout, free_port
from redis import Redis
from serving import Serving

from core import config as configuration
from core.model import Commit, Execution
from web.http import auth, errors, git, lfs, webhooks
from web.processes.sweep import Sweeper
from web.services import vault
from web.services.announcer import Announcer
from web.services.context import Context
from web.services.deliveries import ingest
from web.services.logins.providers import Providers
from web.services.repositories import hosting
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling import dispatch
from web.services.scheduling.queues import Queues
from web.store import commits, deliveries, executions, projects
from web.store import pushes as push_rows
from web.store.db import Database, connect, fetch_rows
from web.store.deliveries import Delivery
from web.store.pushes import Push
from web.store.selection import Selection

NO_REDIS = "unix:///nonexistent/redis.sock"
STEP = "- step:\n    name: {name}\n    image: busybox\n    command: echo hello\n"
NEEDY = STEP + "    parameters:\n      - {{name: rate, type: float}}\n"


def step(name: str) -> str:
    return STEP.format(name=name)


def needy_step(name: str) -> str:
    """A step with a parameter that has no value."""
    return NEEDY.format(name=name)


class PushServer:
    """Both blueprints on loopback. Redis is away: nothing of a push may depend on it."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.config = configuration.load(data, server__port=free_port(), **settings)
        self.token = made_once.prepare(self.config)
        self.vault = vault.load(self.config.data / "secret.key")
        self.queues = Queues(Redis.from_url(NO_REDIS))
        self.db: Database = connect(self.config.database)
        self._server: Serving | None = None
        self._app: Flask | None = None

    @property
    def url(self) -> str:
        return self.config.local_url

    def start(self) -> None:
        self._app = app = Flask("push_server")
        app.config["MAX_CONTENT_LENGTH"] = 1024**2
        app.extensions["pushmill"] = auth.Server(
            config=self.config,
            queues=self.queues,
            vault=self.vault,
            announcer=Announcer(self.queues),
            providers=Providers(self.config.login),
            heartbeats=Heartbeats(self.config.database),
        )
        app.register_blueprint(webhooks.blueprint)
        app.register_blueprint(git.blueprint)
        app.register_blueprint(lfs.blueprint)
        errors.init_app(app)
        auth.init_app(app)
        self._server = Serving(app, self.config.server.host, self.config.server.port)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def close(self) -> None:
        self.stop()
        self.db.close()

    @property
    def intake(self) -> webhooks.Intake:
        """Return the limits on webhooks of the running server."""
        assert self._app is not None
        found: webhooks.Intake = self._app.extensions[webhooks.EXTENSION]
        return found

    @property
    def context(self) -> Context:
        return Context(db=self.db, config=self.config, vault=self.vault)

    def drain(self) -> None:
        drain(self.context, self.queues)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Sweeps in a thread, as the worker does."""
        sweeper, over = Sweeper(self.config, self.vault, self.queues), threading.Event()

        def tick() -> None:
            while not over.wait(0.02):
                sweeper.sweep()

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            sweeper.close()

    def git_url(self, project: str, token: str | None = None) -> str:
        return f"http://admin:{token or self.token}@127.0.0.1:{self.config.server.port}/git/{project}.git"

    def push(self, checkout: Checkout, project: str, *arguments: str) -> str:
        """Push; return the answer of the server."""
        return checkout.git("push", self.git_url(project), *(arguments or ("main",))).stderr

    def add_project(self, name: str, forge: str, url: str | None) -> str:
        """Add a project whose repository is elsewhere; return its webhook secret."""
        return hosting.add_project(self.context, name, 1, forge=forge, url=url)[1]

    def post(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        return httpx.post(self.url + path, content=body, headers=headers, timeout=30, trust_env=False)

    def pushes(self, project: str) -> list[Push]:
        """Return the pushes in the order in which they were recorded."""
        found = fetch_rows(
            self.db,
            "SELECT push.id FROM push JOIN repository ON repository.id = push.repository_id WHERE project_id = ?"
            " ORDER BY push.id",
            (projects.get_by_name(self.db, project).id,),
        )
        return [self._push(item["id"]) for item in found]

    def _push(self, push_id: int) -> Push:
        (found,) = fetch_rows(self.db, "SELECT * FROM push WHERE id = ?", (push_id,))
        return push_rows._push(found)

    def commit(self, project: str, sha: str) -> Commit:
        return commits.get_by_identifier(self.db, projects.get_by_name(self.db, project).id, sha)

    def executions(self, project: str) -> list[Execution]:
        """Return the executions in the order of their numbers."""
        project_id = projects.get_by_name(self.db, project).id
        return executions.search(self.db, Selection(projects=[project_id], order="counter"))[0]

    def steps(self, project: str) -> list[str]:
        return [execution.step for execution in self.executions(project)]

    def deliveries(self, project: str) -> list[Delivery]:
        return deliveries.list_deliveries(self.db, projects.get_by_name(self.db, project).id)[::-1]

    def push_files(self) -> list[Path]:
        return sorted(self.config.git_dir.glob("*.git/pushmill/*.push"))

    def with_git(self, **settings: Any) -> PushServer:
        """Change what may be fetched."""
        self.config = replace(self.config, git=replace(self.config.git, **settings))
        return self


def drain(context: Context, queues: Queues) -> None:
    """Handle every delivery that is due, in this thread, with the functions of the worker."""
    ingest.collect_push_files(context)
    for repository_id in deliveries.list_due_repositories(context.db):
        ingest.ingest_repository(context, repository_id)
    dispatch.dispatch(context, queues)


def bare_repository(path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    return path

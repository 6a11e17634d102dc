"""The WSGI application: `create_app` is the only place that wires its parts together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from redis import Redis

from core.config import MIB, Config
from web.http import (
    after_change,
    auth,
    badges,
    changes,
    compression,
    errors,
    git,
    lfs,
    live,
    runner_api,
    static_files,
    streams,
    webhooks,
)  # fmt: skip
from web.http.api import downloads, v0
from web.http.pages import register as register_pages
from web.http.proxies import TrustedProxies
from web.http.runner_heartbeats import RunnerHeartbeats
from web.services import removal, vault
from web.services.announcer import Announcer
from web.services.executions import outputs
from web.services.logins.providers import Providers
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling.queues import Queues, get_redis_url

BODY_BYTES = 1 * MIB  # default limit of a request body; routes that accept more set their own
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HARDENING = {  # unless the view has set others
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Web(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none is a coroutine, and asking each one in each request takes as long as a query."""
        return func


def create_app(config: Config) -> Flask:
    app = Web("web", template_folder=str(_templates()), static_folder=None)
    key = vault.load(config.data / "secret.key")
    removal.clear_leftovers(config)
    outputs.clear_incoming(config)  # safe at start: there is only one web process
    app.config.update(
        SECRET_KEY=key.derived("session"),
        MAX_CONTENT_LENGTH=BODY_BYTES,
        SESSION_COOKIE_NAME=f"pushmill-{config.server.port}",  # cookies ignore ports; a host may have two servers
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=config.server.url.startswith("https://"),
    )
    queues = Queues(Redis.from_url(get_redis_url(config)))
    app.extensions["pushmill"] = auth.Server(
        config=config,
        queues=queues,
        vault=key,
        announcer=Announcer(queues),
        providers=Providers(config.login),
        heartbeats=Heartbeats(config.database),
    )
    for module in (webhooks, git, lfs, live, changes, badges, runner_api, v0, downloads):
        app.register_blueprint(module.blueprint)
    static_files.init_app(app)
    register_pages(app)
    app.add_url_rule("/healthz", "healthz", healthz)
    app.after_request(compression.compress)  # the last one, since they run in reverse order
    errors.init_app(app)
    auth.init_app(app)
    after_change.init_app(app)
    streams.init_app(app)
    changes.init_app(app)
    app.after_request(_harden)
    app.wsgi_app = RunnerHeartbeats(app)  # type: ignore[method-assign]
    if networks := config.server.proxy_networks:
        app.wsgi_app = TrustedProxies(app.wsgi_app, networks)  # type: ignore[method-assign]
    return app


def _templates() -> Path:
    """Return the template folder: `templates/` at the top of a checkout, inside this package in an installed wheel."""
    inside = Path(__file__).parents[1] / "templates"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "templates"


@auth.public
def healthz() -> Response:
    auth.get_db().execute("SELECT 1")
    return Response("ok\n", mimetype="text/plain")


def _harden(response: Response) -> Response:
    present = {name.lower() for name, _ in response.headers}  # looking up a missing header is slow
    for name, value in HARDENING.items():
        if name.lower() not in present:
            response.headers.add(name, value)
    if "cache-control" not in present:
        response.headers.add("Cache-Control", "no-store" if request.path.startswith("/api/") else "no-cache")
    return response

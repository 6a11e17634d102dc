"""The WSGI application: `create_app` is the only place that wires its parts together."""

from __future__ import annotations

from pathlib import Path

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
from web.services import removal, vault
from web.services.announcer import Announcer
from web.services.executions import outputs
from web.services.logins.providers import Providers
from web.services.scheduling.queues import Queues, redis_url

BODY_BYTES = 1 * MIB  # default limit of a request body; routes that accept more set their own
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(config: Config) -> Flask:
    app = Flask("web", template_folder=str(_templates()), static_folder=None)
    key = vault.load(config.data / "secret.key")
    removal.clear_leftovers(config)
    outputs.clear_incoming(config.outputs_dir)  # safe at start: there is only one web process
    app.config.update(
        SECRET_KEY=key.derived("session"),
        MAX_CONTENT_LENGTH=BODY_BYTES,
        SESSION_COOKIE_NAME=f"pushmill-{config.server.port}",  # cookies ignore ports; a host may have two servers
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=config.server.url.startswith("https://"),
    )
    queues = Queues(Redis.from_url(redis_url(config)))
    app.extensions["pushmill"] = auth.Server(
        config=config,
        queues=queues,
        vault=key,
        announcer=Announcer(config, queues),
        providers=Providers(config.login),
    )
    for blueprint in (
        webhooks.blueprint,
        git.blueprint,
        lfs.blueprint,
        live.blueprint,
        changes.blueprint,
        badges.blueprint,
        runner_api.blueprint,
        v0.blueprint,
        downloads.blueprint,
    ):
        app.register_blueprint(blueprint)
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
    if networks := config.server.proxy_networks:
        app.wsgi_app = TrustedProxies(app.wsgi_app, networks)  # type: ignore[method-assign]
    return app


def _templates() -> Path:
    """Return the template folder: `templates/` at the top of a checkout, inside this package in an installed wheel."""
    inside = Path(__file__).parents[1] / "templates"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "templates"


@auth.public
def healthz() -> Response:
    auth.db().execute("SELECT 1")
    return Response("ok\n", mimetype="text/plain")


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store" if request.path.startswith("/api/") else "no-cache"
    return response

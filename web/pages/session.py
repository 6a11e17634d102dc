"""Logging in with a token, and out."""

from __future__ import annotations

import hmac
import threading
import time
from collections import deque
from datetime import timedelta

from flask import Blueprint, Flask, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from core.model import User
from web import access
from web.pages.addresses import local_path
from web.services import setup
from web.store import users

blueprint = Blueprint("session", __name__)

LIFETIME = timedelta(days=30)
FAILURES, WINDOW_S = 10, 60.0
KNOWN_ADDRESSES = 10_000


class Failures:
    """Failed logins of the last minute, by address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}

    def too_many(self, address: str) -> bool:
        with self._lock:
            times = self._times.get(address, deque())
            while times and times[0] < time.monotonic() - WINDOW_S:
                times.popleft()
            return len(times) >= FAILURES

    def add(self, address: str) -> None:
        with self._lock:
            if len(self._times) >= KNOWN_ADDRESSES:
                self._times.clear()
            self._times.setdefault(address, deque()).append(time.monotonic())


def init_app(app: Flask) -> None:
    app.permanent_session_lifetime = LIFETIME
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False  # badges and downloads must not set cookies
    app.extensions["pushmill-failed-logins"] = Failures()


@blueprint.get("/login")
@access.public
def login() -> ResponseReturnValue:
    if access.session_user() is not None:
        return redirect(_next(), 303)
    return render_template("login.html", username=setup.ADMIN, problem="")  # on most servers the only one


@blueprint.post("/login")
@access.public
def log_in() -> ResponseReturnValue:
    access.check_csrf()
    failures: Failures = current_app.extensions["pushmill-failed-logins"]
    address, username = request.remote_addr or "", request.form.get("username", "").strip()
    if failures.too_many(address):
        return _refused(username, "Too many failed logins from your address. Try again in a minute.", 429)
    person = _recognised(username, request.form.get("token", "").strip())
    if person is None:
        failures.add(address)
        return _refused(username, "That user name and token do not belong together.", 401)
    target = _next()
    session.clear()
    session["user"] = person.id
    session.permanent = True
    return redirect(target, 303)


@blueprint.post("/logout")
@access.user
def log_out() -> ResponseReturnValue:
    session.clear()
    return redirect(url_for("session.login"), 303)


def _recognised(username: str, token: str) -> User | None:
    """The user of that name and token. Tokens are looked up by their hash, so no timing tells of their characters."""
    found = users.by_token(access.db(), token)
    named = hmac.compare_digest(username.encode(), (found.username if found else "").encode())
    return found if named else None


def _refused(username: str, problem: str, status: int) -> ResponseReturnValue:
    headers = {"Retry-After": str(int(WINDOW_S))} if status == 429 else {}
    return render_template("login.html", username=username, problem=problem), status, headers


def _next() -> str:
    return local_path(request.values.get("next", "/"))

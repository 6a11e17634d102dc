"""Light or dark theme: the system's setting, or the user's choice in a cookie, so that pages do not flash on load."""

from __future__ import annotations

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from core.errors import InvalidInput
from web.http import auth
from web.http.pages.addresses import choose_local_path

blueprint = Blueprint("appearance", __name__)

COOKIE = "pushmill-theme"
THEMES = ("system", "light", "dark")
YEAR_S = 365 * 86400


def theme() -> str:
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in THEMES else "system"


@blueprint.post("/appearance")
@auth.public
def choose() -> Response:
    auth.check_csrf()
    chosen = request.form.get("theme", "")
    if chosen not in THEMES:
        raise InvalidInput(f"theme must be one of {', '.join(THEMES)}, got {chosen[:80]!r}")
    response = redirect(choose_local_path(request.form.get("next", url_for("projects.listing"))), 303)
    response.set_cookie(COOKIE, chosen, max_age=YEAR_S, httponly=True, samesite="Lax", secure=request.is_secure)
    return response

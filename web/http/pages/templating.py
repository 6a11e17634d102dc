"""Functions and values available in all templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from flask import Flask, g, request, url_for
from markupsafe import Markup

from core.model import User
from core.units import duration_text, size_text
from web.http import auth
from web.http.pages.appearance import theme
from web.services import disk
from web.services.presentation import execution_status, formats, parallel, search_facts

UPLOT = "vendor/uplot-1.6.32"


def init_app(app: Flask) -> None:
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.finalize = _finalize
    environment.filters |= {
        "size": size_text,
        "exact_size": formats.exact_size,
        "duration": duration_text,
        "ago": formats.ago,
        "absolute": formats.absolute,
        "value": formats.value,
        "full": formats.full,
        "one_line": formats.one_line,
        "seconds": execution_status.seconds,
        "stop_label": execution_status.stop_label,
        "search": search_facts.search_words,
        "short": parallel.short_text,
    }
    charts = (Path(app.static_folder or "") / UPLOT / "uPlot.iife.min.js").is_file()
    environment.globals |= {
        "SIGNS": execution_status.SIGNS,
        "STATUSES": execution_status.STATUSES,
        "UPLOT": UPLOT if charts else "",
        "csrf_token": auth.csrf_token,
        "person": person,
        "disk_shortage": lambda: disk.shortage(auth.server().config),
        "static": static,
        "here": here,
        "theme": theme,
    }


def person() -> User | None:
    """Return the logged-in user, also on public pages."""
    if user := g.get("user"):
        return cast(User, user)
    identity = auth.session_identity()
    return identity.user if identity else None


def static(name: str) -> str:
    return url_for("static", filename=name)


def here() -> str:
    """Return the path of this page with its query."""
    return request.full_path.rstrip("?")


def _finalize(value: Any) -> Any:
    """Make invisible characters visible in every text that a template prints, before it is escaped."""
    return formats.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

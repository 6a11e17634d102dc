"""Functions and values available in all templates."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any, cast

from flask import Flask, current_app, g, request, url_for
from jinja2 import StrictUndefined
from markupsafe import Markup, escape

from core.model import User
from core.rights import Action
from core.units import format_duration, format_size
from web.http import auth, static_files
from web.http.pages import addresses, forms
from web.http.pages.appearance import theme
from web.services import disk
from web.services.presentation import execution_status, formats, parallel, search_facts
from web.store import users

QUOTED = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"<code>(?:pushmill|git) [\w./:@= -]+</code>")
DELIVERY = re.compile(r"(?<!\S)/p/[a-z0-9-]+/deliveries/\d+/")
COPIED = r'<span class="copied-line">\g<0> <button type="button" class="copy">Copy</button></span>'
UPLOT = "vendor/uplot-1.6.32"


def init_app(app: Flask) -> None:
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.finalize = _finalize
    environment.undefined = StrictUndefined
    environment.filters |= {
        "size": format_size,
        "exact_size": formats.format_exact_size,
        "duration": format_duration,
        "ago": formats.format_age,
        "absolute": formats.format_time,
        "value": formats.format_value,
        "full": formats.format_full_value,
        "one_line": formats.to_one_line,
        "forge_name": formats.format_forge_name,
        "code": code,
        "commands": commands,
        "seconds": execution_status.compute_run_seconds,
        "state_name": execution_status.format_state,
        "search": search_facts.format_search_type,
        "subject": formats.extract_subject,
        "short": parallel.shorten_text,
    }
    environment.globals |= _globals()


def _globals() -> dict[str, Any]:
    charts = (static_files.FOLDER / UPLOT / "uPlot.iife.min.js").is_file()
    return {
        "SIGNS": execution_status.SIGNS,
        "STATUSES": execution_status.STATUSES,
        "UPLOT": UPLOT if charts else "",
        "csrf_token": auth.csrf_token,
        "person": person,
        "may": lambda action: auth.is_allowed(Action(action)),
        "login_buttons": login_buttons,
        "several_users": lambda: users.has_several(auth.get_db()),
        "disk_shortage": lambda: disk.explain_shortage(auth.get_server().config),
        "static": static,
        "here": here,
        "version": version("pushmill"),
        "changes": lambda: g.get("changes", ""),
        "form_state": forms.form_state,
        "form_problem": forms.problem,
        "way_back": addresses.way_back,
        "theme": theme,
    }


def person() -> User | None:
    """Return the logged-in user, also on public pages."""
    if user := g.get("user"):
        return cast(User, user)
    if "visitor" not in g:
        g.visitor = auth.find_session_identity()
    return g.visitor.user if g.visitor else None


def login_buttons() -> list[tuple[str, str]]:
    """Return the providers of logins by name, and the texts of their buttons."""
    configs = auth.get_server().providers.configs
    return [(name, config.text or f"Log in with {name}") for name, config in configs.items()]


def code(text: str) -> Markup:
    """Mark up what a message puts in backticks, as in Markdown."""
    return Markup(QUOTED.sub(r"<code>\1</code>", str(escape(formats.to_visible_text(text)))))  # noqa: S704  (escaped here)


def commands(text: str) -> Markup:
    """Like `code`, with a copy button beside each command, and links to pages of deliveries."""
    return Markup(DELIVERY.sub(r'<a href="\g<0>">\g<0></a>', COMMAND.sub(COPIED, str(code(text)))))  # noqa: S704  (escaped there)


def static(name: str) -> str:
    return url_for("static", version=current_app.config[static_files.VERSION], filename=name)


def here() -> str:
    """Return the path of this page with its query; for the answer to a form, that of the page with the form."""
    return request.full_path.rstrip("?") if request.method == "GET" else addresses.way_back()


def _finalize(value: Any) -> Any:
    """Make invisible characters visible in every text that a template prints, before it is escaped."""
    return formats.to_visible_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value

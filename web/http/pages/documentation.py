"""The documentation: `/docs/NAME/`."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, url_for
from markupsafe import Markup
from werkzeug import Response

from web.http import auth
from web.services.presentation import documentation

blueprint = Blueprint("documentation", __name__)


@blueprint.get("/docs/")
@auth.public
def first() -> Response:
    return redirect(url_for("documentation.show", page=documentation.FIRST))


@blueprint.get("/docs/<page>/")
@auth.public
def show(page: str) -> str:
    found = documentation.get_page(page)
    return render_template(
        "documentation.html",
        page=found,
        content=Markup(found.html),  # noqa: S704  (from files of this program)
        titles=documentation.map_titles_by_name(),
    )

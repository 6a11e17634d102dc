"""The machines that run containers."""

from __future__ import annotations

from flask import Blueprint, render_template

from web import access
from web.services import dispatch
from web.store import runners

blueprint = Blueprint("runners", __name__)


@blueprint.get("/runners/")
@access.user
def listing() -> str:
    db = access.db()
    found = [(runner, dispatch.is_online(runner)) for runner in runners.listing(db)]
    return render_template("runners.html", runners=found, load=runners.load(db))

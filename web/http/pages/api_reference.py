"""The reference of the API for people: `/api/docs/`."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from web.http import auth
from web.http.api import openapi
from web.services.presentation import api_reference

blueprint = Blueprint("api_reference", __name__)


@blueprint.get("/api/docs/")
@auth.public
def show() -> str:
    document = openapi.build_document()
    return render_template(
        "api_reference.html",
        groups=api_reference.list_operations_by_group(document, request.url_root),
        objects=api_reference.list_objects(document),
    )

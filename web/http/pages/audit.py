"""The audit trail of the server, for administrators, and of a project, for its owners; as a page and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import orjson
from flask import Blueprint, Response, render_template, request

from core.model import Project
from core.text import parse_whole_number
from web.http import auth
from web.http.pages.paging import query
from web.store import audit, projects
from web.store.audit import Act, AuditQuery, Kind
from web.store.db import Database

blueprint = Blueprint("audit", __name__)

PER_PAGE = 100
FIELDS = ("username", "action", "kind", "since", "until")
FORM_CHARS = 100


@blueprint.get("/audit/")
@auth.admin
def server() -> str:
    return _page(None)


@blueprint.get("/audit/entries.jsonl")
@auth.admin
def server_entries() -> Response:
    return _download(None)


@blueprint.get("/p/<name>/audit/")
@auth.own
def project(name: str) -> str:
    return _page(projects.get_by_name(auth.get_db(), name))


@blueprint.get("/p/<name>/audit/entries.jsonl")
@auth.own
def project_entries(name: str) -> Response:
    return _download(projects.get_by_name(auth.get_db(), name))


def _page(of: Project | None) -> str:
    db, wanted, limits = auth.get_db(), _wanted(of), auth.get_server().config.limits
    found = audit.search(db, wanted, PER_PAGE + 1)
    return render_template(
        "audit.html",
        project=of,
        entries=found[:PER_PAGE],
        question=wanted,
        actions=[act.value for act in Act],
        kinds=[kind.value for kind in Kind],
        older=query(before=found[PER_PAGE - 1].id) if len(found) > PER_PAGE else "",
        newest=query(before=None) if wanted.before else "",
        oldest=audit.find_oldest(db),
        limits=limits,
        query=query,
    )


def _download(of: Project | None) -> Response:
    response = Response(_lines(auth.get_db(), _wanted(of)), mimetype="application/jsonl")
    name = f"{of.name}-audit.jsonl" if of else "audit.jsonl"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _lines(db: Database, wanted: AuditQuery) -> Iterator[bytes]:
    """Yield all matching entries, newest first; read in batches, so that no statement stays open meanwhile."""
    while found := audit.search(db, wanted, audit.BATCH):
        yield b"".join(orjson.dumps(asdict(entry)) + b"\n" for entry in found)
        wanted = replace(wanted, before=found[-1].id)


def _wanted(of: Project | None) -> AuditQuery:
    asked = {field: request.args.get(field, "").strip()[:FORM_CHARS] for field in FIELDS}
    asked |= {"project_uuid": of.uuid} if of else {"project": request.args.get("project", "").strip()[:FORM_CHARS]}
    return AuditQuery(**asked, before=parse_whole_number(request.args.get("before")) or 0)

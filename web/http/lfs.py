"""Git LFS at /git/<project>.git/info/lfs, for users who push to and clone from this server: batch API, basic transfers.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md. The optional file locking API is not implemented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, g, request, url_for
from werkzeug.exceptions import ClientDisconnected, Forbidden

from core.config import Config
from core.errors import DiskFull, GitError, InvalidInput, NotFound
from core.git import lfs
from core.model import Project, Repository
from core.rights import Action
from web.http import auth, lfs_files
from web.http.git import WatchedPush, replace_uuid_by_name
from web.services import disk
from web.services.repositories import hosting
from web.store import projects

blueprint = Blueprint("lfs", __name__)
blueprint.url_value_preprocessor(replace_uuid_by_name)

MEDIA_TYPE = "application/vnd.git-lfs+json"
PATH = "/git/<name>.git/info/lfs/objects"
BATCH_BYTES = 1024**2
MAX_OBJECTS = 1000  # most objects of one batch; git-lfs sends at most 100
CHUNK = 256 * 1024
ANY_SIZE = 1 << 62


class _Refusal(Exception):
    """Raised with the status and sentence of a response that git-lfs shows to its user."""


@blueprint.errorhandler(_Refusal)
def refuse(refusal: _Refusal) -> Response:
    status, sentence = refusal.args
    return _answer({"message": sentence}, status)


@blueprint.errorhandler(Forbidden)
def forbid(error: Forbidden) -> Response:
    return _answer({"message": error.description}, 403)


@blueprint.errorhandler(NotFound)
def miss(error: NotFound) -> Response:
    return _answer({"message": str(error)}, 404)


@blueprint.post(f"{PATH}/batch")
@auth.git_either
def batch(name: str) -> Response:
    """Return for each object its upload or download URL, or the reason why there is none."""
    _check_person()
    request.max_content_length = BATCH_BYTES
    operation, objects = _requested_objects()
    uploads = operation == "upload"
    action = Action.PUSH if uploads else Action.READ
    auth.enter_named(g.identity, name, action)
    project, repository = _opened(name, uploads=uploads)
    store = hosting.get_lfs_path(auth.get_server().config, repository)
    answers = [
        {
            "oid": oid,
            "size": size,
            **(_upload(store, project, oid, size) if uploads else _download(store, project, oid, size)),
        }
        for oid, size in objects
    ]
    return _answer({"transfer": "basic", "objects": answers})


@blueprint.get(f"{PATH}/<oid>")
@auth.git
def download(name: str, oid: str) -> Response:
    _check_person()
    project, _ = _opened(name, uploads=False)
    return lfs_files.send(auth.get_context(), project, oid)


@blueprint.put(f"{PATH}/<oid>")
@auth.git_push
def upload(name: str, oid: str) -> Response:
    """Store an object whose content has this SHA-256. Repeating it is harmless."""
    _check_person()
    project, repository = _opened(name, uploads=True)
    size = request.content_length
    if size is None or "Transfer-Encoding" in request.headers:
        raise _Refusal(411, "An upload needs a Content-Length.")
    store = hosting.get_lfs_path(auth.get_server().config, repository)
    _check_room(auth.get_server().config, size)
    request.max_content_length = ANY_SIZE
    store.mkdir(mode=0o700, exist_ok=True)
    lfs.remove_leftovers(store)
    try:
        lfs.store_object(store, oid, size, disk.guard_chunks(auth.get_server().config, _chunks(project)))
    except DiskFull as error:
        raise _Refusal(507, str(error)) from None
    except GitError as error:
        raise _Refusal(422, f"Git LFS object {oid[:80]} is refused: {error}") from None
    return Response(status=200)


def _check_person() -> None:
    if g.user is None:
        raise _Refusal(404, "Runners get Git LFS objects by their executions.")


def _opened(name: str, *, uploads: bool) -> tuple[Project, Repository]:
    db = auth.get_db()
    try:
        if uploads:
            project = hosting.ensure_project(auth.get_context(), name, auth.get_current_user().id)
            auth.enter(project.id, auth.explain_invisible_project(name), Action.PUSH)
        else:
            project = projects.get_by_name(db, name)
        repository = hosting.get_repository(db, project)
    except InvalidInput as error:
        raise _Refusal(422, str(error)) from None
    if uploads and repository.forge != projects.HOSTED:
        raise _Refusal(403, f"Project {name} is fetched from {repository.forge}: push there.")
    return project, repository


def _requested_objects() -> tuple[str, list[tuple[str, int]]]:
    """Return the operation, and oid and size of each object. Raises _Refusal."""
    try:
        body = orjson.loads(request.get_data())
        operation, objects = body["operation"], [(item["oid"], item["size"]) for item in body["objects"]]
        hash_algorithm = body.get("hash_algo", "sha256")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise _Refusal(422, "The body is not a batch request of Git LFS.") from None
    fine = all(
        isinstance(oid, str) and lfs.OID.fullmatch(oid) and type(size) is int and size >= 0 for oid, size in objects
    )
    if operation not in ("upload", "download") or hash_algorithm != "sha256" or not fine:
        raise _Refusal(422, "A batch asks to upload or download objects that are named by their SHA-256.")
    if len(objects) > MAX_OBJECTS:
        raise _Refusal(413, f"A batch has at most {MAX_OBJECTS:,} objects, this has {len(objects):,}.")
    return operation, objects


def _upload(store: Path, project: Project, oid: str, size: int) -> dict[str, Any]:
    if lfs.has_object(store, oid, size):
        return {}  # in the protocol: the object already exists
    try:
        _check_room(auth.get_server().config, size)
    except _Refusal as refusal:
        return {"error": {"code": refusal.args[0], "message": refusal.args[1]}}
    return {"actions": {"upload": _action("lfs.upload", project, oid)}}


def _download(store: Path, project: Project, oid: str, size: int) -> dict[str, Any]:
    if not lfs.has_object(store, oid, size):
        return {
            "error": {"code": 404, "message": f"Project {project.name} has no Git LFS object {oid} of {size:,} bytes."}
        }
    return {"actions": {"download": _action("lfs.download", project, oid)}}


def _action(endpoint: str, project: Project, oid: str) -> Mapping[str, Any]:
    """Return a URL on this server, with the credentials that the batch request used."""
    base = (auth.get_server().config.server.url or request.url_root).rstrip("/")
    href = base + url_for(endpoint, name=project.name, oid=oid)
    return {"href": href, "header": {"Authorization": request.headers.get("Authorization", "")}}


def _check_room(config: Config, size: int) -> None:
    if size > config.git.lfs_bytes:
        raise _Refusal(422, f"It has {size:,} bytes, and [git] lfs_bytes allows {config.git.lfs_bytes:,}.")
    try:
        disk.check(config, size)
    except DiskFull as error:
        raise _Refusal(507, str(error)) from None


def _chunks(project: Project) -> Iterator[bytes]:
    body = WatchedPush(request.stream, auth.get_server().config, auth.get_current_identity(), project.id)
    try:
        while chunk := body.read(CHUNK):
            yield chunk
    except ClientDisconnected:
        return  # the received data is too short


def _answer(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, mimetype=MEDIA_TYPE)

"""Git LFS of projects that are pushed to this server, with the real git-lfs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from instance import Checkout
from lfs_client import track
from push_server import PushServer, step

from core.config import Size
from core.git.lfs import has_object
from core.identity import Scope
from web.services import identities
from web.services.repositories import hosting
from web.services.repositories import sources as services
from web.store import projects, sources

pytestmark = pytest.mark.lfs
MB = 1024**2
CONTENT = os.urandom(3 * MB)
OID = hashlib.sha256(CONTENT).hexdigest()


def store(pushes: PushServer, project: str = "model") -> Path:
    found = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, project).id)[0]
    return hosting.get_lfs_path(pushes.config, found)


def pushed(pushes: PushServer, checkout: Checkout) -> str:
    track(checkout)
    sha = checkout.commit({"valohai.yaml": step("train"), "model.bin": CONTENT})
    pushes.push(checkout, "model")
    return sha


def asked(pushes: PushServer, operation: str, *objects: tuple[Any, Any], token: str | None = None) -> httpx.Response:
    body = {"operation": operation, "objects": [{"oid": oid, "size": size} for oid, size in objects]}
    url = f"{pushes.url}/git/model.git/info/lfs/objects/batch"
    return httpx.post(url, json=body, auth=("admin", token or pushes.token), timeout=30, trust_env=False)


def put(pushes: PushServer, oid: str, content: bytes, token: str | None = None) -> httpx.Response:
    url = f"{pushes.url}/git/model.git/info/lfs/objects/{oid}"
    return httpx.put(url, content=content, auth=("admin", token or pushes.token), timeout=30, trust_env=False)


def test_the_first_push_uploads_and_a_clone_downloads(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> None:
    pushed(pushes, checkout)
    assert has_object(store(pushes), OID, len(CONTENT))
    copy = Checkout(tmp_path / "copy")
    copy.git("lfs", "install", "--local")
    copy.git("remote", "add", "origin", pushes.git_url("model"))
    copy.git("pull", "-q", "origin", "main")
    assert (copy.folder / "model.bin").read_bytes() == CONTENT


def test_an_execution_of_it_needs_nothing_more(pushes: PushServer, checkout: Checkout) -> None:
    sha = pushed(pushes, checkout)
    repository = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]
    for state in ("ready", "failed"):
        sources.request(pushes.db, repository.id, sha)
        services.fetch_wanted(pushes.context, repository.id)
        found = sources.find(pushes.db, repository.id, sha)
        assert found is not None
        assert found.state == state
        (store(pushes) / OID[:2] / OID).unlink(missing_ok=True)
        pushes.db.conn.execute("UPDATE source SET state = 'failed'")
        pushes.db.conn.commit()
    assert dict(found.missing)["model.bin"].startswith("its content was not uploaded")


def test_what_is_not_the_object_is_refused_and_nothing_of_it_is_kept(pushes: PushServer, checkout: Checkout) -> None:
    pushed(pushes, checkout)
    other = hashlib.sha256(b"other").hexdigest()
    for oid in (other, "0" * 63, "../../../etc/passwd"):
        assert put(pushes, oid, b"something").status_code in (404, 422)
    assert [file.name for file in store(pushes).rglob("*") if file.is_file()] == [OID]
    assert put(pushes, other, b"other").status_code == 200
    assert put(pushes, other, b"other").status_code == 200


def test_a_token_that_may_only_read_downloads_alone(pushes: PushServer, checkout: Checkout) -> None:
    pushed(pushes, checkout)
    reading = identities.create_token(pushes.db, "admin", [Scope.READ]).secret
    assert asked(pushes, "download", (OID, len(CONTENT)), token=reading).status_code == 200
    assert asked(pushes, "upload", ("0" * 64, 1), token=reading).status_code == 403
    assert put(pushes, hashlib.sha256(b"x").hexdigest(), b"x", token=reading).status_code == 403
    assert asked(pushes, "download", (OID, 1), token="pm_wrong").status_code == 401


def test_batches_are_checked(pushes: PushServer, checkout: Checkout) -> None:
    pushed(pushes, checkout)
    pushes.with_git(lfs_bytes=Size(MB))
    missing = asked(pushes, "download", ("0" * 64, 1), (OID, 5)).json()["objects"]
    assert [item["error"]["code"] for item in missing] == [404, 404]
    assert "actions" not in asked(pushes, "upload", (OID, len(CONTENT))).json()["objects"][0]
    for operation, objects in (
        ("delete", []),
        ("upload", [("x", 1)]),
        ("upload", [("0" * 64, -1)]),
        ("upload", [(1, 1)]),
    ):
        assert asked(pushes, operation, *objects).status_code == 422
    assert asked(pushes, "download", *[("0" * 64, 1)] * 1001).status_code == 413
    for body in (b"", b"[]", b"{}", b'{"operation": "upload", "objects": 5}'):
        url = f"{pushes.url}/git/model.git/info/lfs/objects/batch"
        assert httpx.post(url, content=body, auth=("admin", pushes.token), trust_env=False).status_code == 422


def test_uploads_to_a_project_that_is_fetched_from_elsewhere_are_refused(pushes: PushServer) -> None:
    pushes.add_project("model", "plain", "https://example.org/model.git")
    answer = asked(pushes, "upload", ("0" * 64, 1))
    assert (answer.status_code, "push there" in answer.json()["message"]) == (403, True)

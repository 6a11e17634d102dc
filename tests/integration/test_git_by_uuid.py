"""The UUID of a project in its git address, with a real git client."""

from __future__ import annotations

import pytest
from instance import Checkout
from push_server import PushServer, step

from web.store import projects


def test_a_project_is_pushed_to_and_fetched_by_its_uuid(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    with pushes.worker():
        pushes.push(checkout, "named")
        uuid = projects.get_by_name(pushes.db, "named").uuid
        sha = checkout.commit({"more": "x"})
        said = pushes.push(checkout, uuid)
    assert f"/p/named/commits/{sha}/" in said
    assert checkout.git("ls-remote", pushes.git_url(uuid), "refs/heads/main").stdout.startswith(sha)


def test_a_push_to_a_uuid_that_no_project_has_creates_none(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    with pytest.raises(RuntimeError, match="UUID"):
        checkout.push(pushes.git_url("00000000-0000-4000-8000-000000000000"))

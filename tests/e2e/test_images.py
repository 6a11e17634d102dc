"""Images are pulled from a registry: the log shows the progress, and the digest is stored."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_registry import registry
from instance import Checkout, Instance
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path) as address:
        yield address


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def test_an_absent_image_is_pulled_and_its_digest_kept(server: Instance, checkout: Checkout, images: str) -> None:
    image = f"{images}/ada/box:1"
    docker("tag", "pushmill-test-busybox", image)
    pushed = docker("push", image)
    docker("rmi", image)
    checkout.commit({"valohai.yaml": step("hello", "echo hello").replace("pushmill-quickstart", image)})
    checkout.push(server.git_url("imaged"))
    execution = server.run("imaged", "hello")
    said = server.events(execution["id"], "status")
    assert execution["status"] == "complete", said
    assert any(line.startswith(f"Pulled image {image}") for line in said)
    digest = pushed.split("digest: ")[1].split()[0]
    with sqlite3.connect(server.data / "pushmill.db") as db:
        (kept,) = db.execute("SELECT image_digest FROM execution WHERE uuid = ?", (execution["id"],)).fetchone()
    db.close()
    assert kept == f"{images}/ada/box@{digest}"
    docker("rmi", image)

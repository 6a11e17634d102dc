"""Images come from a registry, with progress in the log and the digest kept."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from instance import Checkout, Instance, free_port, wait_for
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on loopback, where Docker asks for no TLS."""
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(CONFIG.format(folder=tmp_path / "registry", port=port))
    process = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, 20)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def test_an_absent_image_is_pulled_and_its_digest_kept(server: Instance, checkout: Checkout, registry: str) -> None:
    image = f"{registry}/ada/box:1"
    docker("tag", "pushmill-test-busybox", image)
    pushed = docker("push", image)
    docker("rmi", image)
    checkout.commit({"valohai.yaml": step("hello", "echo hello").replace("pushmill-quickstart", image)})
    checkout.push(server.git_url("pulled"))
    execution = server.run("pulled", "hello")
    said = server.events(execution["id"], "status")
    assert execution["status"] == "complete", said
    assert any(line.startswith(f"Pulled image {image}") for line in said)
    digest = pushed.split("digest: ")[1].split()[0]
    with sqlite3.connect(server.data / "pushmill.db") as db:
        (kept,) = db.execute("SELECT image_digest FROM execution WHERE uuid = ?", (execution["id"],)).fetchone()
    db.close()
    assert kept == f"{registry}/ada/box@{digest}"
    docker("rmi", image)

"""A step's image cannot make Docker call this machine, and the answer of a registry is not shown."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data_server import DataServer, served
from docker_registry import PASSWORD, USER, registry
from runner_host import BUSYBOX, docker, execute, execution, runner_host
from runner_server import RunnerServer

pytestmark = pytest.mark.docker

ANSWER = b"internal-answer-1f0c"


@pytest.fixture
def service() -> Iterator[DataServer]:
    """A service on the runner's machine that is not a registry."""
    with served() as running:
        for path in ("/v2/", "/v2/x/manifests/latest"):
            running.routes[path] = lambda handler: handler.answer(404, ANSWER)
        yield running


def pull(server: RunnerServer, directory: Path, image: str, **settings: Any) -> str:
    """Return the message of an execution with that image."""
    with runner_host(directory, server.url, **settings) as host:
        recorded = server.add(execution("true", image=image))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "image"
    assert ANSWER.decode() not in recorded.text("status").decode()
    return str(recorded.final["message"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_docker_is_not_sent_to_this_machine(
    server: RunnerServer, service: DataServer, tmp_path: Path, host: str
) -> None:
    message = pull(server, tmp_path, f"{host}:{service.server_port}/x")
    assert message.startswith(f"The image {host}:{service.server_port}/x is not available: its registry {host}:")
    assert "[runner] allow_registries" in message
    assert service.requests == []


def test_an_answer_is_not_repeated(server: RunnerServer, service: DataServer, tmp_path: Path) -> None:
    registry = f"127.0.0.1:{service.server_port}"
    message = pull(server, tmp_path, f"{registry}/x", allow_registries=(registry,))
    assert service.requests
    assert ANSWER.decode() not in message
    assert message.startswith(f"The image {registry}/x is not available: ")


@pytest.mark.parametrize("how", ["config", "helper"])
def test_a_private_image_is_pulled_with_what_docker_login_left(
    server: RunnerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """In the file that DOCKER_CONFIG names, or with a credential helper of the registry; read when a slot starts."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    with registry(tmp_path, private=True) as address:
        image = f"{address}/private/box:{tmp_path.name[-1]}"
        docker("tag", BUSYBOX, image)
        try:
            subprocess.run(
                ["docker", "login", "-u", USER, "--password-stdin", address], input=PASSWORD.encode(), check=True
            )
            docker("push", image)
        finally:
            docker("rmi", image)
        login = (tmp_path / "docker" / "config.json").read_text()
        (tmp_path / "docker" / "config.json").unlink()
        assert "needs a `docker login`" in pull(server, tmp_path / "out", image, allow_registries=(address,))
        if how == "helper":
            helper = tmp_path / "docker-credential-tests"
            helper.write_text(f"""#!/bin/sh\necho '{{"Username": "{USER}", "Secret": "{PASSWORD}"}}'\n""")
            helper.chmod(0o755)
            monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            login = json.dumps({"credHelpers": {address: "tests"}})
        (tmp_path / "docker" / "config.json").write_text(login)
        with runner_host(tmp_path / "in", server.url, allow_registries=(address,)) as host:
            recorded = server.add(execution("echo private", image=image))
            execute(host, recorded.spec.uuid, 1)
            docker("rmi", image)
        assert recorded.final["state"] == "complete", recorded.final
        assert recorded.lines() == ["private"]

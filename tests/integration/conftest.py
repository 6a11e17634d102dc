from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer
from fake_forge import FakeForge, running
from git_over_http import GitServer, served
from instance import Checkout
from push_server import PushServer
from redis_site import RedisSite
from runner_host import runner_host
from runner_server import RunnerServer
from told_forge import ToldForge

from runner.host import Host


@pytest.fixture
def server() -> Iterator[RunnerServer]:
    server = RunnerServer()
    yield server
    server.close()


@pytest.fixture
def host(server: RunnerServer, tmp_path: Path) -> Iterator[Host]:
    with runner_host(tmp_path, server.url, allow_registries=("127.0.0.1",)) as host:
        yield host


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "data")
    yield server
    server.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RedisSite]:
    site = RedisSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def pushes(tmp_path: Path) -> Iterator[PushServer]:
    server = PushServer(tmp_path / "server")
    server.start()
    yield server
    server.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    with served(tmp_path / "forge") as running:
        yield running


@pytest.fixture
def forge(request: pytest.FixtureRequest) -> Iterator[FakeForge]:
    with running(getattr(request, "param", "github")) as forge:
        yield forge


@pytest.fixture
def told(forge: FakeForge, tmp_path: Path, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToldForge]:
    told = ToldForge(tmp_path, forge, checkout, monkeypatch)
    yield told
    told.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(directory)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)

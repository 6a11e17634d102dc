from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_host import runner_host
from runner_server import RunnerServer

from runner.host import Host


@pytest.fixture
def server() -> Iterator[RunnerServer]:
    server = RunnerServer()
    yield server
    server.close()


@pytest.fixture
def host(server: RunnerServer, tmp_path: Path) -> Iterator[Host]:
    with runner_host(tmp_path, server.url) as host:
        yield host

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Checkout, Instance, running

# small bounds, so that tests can reach them; an input server on loopback is allowed by the name of "localhost" only
CONFIG = """
[git]
allow_local = true
[runner]
memory = "300 MiB"
allow_input_hosts = ["localhost"]
allow_registries = ["127.0.0.1"]
[limits]
log = "1 MB"
output_count = 50
stop_grace = "3 s"
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("data"), CONFIG) as instance:
        yield instance


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Checkout, Instance, running
from machines import SMALL_BOUNDS


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("data"), SMALL_BOUNDS) as instance:
        yield instance


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("core", "hooks", "runner", "web")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_installs_a_package_of_our_names(package: str) -> None:
    """Generic top-level names: web.py, for one, would silently replace ours."""
    assert set(packages_distributions().get(package, [])) <= {"pushmill"}


def test_all_packages_come_from_one_place() -> None:
    origins = [spec.origin for package in PACKAGES if (spec := find_spec(package)) is not None]
    assert len({Path(origin or "").parent.parent for origin in origins}) == 1

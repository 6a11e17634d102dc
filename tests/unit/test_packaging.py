from __future__ import annotations

from importlib.metadata import packages_distributions

import pytest


@pytest.mark.parametrize("package", ["core", "hooks", "runner", "web"])
def test_no_other_distribution_installs_a_package_of_our_names(package: str) -> None:
    """Generic top-level names: web.py, for one, would silently replace ours."""
    assert set(packages_distributions()[package]) == {"pushmill"}

"""Known vulnerabilities of programs around containers, by version."""

from __future__ import annotations

import pytest

from web.cli.known_vulnerabilities import describe_vulnerabilities

OF_2025 = "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881"


@pytest.mark.parametrize(
    ("program", "version", "found"),
    [
        ("runc", "1.1.5+ds1", f"CVE-2024-21626, {OF_2025}"),
        ("runc", "1.1.12", OF_2025),
        ("runc", "1.2.7", OF_2025),
        ("runc", "1.2.8", ""),
        ("runc", "1.3.2", OF_2025),
        ("runc", "1.3.3", ""),
        ("runc", "1.4.0", ""),
        ("runc", "unknown", ""),
        ("git", "2.30.2", "CVE-2024-32002"),
        ("git", "2.39.3", "CVE-2024-32002"),
        ("git", "2.39.5", ""),
        ("git", "2.40.1", "CVE-2024-32002"),
        ("git", "2.50.1.windows.1", ""),
        ("nvidia-container-toolkit", "1.17.7", "CVE-2025-23266"),
        ("nvidia-container-toolkit", "1.17.8", ""),
        ("nvidia-container-toolkit", "1.18.0", ""),
    ],
)
def test_a_hole_is_in_all_versions_before_its_fix_in_the_same_line(program: str, version: str, found: str) -> None:
    assert describe_vulnerabilities(program, version) == found

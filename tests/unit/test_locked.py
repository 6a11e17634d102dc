"""requirements/*.txt pin the dependencies of pyproject.toml by hash, and name no index."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([a-z0-9-]+)==(\S+)((?: ; [^\\]+)?)((?: --hash=sha256:[0-9a-f]{64})+)")
OWN = "pyproject.toml"  # in the comment of a package that pyproject.toml names
ADVICE = "run `make lock` and commit requirements/"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, list[str]]:
    """The versions that a file pins, by package: a package may have one for each Python."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.replace(" \\\n   ", "").splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        pin = PIN.fullmatch(line)
        assert pin is not None, f"{line[:80]} in {name}.txt is not a pin with hashes: {ADVICE}"
        found.setdefault(pin[1], []).append(pin[2])
    return found


def asked_for(*more: str) -> list[str]:
    groups = PROJECT["dependency-groups"] | PROJECT["project"]["optional-dependencies"]
    return [line for name in more for line in groups[name]]


BASE = PROJECT["project"]["dependencies"]
WANTED = {
    "up": [*BASE, *asked_for("build")],
    "test": [*BASE, *asked_for("build", "test")],
    "npm": asked_for("npm"),
    "tools": asked_for("tools"),
}


def unmet(wanted: Iterable[str], pinned: dict[str, list[str]]) -> list[str]:
    requirements = [Requirement(line) for line in wanted]
    return [
        str(requirement)
        for requirement in requirements
        if not any(requirement.specifier.contains(v) for v in pinned.get(canonicalize_name(requirement.name), []))
    ]


@pytest.mark.parametrize("name", WANTED)
def test_every_dependency_is_pinned_to_a_version_that_pyproject_allows(name: str) -> None:
    assert unmet(WANTED[name], pins(name)) == [], ADVICE


@pytest.mark.parametrize("name", WANTED)
def test_nothing_is_pinned_for_a_dependency_that_is_gone(name: str) -> None:
    blocks = re.split(r"^(?=[a-z])", (ROOT / "requirements" / f"{name}.txt").read_text(), flags=re.MULTILINE)
    direct = {block.partition("==")[0] for block in blocks if OWN in block}
    assert direct
    wanted = {canonicalize_name(Requirement(line).name) for line in WANTED[name]}
    assert direct <= wanted, ADVICE


def test_what_runs_is_what_is_tested() -> None:
    up, test = pins("up"), pins("test")
    assert {name: test.get(name) for name in up} == up, ADVICE


def test_the_hatchling_that_pyproject_asks_for_is_the_pinned_one() -> None:
    assert unmet(PROJECT["build-system"]["requires"], pins("up")) == [], ADVICE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_a_registry(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f|--trusted-host)\b", text, re.MULTILINE)
    assert "make lock" in text.splitlines()[1]


def test_everything_that_installs_asks_for_hashes() -> None:
    scripts = [path for path in (ROOT / ".ci").iterdir() if path.is_file()]
    installing = [
        path.name for path in scripts if re.search(r"pip (install|download)|^if ! pip ", path.read_text(), re.M)
    ]
    assert set(installing) >= {"install", "npm", "payloads", "lock", "audit"}
    for name in installing:
        assert "--require-hashes" in (ROOT / ".ci" / name).read_text(), name

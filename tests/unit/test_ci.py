"""CI skips no test because something is missing, and packages from npm are pinned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import leftovers
import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.docker
def test_marked(): pass

@pytest.mark.payloads
def test_of_payloads(): pass

def test_that_skips_itself(): pytest.skip("no docker here")

def test_that_skips_for_another_reason(): pytest.skip("a full moon")
"""


@pytest.mark.parametrize(("ci", "outcomes"), [("", "4 skipped"), ("true", "1 skipped")])
def test_what_is_missing_skips_tests_at_home_and_fails_them_in_ci(tmp_path: Path, ci: str, outcomes: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {ROOT / 'tests'}\nmarkers =\n docker: x\n payloads: x\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/base", str(tmp_path)],
        env={**os.environ, "CI": ci, "DOCKER_HOST": f"unix://{tmp_path}/none", leftovers.VARIABLE: f"{leftovers.SESSION}c"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    summary = done.stdout.splitlines()[-1]
    assert outcomes in summary, done.stdout
    assert ("failed" in summary) is bool(ci)
    assert done.returncode == (1 if ci else 0)


def test_what_comes_from_npm_is_pinned_and_names_no_registry() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    wanted = package["dependencies"] | package["devDependencies"]
    lock = (ROOT / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(package["integrity"] for name, package in packages.items() if name)
    assert "://" not in lock
    assert "resolved" not in lock


def test_what_is_only_read_by_tests_is_pinned_and_names_no_registry() -> None:
    lines = (ROOT / "tests" / "payloads.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in wanted)
    assert len(wanted) == 3


@pytest.mark.parametrize("script", sorted((ROOT / ".ci").iterdir()), ids=lambda path: path.name)
def test_every_script_can_be_run_and_parsed(script: Path) -> None:
    assert os.access(script, os.X_OK)
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", str(script)], check=True)


def test_ci_runs_what_make_test_runs() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ".ci/test"
    text = (ROOT / ".ci" / "test").read_text()
    commands = re.findall(r"^\.venv/bin/(\S+)", text, re.MULTILINE)
    assert commands == ["mypy", "ruff", "ruff", "lint-imports", "pytest", "pytest"]
    run = set(re.findall(r"tests/\w+(?!\w*\.)", text))
    assert run == {f"tests/{file.parent.name}" for file in (ROOT / "tests").glob("*/test_*.py")}
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("failing", ["", "mypy", "ruff", "lint-imports", "pytest"])
def test_whatever_fails_fails_the_whole_and_is_shown(tmp_path: Path, failing: str) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("mypy", "ruff", "lint-imports", "pytest"):
        program = programs / name
        program.write_text(f"#!/bin/sh\necho {name} has spoken\nexit {int(name == failing)}\n")
        program.chmod(0o755)
    done = subprocess.run([ROOT / ".ci" / "test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is bool(failing)
    assert f"{failing or 'mypy'} has spoken" in done.stdout

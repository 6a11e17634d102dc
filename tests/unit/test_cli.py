from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import config as configuration
from web.cli import main, project
from web.cli.lazy_commands import load
from web.services import setup

HEAVY = {"flask", "gunicorn", "docker", "pygit2", "rq", "optuna", "httpx", "valohai_yaml", "croniter"}


def loaded_by(statement: str) -> set[str]:
    """The names of all modules that a fresh Python has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_and_version_import_no_heavy_library() -> None:
    for option in ("--help", "--version"):
        statement = f"from web.cli.main import group\ngroup([{option!r}], prog_name='pushmill', standalone_mode=False)"
        assert not loaded_by(statement) & HEAVY


@pytest.mark.parametrize(
    "command",
    [
        "project --help",
        "project list",
        "project show model",
        "project rules model",
        "project deploy-key model",
        "project variable list model",
        "project environments model",
        "environment list",
        "runner list",
        "user list",
        "token list",
        "doctor --help",
    ],
)
def test_a_command_that_only_reads_the_database_imports_no_heavy_library(command: str, tmp_path: Path) -> None:
    setup.prepare(configuration.load(tmp_path))
    statement = f"""
import contextlib, os
from core.errors import PushmillError
from web.cli.main import group
os.environ["PUSHMILL_DATA"] = {str(tmp_path)!r}
with contextlib.suppress(PushmillError):  # there is no project
    group({command.split()!r}, standalone_mode=False)
"""
    loaded = loaded_by(statement)
    assert not loaded & {*HEAVY, "redis"}
    assert "sqlite_utils" in loaded or command.endswith("--help")


def test_the_process_that_keeps_all_others_alive_stays_small() -> None:
    loaded = loaded_by("import web.processes.up")
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.split(".")[0] == "runner"}


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in main.COMMANDS)
    assert not any(name in done.stdout for name in main.HIDDEN)


TABLES = {"": {**main.COMMANDS, **main.HIDDEN}, "project": project.PROJECT, "hook": project.HOOK, "runner": main.RUNNER}


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, table in TABLES.items() for name in table])
def test_every_command_can_be_loaded_and_has_its_name(group: str, name: str) -> None:
    command = load(TABLES[group][name][0])
    assert command.name == name
    assert command.help or command.hidden or name == "quickstart"


def test_an_expected_error_is_one_sentence_and_exit_code_1() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli.main", "doctor", "--config", "/does/not/exist.toml"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "pushmill: there is no configuration file /does/not/exist.toml: copy config.example.toml to start one\n"
    )

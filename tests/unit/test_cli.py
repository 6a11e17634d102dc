from __future__ import annotations

import os
import subprocess
import sys

import pytest

from web import cli

HEAVY = {"flask", "gunicorn", "docker", "pygit2", "rq"}


def loaded_by(statement: str) -> set[str]:
    """The names of all modules that a fresh Python has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_and_version_import_no_heavy_library() -> None:
    for option in ("--help", "--version"):
        statement = f"from web.cli import group\ngroup([{option!r}], prog_name='pushmill', standalone_mode=False)"
        assert not loaded_by(statement) & HEAVY


def test_the_process_that_keeps_all_others_alive_stays_small() -> None:
    loaded = loaded_by("import web.up")
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.split(".")[0] == "runner"}


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "web.cli", "--help"], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert not any(name in done.stdout for name in cli.HIDDEN)


@pytest.mark.parametrize("name", [*cli.COMMANDS, *cli.HIDDEN])
def test_every_command_can_be_loaded(name: str) -> None:
    command = cli.group.get_command(cli.group.make_context("pushmill", ["--help"], resilient_parsing=True), name)
    assert command is not None


def test_an_expected_error_is_one_sentence_and_exit_code_1() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli", "doctor", "--config", "/does/not/exist.toml"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "pushmill: there is no configuration file /does/not/exist.toml; config.example.toml is a start\n"
    )

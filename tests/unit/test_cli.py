from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import made_once
import pytest

from core import config as configuration
from core.errors import NotFound
from core.names import explain_unknown_name
from web.cli import main, project
from web.cli.lazy_commands import load
from web.cli.options import get_project, open_server
from web.services import setup
from web.services.repositories import hosting
from web.store import users

HEAVY = {"flask", "uvicorn", "docker", "pygit2", "rq", "optuna", "httpx", "valohai_yaml", "croniter"}


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
    made_once.prepare(configuration.load(tmp_path))
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


def test_the_processes_of_up_share_no_library_that_few_servers_need() -> None:
    assert not loaded_by("import web.processes.up") & {"authlib", "argon2", "httpx", "joserfc", "optuna"}


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in main.COMMANDS)
    assert not any(name in done.stdout for name in main.HIDDEN)


TABLES = {"": {**main.COMMANDS, **main.HIDDEN}, "project": project.PROJECT, "hook": project.HOOK, "runner": main.RUNNER}
VERBS = {
    "Add", "Allow", "Check", "Comment", "Create", "Disable", "Drain", "Enable", "Fetch", "Install", "Limit", "List", "Print",
    "Push", "Register", "Remove", "Replace", "Resume", "Revoke", "Run", "Set", "Show", "Store", "Update", "Write",
}  # fmt: skip


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, table in TABLES.items() for name in table])
def test_every_command_can_be_loaded_and_has_its_name_and_one_text(group: str, name: str) -> None:
    target, line = TABLES[group][name]
    command = load(target)
    assert command.name == name
    assert command.hidden or first_sentence(command) == line


def every_command(command: click.Command, path: str = "pushmill") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every_command(found, f"{path} {name}")


def first_sentence(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


@pytest.mark.parametrize(("path", "command"), list(every_command(main.group)))
def test_the_first_sentence_of_each_help_is_short_and_begins_with_a_verb(path: str, command: click.Command) -> None:
    sentence = first_sentence(command)
    assert 0 < len(sentence) <= 50, path
    assert sentence.endswith(".")
    assert sentence.split()[0].strip(",") in VERBS
    assert all(option.help for option in command.params if isinstance(option, click.Option)), path


def test_an_unknown_command_is_answered_with_the_one_that_was_meant() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli.main", "project", "trigg"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert 'there is no command "trigg": did you mean "trigger"?' in done.stderr


def test_an_expected_error_is_one_sentence_and_exit_code_1() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "web.cli.main", "doctor", "--config", "/does/not/exist.toml"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "pushmill: there is no configuration file /does/not/exist.toml: copy config.example.toml to start one\n"
    )


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("trian", ["test", "train"], 'there is no step "trian": did you mean "train"?'),
        ("x", ["test", "train"], 'there is no step "x"; there are: test, train'),
        ("x", [], 'there is no step "x"; there are: none'),
    ],
)
def test_an_unknown_name_comes_with_the_one_that_was_meant_or_all(name: str, known: list[str], said: str) -> None:
    assert explain_unknown_name("step", name, known) == said


def test_an_unknown_name_of_any_length_among_many_is_a_sentence_of_bounded_length() -> None:
    known = [f"{number}-{'y' * 500}" for number in range(10_000)]
    assert len(explain_unknown_name("step", "x" * 1_000_000, known)) < 700


def test_an_unknown_project_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    config = configuration.load(tmp_path)
    made_once.prepare(config)
    with open_server(tmp_path, None) as context:
        admin = users.find_by_name(context.db, setup.ADMIN)
        assert admin is not None
        hosting.add_project(context, "model", admin.id, forge="plain")
        with pytest.raises(NotFound, match='there is no project "modle": did you mean "model"'):
            get_project(context, "modle")
        assert get_project(context, "model").name == "model"

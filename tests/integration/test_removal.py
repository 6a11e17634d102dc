"""Removing a project removes all of it and nothing else, also if it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from click.testing import CliRunner, Result

from core.model import Commit, Project
from core.states import State
from web.cli.main import group
from web.http.app import create_app
from web.services import removal
from web.services.forges import enqueue
from web.services.repositories import hosting
from web.store import commits, outbox, projects
from web.store import removal as removed_rows
from web.store.db import execute, fetch_row, fetch_rows

OUTSIDE = ("_sqlite_migrations", *removed_rows.KEPT)
NAMED = ("project", "execution", "pipeline_node")


def tables(api: ApiServer) -> list[str]:
    return [found["name"] for found in fetch_rows(api.db, "SELECT name FROM sqlite_master WHERE type = 'table'")]


def content(api: ApiServer) -> tuple[dict[str, list[Any]], set[Path]]:
    """All rows and files that may belong to projects."""
    found = {
        table: sorted(map(repr, fetch_rows(api.db, f"SELECT * FROM [{table}]")))
        for table in tables(api)
        if table not in OUTSIDE
    }
    config = api.config
    files = {path for folder in (config.git_dir, config.logs_dir, config.outputs_dir) for path in folder.rglob("*")}
    return found, {path for path in files if path.is_file() and path.name != "prepare.lock"}


def row_for(api: ApiServer, table: str, column: str, value: int) -> None:
    """A row with plausible values, whatever columns the table has."""
    values: dict[str, Any] = {}
    for found in fetch_rows(api.db, f"PRAGMA table_info([{table}])"):
        if found["notnull"] and found["dflt_value"] is None and not found["pk"]:
            values[found["name"]] = 1 if found["type"] == "INTEGER" else f"{table}-{value}"
        elif found["pk"] and found["name"] != "id":
            values[found["name"]] = f"{table}-{value}"
    values[column] = value
    for name in ("project_id", "user_id", "creator_id", "commit_id"):
        values |= {name: 1} if name in values and name != column else {}
    marks_ = ", ".join("?" * len(values))
    names = ", ".join(values)
    execute(api.db, f"INSERT INTO [{table}] ({names}) VALUES ({marks_})", tuple(values.values()))


def filled(api: ApiServer, name: str = "gone") -> Project:
    """A project with something in every table and every folder."""
    project = api.project(name)
    commit = api.add_commit(project)
    repository = hosting.get_repository(api.db, project)
    for path in (hosting.get_repository_path(api.config, repository), hosting.get_forks_path(api.config, repository)):
        (path / "objects").mkdir(parents=True)
        (path / "objects" / "pack").write_bytes(b"objects")
    task = api.add_task(project=project, commit_id=commit.id)
    pipeline = api.add_pipeline(("a", "execution"), project_id=project.id, commit_id=commit.id)
    execute(api.db, "UPDATE task SET state = 'complete'")
    execute(api.db, "UPDATE pipeline SET state = 'complete'")
    first: int | None = None
    for number in range(3):
        uuid, attempt = api.started(commit=commit, task_id=task.id, trial=number)
        execute(api.db, "UPDATE execution SET retry_of = ? WHERE uuid = ?", (first, uuid))
        first = api.execution(uuid).id
        assert api.log(uuid, b'{"a": 1}\nline\n', 0).status_code == 200
        (api.config.logs_dir / uuid[:2] / f"{uuid}.stdout.7.log").write_bytes(b"the newest lines\n")
        for output in ("x", "y"):
            assert api.upload(uuid, output, b"content").status_code == 200
        usage = {"attempt": attempt, "samples": [[1, "cpu", 1.0]]}
        assert api.call(f"executions/{uuid}/usage", usage).status_code == 200
        assert api.call(f"executions/{uuid}/final", {"attempt": attempt, "state": "complete"}).status_code == 200
    assert first is not None
    row_for(api, "metadata", "execution_id", first)  # of an older release
    for table in removed_rows.OF_REPOSITORY:
        if table not in ("git_commit",):
            row_for(api, table, "repository_id", repository.id)
    for table in ("variable", "launch_key", "datum_alias", "member_source", "saved_view"):
        row_for(api, table, "project_id", project.id)
    assert pipeline.project_id == project.id
    return projects.get(api.db, project.id)


def command(api: ApiServer, *arguments: str, answer: str = "") -> Result:
    words = ["project", "remove", *arguments, "--data", str(api.config.data)]
    return CliRunner().invoke(group, words, input=answer)


def test_every_table_is_known_to_belong_to_projects_or_not(api: ApiServer) -> None:
    known = {*OUTSIDE, *NAMED, *removed_rows.OF_EXECUTION, *removed_rows.OF_REPOSITORY, *removed_rows.OF_PROJECT}
    assert {table for table in tables(api) if not table.startswith("sqlite_")} == known


def test_nothing_is_left_and_nothing_else_is_touched(api: ApiServer) -> None:
    api.stored()
    before = content(api)
    filled(api)
    assert all(len(found) > len(before[0][table]) for table, found in content(api)[0].items())
    result = command(api, "gone", "--yes")
    assert result.exit_code == 0, result.output
    assert content(api) == before
    assert fetch_rows(api.db, "PRAGMA foreign_key_check") == []
    assert api.get("projects/gone/").status_code == 404


def test_a_dry_run_and_a_question_that_is_answered_no_remove_nothing(api: ApiServer) -> None:
    filled(api)
    before = content(api)
    shown = command(api, "gone", "--dry-run")
    assert shown.exit_code == 0
    for text in ("3 executions", "1 task\n", "1 pipeline\n", "1 delivery\n", "6 output files, 42 B"):
        assert text in shown.output
    found = json.loads(command(api, "gone", "--dry-run", "--json").output)
    assert (found["executions"], found["output_bytes"]) == (3, 42)
    assert found["log_bytes"] > 0
    assert found["repository_bytes"] > 0
    assert command(api, "gone", answer="n\n").exit_code == 1
    assert content(api) == before


def test_it_can_be_interrupted_at_every_step_and_repeated(api: ApiServer) -> None:
    api.stored()
    before = content(api)
    interrupted_after = 0
    while True:
        if not [project for project in projects.list_projects(api.db) if project.name == "gone"]:
            project = filled(api)
        steps = removal.remove_in_steps(api.context, project)
        done = sum(1 for _ in zip(range(interrupted_after), steps, strict=False))
        steps.close()
        if done < interrupted_after:
            break
        interrupted_after += 1
        assert fetch_rows(api.db, "PRAGMA foreign_key_check") == []
        for _ in removal.remove_in_steps(api.context, project):
            pass
        assert content(api) == before
    assert interrupted_after > 15


def test_what_runs_keeps_the_project_and_can_be_stopped_with_it(api: ApiServer) -> None:
    project = filled(api)
    waiting = api.add_execution(_commits(api, project)[0])
    before = content(api)
    refused = command(api, "gone", "--yes")
    assert (refused.exit_code, str(refused.exception)) == (1, "#4 of gone have not ended: stop them, or use --force")
    assert content(api) == before
    assert waiting.state is State.CREATED
    assert command(api, "gone", "--yes", "--force").exit_code == 0
    assert [project.name for project in projects.list_projects(api.db)] == ["demo"]


def test_a_started_execution_is_killed_before_it_is_removed(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    project = filled(api)
    execute(api.db, "DELETE FROM variable")  # which nobody can decrypt
    uuid, attempt = api.started(commit=_commits(api, project)[0])
    monkeypatch.setattr(removal, "WAIT_S", 0.0)
    result = command(api, "gone", "--yes", "--force")
    assert "#4 of project gone did not end within 0 s" in str(result.exception)
    orders = api.call(f"executions/{uuid}/heartbeat", {"attempt": attempt}).json
    assert orders is not None
    assert orders["stop"] == "kill"
    assert api.call(f"executions/{uuid}/final", {"attempt": attempt, "state": "stopped"}).status_code == 200
    assert command(api, "gone", "--yes").exit_code == 0


def test_an_execution_that_is_created_meanwhile_keeps_the_project(api: ApiServer) -> None:
    project = filled(api)
    commit = _commits(api, project)[0]
    steps = removal.remove_in_steps(api.context, project)
    next(steps)
    api.add_execution(commit)
    with pytest.raises(Exception, match="meanwhile"):
        list(steps)
    assert projects.get_by_name(api.db, "gone").id == project.id


def test_state_changes_after_a_removal_are_not_taken_for_known_ones(api: ApiServer) -> None:
    api.stored()
    filled(api)
    enqueue.enqueue_changes(api.db)
    assert command(api, "gone", "--yes").exit_code == 0
    newest = fetch_row(api.db, "SELECT MAX(id) AS id FROM state_change")
    assert newest is not None
    assert outbox.find_position(api.db, enqueue.CURSOR) == newest["id"]


def test_the_server_starts_without_what_an_interrupted_removal_moved_aside(api: ApiServer) -> None:
    left = api.config.git_dir / "removed-0123"
    left.mkdir()
    create_app(api.config)
    assert not left.exists()


def _commits(api: ApiServer, project: Project) -> list[Commit]:
    found = fetch_rows(api.db, "SELECT id FROM git_commit WHERE project_id = ? ORDER BY id LIMIT 1", (project.id,))
    return [commits.get(api.db, item["id"]) for item in found]

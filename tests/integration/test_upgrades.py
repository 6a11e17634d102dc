"""A database of any earlier version opens, keeps its rows, and is copied before it is changed."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import CannotStart
from web.store import migrations, schema
from web.store.db import Database, connect
from web.store.script import run_script

DUMPS = Path(__file__).parent.parent / "fixtures" / "databases"
CHECKSUMS = Path(__file__).parent.parent / "fixtures" / "migrations.sha256"
OPEN_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from web.store.db import connect
from web.store.schema import migrate
path = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.read(1)
migrate(connect(path), path, print)
"""


def restored(dump: str, path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Write the dump's database to `path`; its rows by table."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript((DUMPS / dump).read_text())
        return rows_of(db)


def rows_of(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: sorted(db.execute(f"SELECT * FROM [{name}]"), key=repr) for name in names if name[0] != "_"}


def shape(db: Database) -> dict[str, list[str]]:
    """The definitions of each table, whatever the order in which they were added, and of each index."""
    found = db.conn.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '_sqlite%'")
    return {name: definitions(sql) for name, sql in found}


def definitions(sql: str) -> list[str]:
    text = re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", sql))
    head, body, tail = text[: text.index("(")], text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") :]
    parts, depth = [""], 0
    for character in body:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    ordered = parts if head.startswith("CREATE INDEX") else sorted(parts)
    return [head.strip().replace('"', ""), *(part.strip() for part in ordered), tail.strip()]


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, list[str]]:
    path = tmp_path / "fresh.db"
    with closing(connect(path)) as db:
        schema.migrate(db, path, print)
        return shape(db)


@pytest.mark.parametrize("dump", sorted(file.name for file in DUMPS.glob("*.sql")))
def test_a_database_of_an_earlier_version_gets_todays_schema_and_keeps_its_rows(
    dump: str, fresh: dict[str, list[str]], tmp_path: Path
) -> None:
    path, said = tmp_path / "pushmill.db", []
    before = restored(dump, path)
    with closing(connect(path)) as db:
        schema.migrate(db, path, said.append)
        assert shape(db) == fresh
        after = rows_of(db.conn)
        for table, rows in before.items():
            assert len(after[table]) == len(rows) > 1, table
            columns = [
                row[1] for row in sqlite3.connect(tmp_path / "fresh.db").execute(f"PRAGMA table_info([{table}])")
            ]
            assert len(columns) == len(after[table][0])
        assert db.conn.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copies = list((tmp_path / "backups").iterdir())
    assert len(copies) == 1
    assert str(copies[0]) in said[0]
    with closing(sqlite3.connect(copies[0])) as copy:
        assert rows_of(copy) == before


def test_every_column_that_an_earlier_version_wrote_has_its_value_still(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    restored("b1e6eca.sql", path)
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        before = {name: [dict(row) for row in db.execute(f"SELECT * FROM [{name}]")] for name in rows_of(db)}
    with closing(connect(path)) as db:
        schema.migrate(db, path, print)
        db.conn.row_factory = sqlite3.Row
        for name, rows in before.items():
            after = [dict(row) for row in db.conn.execute(f"SELECT * FROM [{name}]")]
            for old, new in zip(rows, after, strict=True):
                assert new == new | old, name


def test_what_messages_decided_is_a_value_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    restored("a74f688.sql", path)
    with closing(sqlite3.connect(path)) as db:
        pipeline, node = (
            db.execute(f"SELECT MIN(id) FROM {table}").fetchone()[0] for table in ("pipeline", "pipeline_node")
        )
        states = [
            ("started", "", None),
            ("started", "a failed", None),
            ("started", "stopped by ada", "2026"),
            ("error", "x", None),
        ]
        for place, (state, message, asked) in enumerate(states):
            copy_row(db, "pipeline", pipeline, uuid=f"p{place}", counter=1000 + place, state=state, message=message,
                     stop_requested_at=asked, ended_at="2026" if state == "error" else None)  # fmt: skip
        for place, message in enumerate(("skipped: a failed", "#1 was stopped")):
            copy_row(db, "pipeline_node", node, uuid=f"n{place}", name=f"n{place}", state="stopped", message=message)
        push = db.execute("SELECT MIN(id) FROM push").fetchone()[0]
        for outcome in ("failed: no such commit", "1 execution"):
            copy_row(db, "push", push, identity=outcome, outcome=outcome)
        db.commit()
    with closing(connect(path)) as db:
        schema.migrate(db, path, print)
        endings = db.execute("SELECT ending FROM pipeline WHERE counter >= 1000 ORDER BY counter").fetchall()
        assert endings == [(None,), ("error",), ("stopped",), (None,)]
        assert db.execute("SELECT skipped FROM pipeline_node WHERE uuid IN ('n0', 'n1') ORDER BY uuid").fetchall() == [
            (1,),
            (0,),
        ]
        results = db.execute(
            "SELECT result FROM push WHERE identity IN ('failed: no such commit', '1 execution') ORDER BY id"
        )
        assert results.fetchall() == [("failed",), ("",)]


def test_an_approval_to_start_is_over_after_the_upgrade_and_one_to_complete_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    restored("a74f688.sql", path)
    times = {"starts": ("created", None), "runs": ("started", "2026-02"), "ends": ("started", "2026-01")}
    with closing(sqlite3.connect(path)) as db:
        node = db.execute("SELECT MIN(id) FROM pipeline_node").fetchone()[0]
        for name, (state, started_at) in times.items():
            copy_row(db, "pipeline_node", node, uuid=name, name=name, state=state, started_at=started_at,
                     approval_asked_at="2026-01-02", approved_at="2026-01-03")  # fmt: skip
        db.commit()
    with closing(connect(path)) as db:
        schema.migrate(db, path, print)
        found = dict(db.execute("SELECT uuid, approved_at FROM pipeline_node").fetchall())
        assert {name: found[name] for name in times} == {"starts": "2026-01-03", "runs": None, "ends": "2026-01-03"}


def copy_row(db: sqlite3.Connection, table: str, row_id: int, **columns: object) -> None:
    """Add a row that is like another one but for these columns."""
    names = [row[1] for row in db.execute(f"PRAGMA table_info([{table}])") if row[1] not in ("id", *columns)]
    sql = f"INSERT INTO {table} ({', '.join((*columns, *names))}) SELECT {', '.join('?' * len(columns))}, {', '.join(names)}"
    db.execute(f"{sql} FROM {table} WHERE id = ?", (*columns.values(), row_id))


def test_the_last_three_copies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    folder = tmp_path / "backups"
    folder.mkdir()
    for number in range(1, 5):
        (folder / f"before-{number}.db").touch()
        os.utime(folder / f"before-{number}.db", (number, number))
    restored("40e0c88.sql", path)
    with closing(connect(path)) as db:
        schema.migrate(db, path, print)
        assert sorted(file.name for file in folder.iterdir()) == ["before-3.db", "before-4.db", "before-7.db"]
        schema.migrate(db, path, print)
    assert len(list(folder.iterdir())) == 3


def test_a_new_database_is_not_copied(fresh: dict[str, list[str]], tmp_path: Path) -> None:
    assert fresh
    assert not (tmp_path / "backups").exists()


def test_a_database_of_a_newer_version_is_refused_with_both_versions(
    fresh: dict[str, list[str]], tmp_path: Path
) -> None:
    newest = len(list(Path(migrations.__path__[0]).glob("m*.py")))
    with closing(connect(tmp_path / "fresh.db")) as db:
        insert = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('pushmill', 'warp', '')"
        db.conn.execute(insert)
        db.conn.execute("PRAGMA user_version = 99")
        for refused in (lambda: schema.migrate(db, tmp_path / "fresh.db", print), lambda: schema.check(db)):
            with pytest.raises(
                CannotStart, match=rf"schema version 99 \(warp\), this pushmill knows version {newest}:"
            ):
                refused()


def test_an_older_database_is_refused_by_commands_until_a_start_has_upgraded_it(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    restored("a74f688.sql", path)
    with closing(connect(path)) as db:
        with pytest.raises(CannotStart, match="start the server once"):
            schema.check(db)
        schema.migrate(db, path, print)
        schema.check(db)


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "pushmill.db"
    restored("40e0c88.sql", path)
    command = [sys.executable, "-P", "-c", OPEN_IN_ANOTHER_PROCESS, str(path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len([text for text in said if text]) == 1
    with closing(connect(path)) as db:
        schema.check(db)


def test_a_semicolon_in_a_comment_or_a_text_does_not_end_a_statement(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "made.db")) as db:
        run_script(db, "-- one; two\nCREATE TABLE thing (name TEXT DEFAULT 'a;b'); -- three; four\n")
        db.conn.execute("INSERT INTO thing DEFAULT VALUES")
        assert db.conn.execute("SELECT name FROM thing").fetchall() == [("a;b",)]
        with pytest.raises(ValueError, match="ends within a statement"):
            run_script(db, "CREATE TABLE other (name TEXT DEFAULT 'a;b)")


def test_landed_migrations_are_never_edited() -> None:
    landed = dict(reversed(line.split()) for line in CHECKSUMS.read_text().splitlines())
    there = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(Path(migrations.__path__[0]).glob("m*.py"))
    }
    edited = [name for name, checksum in landed.items() if there.get(name) != checksum]
    assert not edited, f"{edited} differ from what databases have applied: put them back, and write a new migration"
    new = there.keys() - landed.keys()
    assert not new, f"add the checksums of {sorted(new)} to {CHECKSUMS.name}: `sha256sum m*.py` in web/store/migrations"

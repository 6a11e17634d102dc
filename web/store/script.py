"""SQL scripts of migrations, statement by statement inside the caller's transaction."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database


def run_script(db: Database, script: str) -> None:
    """Run each statement of the script. A `;` in a comment or a string does not end a statement."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            db.conn.execute(statement)
            statement = ""
    if statement.strip(" \n;"):
        raise ValueError(f"the script ends within a statement: {statement[:80]!r}")

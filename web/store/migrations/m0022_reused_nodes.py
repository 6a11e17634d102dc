"""Nodes of pipelines that have the run of a node of an earlier pipeline."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
ALTER TABLE pipeline_node ADD COLUMN source_id INTEGER REFERENCES pipeline_node(id)
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)

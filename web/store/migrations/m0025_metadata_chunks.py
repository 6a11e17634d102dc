"""Metadata in chunks. The sweep moves the rows of `metadata` there (see `web.store.metadata`)."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- Many values of a key, on lines `seq` to `last`, packed by `web.store.metadata_chunks`. `width` is the number of lines in
-- a cell of the grid that they were thinned to. Not WITHOUT ROWID: SQLite would read whole rows to compare their keys.
CREATE TABLE metadata_chunk (
    execution_id INTEGER NOT NULL, key_id INTEGER NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL,
    weight INTEGER NOT NULL, width INTEGER NOT NULL, extremes BLOB NOT NULL, size INTEGER NOT NULL, seqs BLOB NOT NULL,
    numbers BLOB NOT NULL, kinds BLOB NOT NULL, texts BLOB NOT NULL, time_us INTEGER NOT NULL, times BLOB NOT NULL
);
-- Charts read only the index.
CREATE INDEX metadata_chunk_of_key ON metadata_chunk (execution_id, key_id, seq, last, weight, width, extremes);
-- The number of lines in a cell of the grid that a key is being thinned to, or 0.
ALTER TABLE latest ADD COLUMN thinning INTEGER NOT NULL DEFAULT 0;
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)

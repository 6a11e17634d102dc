"""Which environments a project may use, which projects a runner serves, and the slots that it may report."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- Lists of names as JSON; an empty one is no limit.
ALTER TABLE project ADD COLUMN environments TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runner ADD COLUMN projects TEXT NOT NULL DEFAULT '[]';

-- Runners that were registered before may have what they reported last, within reason.
ALTER TABLE runner ADD COLUMN most_slots INTEGER NOT NULL DEFAULT 16;
UPDATE runner SET most_slots = min(slots, 256), slots = min(slots, 256) WHERE slots > 0
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)

"""Numbers of changes by topic, so that open pages notice changes by any process without reading the rows.

Triggers in the migrations count the changes. Topics with the id of a project are `runs` (executions, tasks, pipelines),
`values` (latest metrics), `logs` and `pushes` (pushes, commits, deliveries), such as `runs 3`; without it `projects`,
`runners`, `environments`, `rights` (of any user), and `online`, which is written when a runner goes offline or comes
back.
"""

from __future__ import annotations

from web.store.db import Database, execute, fetch_row, fetch_rows

NEXT = "(SELECT COALESCE(MAX(number), 0) + 1 FROM change)"


def get_latest_number(db: Database) -> int:
    """Return the number of the last change of any topic."""
    found = fetch_row(db, "SELECT MAX(number) AS number FROM change")
    return int(found["number"] or 0) if found else 0


def list_topics_since(db: Database, number: int) -> dict[str, int]:
    """Return the topics that have changed since a number, with their new numbers."""
    return {
        found["topic"]: found["number"] for found in fetch_rows(db, "SELECT * FROM change WHERE number > ?", (number,))
    }


def note(db: Database, topic: str) -> None:
    """Record a change that no row records."""
    sql = f"INSERT INTO change (topic, number) VALUES (?, {NEXT}) ON CONFLICT DO UPDATE SET number = excluded.number"
    execute(db, sql, (topic,))

"""Triggers that number changes by topic, so that open pages notice them, whichever process makes them."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

SQL = """
-- The number of the last change of each topic (see `web.store.changes`), from one sequence for all topics.
CREATE TABLE change (topic TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX change_by_number ON change (number);
"""
COUNT = """
CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN
    INSERT INTO change (topic, number) VALUES ({topic}, (SELECT COALESCE(MAX(number), 0) + 1 FROM change))
    ON CONFLICT (topic) DO UPDATE SET number = excluded.number;
END;
"""
EXECUTION = "UPDATE OF state, runner_id, stop_count, priority, title, tags, deleted_at"
DELIVERY = "UPDATE OF state, message, attempts, pruned"
RUNS = "'runs ' || NEW.project_id"
RUNS_OF_NODE = "COALESCE('runs ' || (SELECT project_id FROM pipeline WHERE id = NEW.pipeline_id), 'runs')"
VALUES = "COALESCE('values ' || (SELECT project_id FROM execution WHERE id = NEW.execution_id), 'values')"
PUSHES = "COALESCE('pushes ' || (SELECT project_id FROM repository WHERE id = NEW.repository_id), 'pushes')"
TRIGGERS = (
    *(("execution", event, RUNS) for event in ("INSERT", EXECUTION)),
    ("execution", "UPDATE OF log_lines", "'logs ' || NEW.project_id"),
    *((table, event, RUNS) for table in ("task", "pipeline") for event in ("INSERT", "UPDATE")),
    *(("pipeline_node", event, RUNS_OF_NODE) for event in ("INSERT", "UPDATE")),
    *(("latest", event, VALUES) for event in ("INSERT", "UPDATE OF seq")),
    *(("delivery", event, PUSHES) for event in ("INSERT", DELIVERY)),
    *(
        (table, event, PUSHES)
        for table in ("push", "git_commit", "pull_request", "approval", "commit_status")
        for event in ("INSERT", "UPDATE")
    ),
    ("repository", "UPDATE OF fetch_problem, api_problem", "'pushes ' || NEW.project_id"),
    *(("runner", event, "'runners'") for event in ("INSERT", "UPDATE")),
    ("runner", "UPDATE OF draining, removed_at, environments", "'online'"),
    *(("environment", event, "'environments'") for event in ("INSERT", "UPDATE", "DELETE")),
    *(("member", event, "'projects'") for event in ("INSERT", "UPDATE", "DELETE")),
    *(("member", event, "'rights'") for event in ("INSERT", "UPDATE", "DELETE")),
    ("session", "DELETE", "'rights'"),
    ("token", "UPDATE OF revoked_at, expires_at", "'rights'"),
    ("token", "DELETE", "'rights'"),
    ("user", "UPDATE OF is_admin, disabled_at", "'rights'"),
    *(("project", event, "'projects'") for event in ("INSERT", "UPDATE OF name, description", "DELETE")),
)


def migrate(db: Database) -> None:
    run_script(db, SQL)
    for number, (table, event, topic) in enumerate(TRIGGERS):
        run_script(db, COUNT.format(name=f"change_{number}_{table}", table=table, event=event, topic=topic))

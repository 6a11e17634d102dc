"""Deliveries and pushes that are run again."""

from __future__ import annotations

from sqlite_utils import Database

from web.store.script import run_script

# A push that was run again counts where the first one stands: what is newest in a ref is found in that order.
SQL = """
ALTER TABLE delivery ADD COLUMN signature TEXT NOT NULL DEFAULT 'valid';
ALTER TABLE delivery ADD COLUMN again_of INTEGER REFERENCES delivery(id);
CREATE INDEX delivery_of_repository ON delivery (repository_id);
CREATE INDEX delivery_refused ON delivery (repository_id, received_at) WHERE state = 'refused';
CREATE INDEX delivery_again ON delivery (again_of) WHERE again_of IS NOT NULL;

ALTER TABLE push ADD COLUMN again_of INTEGER REFERENCES push(id);
CREATE INDEX push_in_order ON push (repository_id, ref, COALESCE(again_of, id))
"""


def migrate(db: Database) -> None:
    run_script(db, SQL)

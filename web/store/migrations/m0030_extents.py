"""The lowest and the highest number of each metadata key of an execution, for tables that sort by them."""

from __future__ import annotations

import struct
from operator import itemgetter

from sqlite_utils import Database

from web.store.script import run_script

EXTREMES = struct.Struct("<qqd?qqd?")  # of a stretch: line, time, lowest number, whether it is an integer; the highest
COLUMNS = """
-- NULL if no value is a number.
ALTER TABLE latest ADD COLUMN low REAL;
ALTER TABLE latest ADD COLUMN high REAL;
"""
INDEXES = """
CREATE INDEX latest_by_low ON latest (key_id, low, execution_id);
CREATE INDEX latest_by_high ON latest (key_id, high, execution_id);
"""
FILL = """
UPDATE latest SET low = found.low, high = found.high FROM (
    SELECT execution_id, key_id, MIN(low) AS low, MAX(high) AS high FROM (
        SELECT execution_id, key_id, extreme(extremes, 2) AS low, extreme(extremes, 6) AS high FROM metadata_chunk
        UNION ALL
        SELECT execution_id, key_id, value, value FROM metadata WHERE typeof(value) IN ('integer', 'real')
    ) GROUP BY execution_id, key_id
) AS found WHERE latest.execution_id = found.execution_id AND latest.key_id = found.key_id
"""


def migrate(db: Database) -> None:
    run_script(db, COLUMNS)
    db.conn.create_function("extreme", 2, _extreme, deterministic=True)
    db.conn.execute(FILL)
    run_script(db, INDEXES)


def _extreme(packed: bytes, field: int) -> float | None:
    """Return the lowest number (field 2) or the highest (field 6) of the stretches of a chunk."""
    numbers = map(itemgetter(field), EXTREMES.iter_unpack(packed))
    return min(numbers, default=None) if field == 2 else max(numbers, default=None)

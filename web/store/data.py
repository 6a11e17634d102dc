"""Data: output files, and files that users uploaded.

The bytes are stored below `outputs/` under the datum's uuid; the name is only a column.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from core import clock, datum
from core.errors import NotFound
from web.store.db import Row, execute, fetch_row, fetch_rows, insert
from web.store.selection import make_project_condition


@dataclass(frozen=True, kw_only=True)
class Datum:
    """One output file. `name` is the path below /valohai/outputs; the server never uses it as a path.

    `execution_id` is None for a file uploaded by a user. `purged_at` is set once the content is deleted.
    """

    id: int
    uuid: str
    execution_id: int | None
    project_id: int
    name: str
    size: int
    sha256: str
    sha1: str
    md5: str
    created_at: str
    purged_at: str | None


def get_path(outputs_dir: Path, datum_uuid: str) -> Path:
    return outputs_dir / datum_uuid[:2] / datum_uuid


def add(db: Database, project_id: int, execution_id: int | None, values: Mapping[str, Any]) -> Datum:
    """Record a stored file by its uuid, name, size and hashes. Idempotent by uuid."""
    if known := fetch_row(db, "SELECT * FROM datum WHERE uuid = ?", (values["uuid"],)):
        return Datum(**known)
    place = {"project_id": project_id, "execution_id": execution_id, "created_at": clock.now()}
    insert(db, "datum", {**place, **values})
    return get_by_uuid(db, values["uuid"])


def set_purged(db: Database, found: Datum) -> None:
    """Record that the content of a file is deleted; the first time stays."""
    execute(db, "UPDATE datum SET purged_at = ? WHERE id = ? AND purged_at IS NULL", (clock.now(), found.id))


def list_uploaded(db: Database, project_id: int) -> list[str]:
    """List the uuids of the files of a project that no execution wrote."""
    found = fetch_rows(db, "SELECT uuid FROM datum WHERE project_id = ? AND execution_id IS NULL", (project_id,))
    return [item["uuid"] for item in found]


def get_by_uuid(db: Database, datum_uuid: str) -> Datum:
    found = fetch_row(db, "SELECT * FROM datum WHERE uuid = ?", (datum_uuid,))
    if found is None:
        raise NotFound(f"there is no datum {datum_uuid}")
    return Datum(**found)


def get_many_by_uuid(db: Database, project_id: int, uuids: Collection[str]) -> list[Datum]:
    """Return the data with these uuids that belong to a project, in no particular order."""
    sql = "SELECT * FROM datum WHERE uuid IN (SELECT value FROM json_each(?)) AND project_id = ?"
    return [Datum(**found) for found in fetch_rows(db, sql, (json.dumps(list(uuids)), project_id))]


def get_many(db: Database, datum_ids: Collection[int]) -> list[Datum]:
    """Return the data with these ids, in no particular order."""
    marks = ", ".join("?" * len(datum_ids))
    return [Datum(**found) for found in fetch_rows(db, f"SELECT * FROM datum WHERE id IN ({marks})", list(datum_ids))]


def list_outputs(db: Database, execution_id: int, limit: int = -1, offset: int = 0) -> list[Datum]:
    """List the data of an execution by name."""
    sql = "SELECT * FROM datum WHERE execution_id = ? ORDER BY name, id LIMIT ? OFFSET ?"
    return [Datum(**found) for found in fetch_rows(db, sql, (execution_id, limit, offset))]


def list_common_files(
    db: Database, execution_ids: Sequence[int], suffixes: Sequence[str], most_bytes: int, names: int
) -> list[Datum]:
    """List stored files of these types whose name several executions have, by name; of the first `names` names.

    An execution that has stored a name twice counts with the newer file.
    """
    types = " OR ".join("name LIKE '%' || ?" for _ in suffixes)
    sql = (
        "WITH named AS (SELECT name, execution_id, MAX(id) AS id FROM datum WHERE execution_id IN"
        f" ({', '.join('?' * len(execution_ids))}) AND ({types}) GROUP BY execution_id, name),"
        " common AS (SELECT name FROM named GROUP BY name HAVING COUNT(*) > 1 ORDER BY name LIMIT ?)"
        " SELECT datum.* FROM named JOIN common USING (name) JOIN datum ON datum.id = named.id"
        " WHERE datum.purged_at IS NULL AND datum.size <= ? ORDER BY datum.name"
    )
    return [Datum(**found) for found in fetch_rows(db, sql, [*execution_ids, *suffixes, names, most_bytes])]


def list_sidecars(db: Database, execution_id: int) -> set[str]:
    """Return uuids of outputs that only describe others: `valohai.metadata.jsonl`, and `X.metadata.json` for `X`."""
    sql = (
        "SELECT uuid, name FROM datum WHERE execution_id = :id AND (name = :all OR (substr(name, -length(:end)) = :end"
        " AND EXISTS (SELECT 1 FROM datum AS other WHERE other.execution_id = :id"
        " AND other.name = substr(datum.name, 1, length(datum.name) - length(:end)))))"
    )
    values = {"id": execution_id, "all": datum.SIDECAR_OF_ALL, "end": datum.SIDECAR}
    return {item["uuid"] for item in fetch_rows(db, sql, values)}


def search(
    db: Database, projects: Collection[int] | None, *, execution_id: int | None, purged: bool, limit: int, offset: int
) -> tuple[list[Datum], int]:
    """Return data of these projects, or of all, and their number without the limit.

    The newest are first; those of one execution are ordered by name.
    """
    condition, values = make_project_condition("project_id", projects)
    conditions = [condition, f"purged_at IS {'NOT ' if purged else ''}NULL"]
    if execution_id:
        conditions.append("execution_id = ?")
        values.append(execution_id)
    where = f"WHERE {' AND '.join(conditions)}"
    order = "name, id" if execution_id else "id DESC"
    count: Row | None = fetch_row(db, f"SELECT COUNT(*) AS n FROM datum {where}", values)
    found = fetch_rows(db, f"SELECT * FROM datum {where} ORDER BY {order} LIMIT ? OFFSET ?", [*values, limit, offset])
    return [Datum(**item) for item in found], int(count["n"]) if count else 0


@dataclass(frozen=True, kw_only=True)
class FoundOutput:
    """A file with the number and the step of the execution that wrote it; None for an uploaded one."""

    datum: Datum
    counter: int | None
    step: str | None


def search_outputs(db: Database, project_id: int, text: str, limit: int) -> list[FoundOutput]:
    """List the newest files of a project whose name or step contains a text, or of the execution `#N`."""
    number = int(text[1:]) if text[:1] == "#" and text[1:].isdecimal() and len(text) < 12 else -1
    sql = (
        "SELECT datum.*, execution.counter AS made_by, execution.step AS made_step"
        " FROM datum LEFT JOIN execution ON execution.id = datum.execution_id"
        " WHERE datum.project_id = :project AND datum.purged_at IS NULL AND execution.deleted_at IS NULL"
        " AND (instr(lower(datum.name), lower(:text)) OR instr(lower(execution.step), lower(:text))"
        " OR execution.counter = :number) ORDER BY datum.id DESC LIMIT :limit"
    )
    values = {"project": project_id, "text": text, "number": number, "limit": limit}
    return [
        FoundOutput(counter=found.pop("made_by"), step=found.pop("made_step"), datum=Datum(**found))
        for found in fetch_rows(db, sql, values)
    ]


def find(db: Database, datum_uuid: str) -> Datum | None:
    found = fetch_row(db, "SELECT * FROM datum WHERE uuid = ?", (datum_uuid,))
    return Datum(**found) if found else None


def sum_outputs(db: Database, execution_id: int) -> tuple[int, int]:
    """Return how many files of an execution are stored, and their total size in bytes."""
    sql = "SELECT COUNT(*) AS n, COALESCE(SUM(size), 0) AS size FROM datum WHERE execution_id = ?"
    found = fetch_row(db, sql, (execution_id,))
    return (int(found["n"]), int(found["size"])) if found else (0, 0)


def count_by_execution(db: Database, execution_ids: Collection[int]) -> dict[int, int]:
    """Return the number of files by execution id; executions without files are omitted."""
    marks = ", ".join("?" * len(execution_ids))
    sql = f"SELECT execution_id, COUNT(*) AS n FROM datum WHERE execution_id IN ({marks}) GROUP BY execution_id"
    return {item["execution_id"]: item["n"] for item in fetch_rows(db, sql, list(execution_ids))}

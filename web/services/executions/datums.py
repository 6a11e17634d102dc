"""Output files as inputs of other executions: which of them one may read, by the `datum://` URLs of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core import datum
from core.errors import NotFound
from core.model import Datum, Execution, Runner
from core.wire import DatumSpec
from web.services.executions import lifecycle
from web.store import commits, data
from web.store.db import Database


def refusal(db: Database, project_id: int, commit_id: int, inputs: Mapping[str, Any]) -> str:
    """Why the outputs that `inputs` name, as an execution records them, cannot be read for a commit; "" when they can.

    Outputs of other projects are as good as none. A stranger's code gets none: they may hold what is private.
    """
    wanted = list(_named(inputs))
    if not wanted:
        return ""
    if not commits.is_trusted(db, commit_id):
        return (
            f'input "{wanted[0][0]}": what comes from a fork may read no outputs of the project before it is approved'
        )
    known = {found.uuid for found in data.of_uuids(db, project_id, {uuid for _, uuid in wanted})}
    missing = next(((name, uuid) for name, uuid in wanted if uuid not in known), None)
    return f'input "{missing[0]}": there is no output {datum.url_of(missing[1])} in this project' if missing else ""


def specs(db: Database, execution: Execution) -> list[DatumSpec]:
    """What a runner must know of the outputs that an execution's inputs name, less those that it may not read."""
    return [
        DatumSpec(
            uuid=found.uuid, name=found.name, size=found.size, md5=found.md5, sha1=found.sha1, sha256=found.sha256
        )
        for found in _readable(db, execution)
    ]


def held(db: Database, runner: Runner, execution_uuid: str, attempt: int, datum_uuid: str) -> Datum:
    """An output that an execution reads, for the runner that holds its lease. Raises Conflict and NotFound."""
    execution = lifecycle.held(db, runner, execution_uuid, attempt)
    found = next((item for item in _readable(db, execution) if item.uuid == datum_uuid), None)
    if found is None:
        raise NotFound(f"no input of execution {execution_uuid} is {datum.url_of(datum_uuid)}")
    return found


def _readable(db: Database, execution: Execution) -> list[Datum]:
    wanted = {uuid for _, uuid in _named(execution.inputs)}
    if not wanted or not commits.is_trusted(db, execution.commit_id):
        return []
    return data.of_uuids(db, execution.project_id, wanted)


def _named(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(input, uuid) of each URL that names an output."""
    for name, spec in inputs.items():
        for uuid in map(datum.uuid_of, spec["urls"]):
            if uuid is not None:
                yield name, uuid

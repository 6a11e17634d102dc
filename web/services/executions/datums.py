"""Output files as inputs of other executions: which outputs an execution may read through its `datum://` URLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core import datum
from core.errors import NotFound
from core.model import Execution, Runner
from core.wire import DatumSpec
from web.services.executions import lifecycle
from web.store import aliases, commits, data
from web.store.data import Datum
from web.store.db import Database


def resolve_aliases(db: Database, project_id: int, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Replace aliases in the URLs of inputs by the files that they name now; unknown aliases stay."""
    return {
        name: {**spec, "urls": [_without_alias(db, project_id, url) for url in spec["urls"]]}
        for name, spec in inputs.items()
    }


def _without_alias(db: Database, project_id: int, url: str) -> str:
    alias = datum.parse_alias_url(url)
    uuid = aliases.find_datum_uuid(db, project_id, alias) if alias else None
    return datum.make_datum_url(uuid) if uuid else url


def explain_refusal(db: Database, project_id: int, commit_id: int, inputs: Mapping[str, Any]) -> str:
    """Return why a commit cannot read the outputs named in `inputs`, or "" if it can.

    `inputs` has the form of `Execution.inputs`. Outputs of other projects are treated as unknown. Untrusted commits
    (from forks) cannot read any outputs, since these may contain private data.
    """
    unknown = ((name, url) for name, spec in inputs.items() for url in spec["urls"] if datum.parse_alias_url(url))
    if found := next(unknown, None):
        return f'input "{found[0]}": there is no alias {found[1]} in this project'
    wanted = list(_named(inputs))
    if not wanted:
        return ""
    if not commits.is_trusted(db, commit_id):
        return f'input "{wanted[0][0]}": a commit of a fork cannot read outputs of the project before it is approved'
    known = {found.uuid: found for found in data.get_many_by_uuid(db, project_id, {uuid for _, uuid in wanted})}
    for name, uuid in wanted:
        if uuid not in known:
            return f'input "{name}": there is no output {datum.make_datum_url(uuid)} in this project'
        if known[uuid].purged_at is not None:
            return f'input "{name}": the output {known[uuid].name} ({datum.make_datum_url(uuid)}) was purged'
    return ""


def list_specs(db: Database, execution: Execution) -> list[DatumSpec]:
    """Describe, for the runner, the outputs used as inputs of an execution; those it may not read are omitted."""
    return [
        DatumSpec(
            uuid=found.uuid, name=found.name, size=found.size, md5=found.md5, sha1=found.sha1, sha256=found.sha256
        )
        for found in _readable(db, execution)
    ]


def get_input(db: Database, runner: Runner, execution_uuid: str, attempt: int, datum_uuid: str) -> Datum:
    """Return an output that an execution reads. The runner must hold the lease. Raises Conflict and NotFound."""
    execution = lifecycle.get_held_execution(db, runner, execution_uuid, attempt)
    found = next((item for item in _readable(db, execution) if item.uuid == datum_uuid), None)
    if found is None:
        raise NotFound(f"no input of execution {execution_uuid} is {datum.make_datum_url(datum_uuid)}")
    return found


def _readable(db: Database, execution: Execution) -> list[Datum]:
    wanted = {uuid for _, uuid in _named(execution.inputs)}
    if not wanted or not commits.is_trusted(db, execution.commit_id):
        return []
    return data.get_many_by_uuid(db, execution.project_id, wanted)


def _named(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (input name, datum uuid) of each `datum://` URL."""
    for name, spec in inputs.items():
        for uuid in map(datum.parse_datum_url, spec["urls"]):
            if uuid is not None:
                yield name, uuid

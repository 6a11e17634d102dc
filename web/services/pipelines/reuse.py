"""Find the earlier run that a node of a pipeline with `reuse-executions` gets instead of a new one."""

from __future__ import annotations

import json

from core.groups import Pipeline
from core.model import Commit
from web.config.steps.resolve import ResolvedStep
from web.services.executions import datums
from web.store import pipelines
from web.store.db import Database


def find_equal_node(db: Database, pipeline: Pipeline, commit: Commit, step: ResolvedStep) -> int | None:
    """Return the row number of the newest complete node whose execution is what this step would run.

    It ran the same step of the same commit, with the same image, command, parameters, inputs and environment variables,
    and none of its outputs was purged. Ad-hoc code is not reused, as in Valohai.
    """
    if commit.adhoc:
        return None
    inputs = {name: spec.to_dict() for name, spec in step.inputs.items()}
    inputs = datums.resolve_aliases(db, pipeline.project_id, inputs)
    wanted = _as_stored(step.image, list(step.commands), step.parameters, inputs, step.environment_variables)
    for made in pipelines.complete_runs(db, commit.id, step.step.name):
        ran = (made.image, list(made.commands), made.parameters, made.inputs, made.environment_variables)
        if _as_stored(*ran) == wanted:
            return made.pipeline_node_id
    return None


def _as_stored(*values: object) -> str:
    return json.dumps(values, sort_keys=True)

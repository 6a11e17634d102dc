"""What an execution of a task or a pipeline knows of these, and that they continue as soon as it has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from instance import wait_for
from redis_site import RedisSite

from core.wire import ExecutionSpec
from runner.execution import config_files
from web.store import pipelines

MEMBERSHIPS = ("valohai.task-", "valohai.pipeline-", "VH_TASK_", "VH_PIPELINE_")


def learned(api: ApiServer, directory: Path, **given: Any) -> dict[str, Any]:
    """What execution.json and the variables say of a task and a pipeline."""
    execution, attempt = api.placed(**given)
    answer = api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": False})
    spec = ExecutionSpec.from_dict(answer.json)
    config_files.write(directory / execution, spec, [], {}, {})
    known = json.loads((directory / execution / "execution.json").read_text()) | config_files.build_environment(spec)
    return {name: value for name, value in known.items() if name.startswith(MEMBERSHIPS)}


def test_a_container_learns_of_the_task_and_the_pipeline_that_it_is_of(api: ApiServer, tmp_path: Path) -> None:
    api.add_task()
    pipeline = api.add_pipeline(("a", "execution"), ("search", "task"))
    first, second = pipelines.list_nodes(api.db, pipeline.id)
    task = api.add_task("lr", pipeline_node_id=second.id)
    of_task = {
        "valohai.task-counter": 2, "valohai.task-id": task.uuid, "valohai.task-title": "lr", "VH_TASK_ID": task.uuid
    }  # fmt: skip

    def of_pipeline(node: str) -> dict[str, Any]:
        return {
            "valohai.pipeline-counter": 1, "valohai.pipeline-id": pipeline.uuid, "valohai.pipeline-node-id": node,
            "valohai.pipeline-tags": [], "valohai.pipeline-title": "full",
            "VH_PIPELINE_ID": pipeline.uuid, "VH_PIPELINE_NODE_ID": node,
        }  # fmt: skip

    assert learned(api, tmp_path) == {}
    assert learned(api, tmp_path, task_id=task.id, trial=0) == of_task
    assert learned(api, tmp_path, pipeline_node_id=first.id) == of_pipeline(first.uuid)
    both = learned(api, tmp_path, task_id=task.id, trial=0, pipeline_node_id=second.id)
    assert both == of_task | of_pipeline(second.uuid)


@pytest.mark.redis
@pytest.mark.parametrize("group", ["task", "pipeline"])
def test_the_end_of_an_execution_has_the_worker_look_at_its_group_at_once(site: RedisSite, group: str) -> None:
    api = site.api
    if group == "task":
        execution, attempt = api.started(task_id=api.add_task().id, trial=0)
    else:
        (node,) = pipelines.list_nodes(api.db, api.add_pipeline(("a", "execution")).id)
        execution, attempt = api.started(pipeline_node_id=node.id)
    wait_for(lambda: site.admin.delete("pushmill:nudged"))  # its runner came online
    assert api.call(f"executions/{execution}/final", {"attempt": attempt, "state": "complete"}).status_code == 200
    wait_for(lambda: site.admin.exists("pushmill:nudged"))

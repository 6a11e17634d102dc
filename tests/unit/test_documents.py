from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import ExecutionFailed
from core.wire import ExecutionSpec
from runner.execution import config_files
from runner.inputs.fetch import FetchedInput, InputFile

UUID = "0190a1b2-0000-7000-8000-000000000001"


def spec(**changes: Any) -> ExecutionSpec:
    values: dict[str, Any] = {
        "uuid": UUID,
        "counter": 7,
        "attempt": 1,
        "project_uuid": "project-uuid",
        "project_name": "demo",
        "commit_identifier": "a" * 40,
        "step": "train",
        "image": "python:3.12-slim",
        "script": "",
        "commands": [],
        "parameters": {},
        "inputs": [],
        "environment_variables": {},
        "config": {"valohai.execution-id": UUID},
        "time_limit_s": None,
        "no_output_limit_s": None,
        "log_bytes": 1,
        "output_bytes": 1,
        "output_count": 1,
        "stop_grace_s": 1.0,
    }
    return ExecutionSpec(**values | changes)


def written(directory: Path, name: str) -> Any:
    """The document, read from both of its files."""
    strict = json.loads((directory / f"{name}.json").read_bytes(), parse_constant=lambda word: pytest.fail(word))
    assert yaml.safe_load((directory / f"{name}.yaml").read_bytes()) == strict
    return strict


def test_five_documents_are_written_twice_for_any_reader(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    config_files.write(directory, spec(parameters={"lr": 1e-5}), [], {"set_status_detail": {"url": "u"}}, {"gpus": []})
    names = ("api", "execution", "inputs", "parameters", "runtime")
    assert sorted(file.name for file in directory.iterdir()) == sorted(
        f"{n}.{e}" for n in names for e in ("json", "yaml")
    )
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o644}
    assert written(directory, "execution") == {"valohai.execution-id": UUID}
    assert written(directory, "api") == {"set_status_detail": {"url": "u"}}
    assert written(directory, "runtime") == {"gpus": []}
    assert (directory / "parameters.yaml").read_text() == "lr: 1.0e-05\n"


def test_parameters_keep_order_and_type_and_hold_nothing_that_json_cannot(tmp_path: Path) -> None:
    given = {"z": 1, "a": 1.5, "flag": False, "list": [1, 2], "text": "1e-5", "on": "yes", "none": None, "ü": "\n#"}
    config_files.write(
        tmp_path, spec(parameters=given | {"nan": math.nan, "infs": [math.inf], "half": "\ud800"}), [], {}, {}
    )
    found = written(tmp_path, "parameters")
    assert list(found) == ["z", "a", "flag", "list", "text", "on", "ü", "nan", "infs", "half"]
    assert found == {k: v for k, v in given.items() if k != "none"} | {"nan": None, "infs": [None], "half": "?"}


def test_every_input_is_there_and_only_one_on_demand_has_an_id(tmp_path: Path) -> None:
    file = InputFile(
        name="a", path="/valohai/inputs/x/a", uri="https://ada:pass@host/a?b=c@d", size=3, md5="m", sha1="s", sha256="S"
    )
    later = InputFile(name="b", path="/valohai/inputs/y/b", uri="https://host/b")
    fetched = [
        FetchedInput(name="x", files=[file]),
        FetchedInput(name="y", files=[later], on_demand=True, input_id="id"),
        FetchedInput(name="empty", files=[]),
    ]
    config_files.write(tmp_path, spec(), fetched, {}, {})
    found = written(tmp_path, "inputs")
    assert list(found) == ["x", "y", "empty"]
    assert found["empty"] == {"files": []}
    assert "input_id" not in found["x"]
    assert found["y"]["input_id"] == "id"
    assert found["x"]["files"][0] == {
        "name": "a",
        "path": "/valohai/inputs/x/a",
        "size": 3,
        "uri": "https://host/a?b=c@d",
        "datum_id": None,
        "download_intent": "always",
        "checksums": {"md5": "m", "sha1": "s", "sha256": "S"},
        "metadata": [],
    }


def test_variables_say_where_the_program_runs_and_cannot_be_made_to_lie() -> None:
    lies = {"VH_JOB_ID": "x", "VH_INPUTS_DIR": "/etc", "VH_TASK_ID": "x", "VH_PIPELINE_ID": "x", "VH_TPU": "1"}
    found = config_files.build_environment(spec(environment_variables=lies | {"MINE": "1", "VH_CLEAN": "yes"}))
    assert found == {
        "MINE": "1",
        "VH_CLEAN": "yes",
        "PYTHONUNBUFFERED": "1",
        "VH_JOB_ID": f"exec-{UUID}",
        "VH_EXECUTION_ID": UUID,
        "VH_PROJECT_ID": "project-uuid",
        "VH_CONFIG_DIR": "/valohai/config",
        "VH_INPUTS_DIR": "/valohai/inputs",
        "VH_OUTPUTS_DIR": "/valohai/outputs",
        "VH_REPOSITORY_DIR": "/valohai/repository",
    }


def test_output_is_unbuffered_unless_the_user_says_otherwise() -> None:
    assert (
        config_files.build_environment(spec(environment_variables={"PYTHONUNBUFFERED": ""}))["PYTHONUNBUFFERED"] == ""
    )


def test_a_member_of_a_task_or_pipeline_is_told_so() -> None:
    config = {"valohai.task-id": "t", "valohai.pipeline-id": "p", "valohai.pipeline-node-id": None}
    found = config_files.build_environment(spec(config=config))
    assert (found["VH_TASK_ID"], found["VH_PIPELINE_ID"]) == ("t", "p")
    assert "VH_PIPELINE_NODE_ID" not in found


@pytest.mark.parametrize(
    "variables", [{"VH_JOB_ID=evil": "x"}, {"": "x"}, {"A\0B": "x"}, {"A": "x\0"}, {"A": "x" * 131_072}]
)
def test_a_variable_that_no_program_can_get_is_named(variables: dict[str, str]) -> None:
    with pytest.raises(ExecutionFailed, match="cannot be set: "):
        config_files.build_environment(spec(environment_variables=variables))

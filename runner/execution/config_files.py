"""Writes the documents in /valohai/config and builds a container's environment variables."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import yaml

from core.errors import ExecutionFailed
from core.states import FailureReason
from core.wire import ExecutionSpec
from runner.inputs.fetch import FetchedInput, InputFile

DIRECTORIES = {
    "VH_CONFIG_DIR": "/valohai/config",
    "VH_INPUTS_DIR": "/valohai/inputs",
    "VH_OUTPUTS_DIR": "/valohai/outputs",
    "VH_REPOSITORY_DIR": "/valohai/repository",
}
MEMBERSHIPS = {  # variable: key of execution.json that it repeats; set only if the key is
    "VH_TASK_ID": "valohai.task-id",
    "VH_PIPELINE_ID": "valohai.pipeline-id",
    "VH_PIPELINE_NODE_ID": "valohai.pipeline-node-id",
}
IDENTITY = frozenset(
    {"VH_JOB_ID", "VH_EXECUTION_ID", "VH_PROJECT_ID", "VH_TPU", "VH_PUBLIC_IP", "VH_LOCAL_IP"}
    | {"VH_DIST_MEMBER_ID", "VH_DIST_MEMBER_INDEX", "VH_DIST_MEMBER_COUNT"}
    | DIRECTORIES.keys()
    | MEMBERSHIPS.keys()
)
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast
CREDENTIALS = re.compile(r"^([a-z]+://)[^/?#]*@", re.IGNORECASE)  # removed because a program may print its config
MAX_VARIABLE = 131_071  # bytes of NAME=value that Linux passes to a program


def write(
    config_dir: Path, spec: ExecutionSpec, inputs: list[FetchedInput], api: dict[str, Any], runtime: dict[str, Any]
) -> None:
    """Write the five documents as .json and .yaml into the directory `config_dir`, readable by any user.

    JSON has no NaN and no infinity: they become null. Parameters without a value are omitted, because valohai-utils
    would return null instead of the program's default. All inputs are listed, because valohai-utils would otherwise
    fetch the program's defaults.
    """
    documents = {
        "execution": spec.config,
        "inputs": {item.name: _input(item) for item in inputs},
        "parameters": {name: value for name, value in spec.parameters.items() if value is not None},
        "runtime": runtime,
        "api": api,
    }
    config_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    config_dir.chmod(0o755)
    for name, document in documents.items():
        put(config_dir, name, document)


def put(config_dir: Path, name: str, document: Any) -> None:
    """Write or replace one document. Call this before the container starts."""
    plain = _plain(document)
    _write(config_dir / f"{name}.json", json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=2) + "\n")
    text = yaml.dump(plain, Dumper=Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    _write(config_dir / f"{name}.yaml", text)


def build_environment(spec: ExecutionSpec) -> dict[str, str]:
    """Return the container's environment variables. Those of the user never override the ones in IDENTITY.

    Raises ExecutionFailed for a variable that Linux cannot pass to a program.
    """
    variables = {"PYTHONUNBUFFERED": "1"}
    for name, value in spec.environment_variables.items():
        if name not in IDENTITY:
            variables[name] = _checked(name, value)
    variables |= DIRECTORIES
    variables |= {
        "VH_JOB_ID": f"exec-{spec.uuid}",
        "VH_EXECUTION_ID": spec.uuid,
        "VH_PROJECT_ID": spec.project_uuid,
    }
    return variables | {name: str(spec.config[key]) for name, key in MEMBERSHIPS.items() if spec.config.get(key)}


def _input(item: FetchedInput) -> dict[str, Any]:
    # with an input_id and no files, valohai-utils would request the files from the server
    identity = {"input_id": item.input_id} if item.input_id and item.files else {}
    return identity | {"files": [_file(file, item.on_demand) for file in item.files]}


def _file(file: InputFile, on_demand: bool) -> dict[str, Any]:
    checksums = {"md5": file.md5, "sha1": file.sha1, "sha256": file.sha256}
    return {
        "name": file.name,
        "path": file.path,
        "size": file.size,
        "uri": CREDENTIALS.sub(r"\1", file.uri),
        "datum_id": file.datum_id,
        "download_intent": "on-demand" if on_demand else "always",
        "checksums": {name: digest for name, digest in checksums.items() if digest},
        "metadata": [],
    }


def _plain(value: Any) -> Any:
    """Convert `value` to something that strict JSON and UTF-8 can represent."""
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def _checked(name: str, value: str) -> str:
    if not name or "=" in name or "\0" in name + value:
        why = "a name cannot contain '=', nor can name or value contain NUL"
    elif len(os.fsencode(f"{name}={value}")) > MAX_VARIABLE:
        why = f"name and value are longer than {MAX_VARIABLE:,} bytes; use a file"
    else:
        return value
    raise ExecutionFailed(FailureReason.INTERNAL, f"the environment variable {name[:100]!r} cannot be set: {why}")

"""The real valohai-utils, in its own process, reads the files of /valohai/config correctly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.wire import ExecutionSpec, InputSpec
from runner.execution import config_files
from runner.inputs import fetch as inputs
from runner.inputs.cache import Cache
from runner.inputs.datums import Datums
from runner.inputs.fetch import FetchedInput
from runner.server_client import Reporter

PROGRAM = """
import json, valohai
valohai.prepare(
    step="train",
    default_parameters={"lr": 9.0, "name": "own default", "layers": [], "flag": True, "absent": "own default"},
    default_inputs={"data": "https://example.invalid/own-default", "optional": "https://example.invalid/own-default"},
)
valohai.set_status_detail("half way")
print(json.dumps({
    "parameters": {n: valohai.parameters(n).value for n in ("lr", "name", "layers", "flag", "absent")},
    "data": [open(path).read() for path in valohai.inputs("data").paths()],
    "filtered": list(valohai.inputs("data").paths("b*")),
    "optional": list(valohai.inputs("optional").paths()),
    "later": open(valohai.inputs("later").path()).read(),
    "output": valohai.outputs().path("model.bin"),
}))
"""


class Server(ThreadingHTTPServer):
    """Data files, and the two calls that api.json names."""

    daemon_threads = True
    input_id = ""
    detail = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        if self.path == f"/input_request?inputs={self.server.input_id}":
            file = {"input_id": self.server.input_id, "filename": "later.txt", "url": f"{self.server.url}/later.txt"}
            self.answer(json.dumps([{"name": "later", "files": [file]}]).encode())
        else:
            self.answer(b"content of " + self.path.encode())

    def do_POST(self) -> None:
        self.server.detail = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["status_detail"]
        self.answer(b"{}")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_valohai_utils_program_reads_its_parameters_and_inputs(tmp_path: Path, server: Server) -> None:
    spec = made_spec(
        parameters={"lr": 0.001, "name": "ü 'x'", "layers": [1000, 500], "flag": False},
        inputs=[
            InputSpec(name="data", urls=[f"{server.url}/a.txt", f"{server.url}/b.txt"]),
            InputSpec(name="optional", urls=[]),
            InputSpec(name="later", urls=[f"{server.url}/later.txt"], on_demand=True),
        ],
    )
    fetched = [at(tmp_path, item) for item in fetch(tmp_path, spec)]
    server.input_id = str(fetched[-1].input_id)
    api = {
        "set_status_detail": {"url": f"{server.url}/detail", "method": "POST", "headers": {}},
        "input_request": {"url": f"{server.url}/input_request", "method": "GET", "headers": {}},
    }
    config_files.write(tmp_path / "config", spec, fetched, api, {})
    found = run(tmp_path, spec)
    assert found["parameters"] == {"lr": 0.001, "name": "ü 'x'", "layers": [1000, 500], "flag": False, "absent": None}
    assert found["data"] == ["content of /a.txt", "content of /b.txt"]
    assert found["filtered"] == [str(tmp_path / "inputs/data/b.txt")]
    assert found["optional"] == []
    assert found["later"] == "content of /later.txt"
    assert found["output"] == str(tmp_path / "outputs/model.bin")
    assert server.detail == "half way"


def made_spec(parameters: dict[str, Any], inputs: list[InputSpec]) -> ExecutionSpec:
    return ExecutionSpec(
        uuid="0190a1b2-0000-7000-8000-000000000001",
        counter=1,
        attempt=1,
        project_uuid="0190a1b2-0000-7000-8000-000000000002",
        project_name="demo",
        commit_identifier="a" * 40,
        step="train",
        image="python:3.12-slim",
        script="",
        commands=[],
        parameters=parameters,
        inputs=[item.to_dict() for item in inputs],
        environment_variables={},
        config={"valohai.execution-id": "0190a1b2-0000-7000-8000-000000000001", "valohai.execution-counter": 1},
        time_limit_s=None,
        no_output_limit_s=None,
        log_bytes=1,
        output_bytes=1,
        output_count=1,
        stop_grace_s=1.0,
    )


def fetch(directory: Path, spec: ExecutionSpec) -> list[FetchedInput]:
    fetcher = inputs.InputFetcher(
        cache=Cache(directory / "cache", ignore=False),
        datums=Datums(Reporter("http://127.0.0.1:9", "secret"), spec),
        allow_hosts=("127.0.0.1",),
        status=lambda _: None,
        cancelled=lambda: False,
        limit=10**6,
    )
    return fetcher.fetch(spec.input_specs(), directory / "inputs")


def at(directory: Path, item: FetchedInput) -> FetchedInput:
    """The input as a container sees it whose /valohai is `directory`."""
    moved = [replace(file, path=file.path.replace("/valohai", str(directory), 1)) for file in item.files]
    return replace(item, files=moved)


def run(directory: Path, spec: ExecutionSpec) -> Any:
    for name in ("outputs", "repository"):
        (directory / name).mkdir()
    variables = {
        name: value.replace("/valohai", str(directory), 1)
        for name, value in config_files.build_environment(spec).items()
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", **variables},
        cwd=directory / "repository",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

"""Uploads of outputs: each file is independent of the others."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable

import pytest
from runner_host import execute, execution
from runner_server import RunnerServer

from core import datum
from core.errors import ExecutionFailed
from runner.execution.upload import SIDECARS
from runner.host import Host

pytestmark = pytest.mark.docker

LONG = "cd /valohai/outputs; echo a >a.txt; echo z >z.txt; for i in 1 2 3 4 5 6; do mkdir -p $D; cd $D; done; echo m >m.txt"


def test_a_file_whose_path_is_too_long_loses_no_other_file(server: RunnerServer, host: Host) -> None:
    variables = {"D": "d" * 200}
    recorded = server.add(execution(LONG, environment_variables=variables))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"a.txt": b"a\n", "z.txt": b"z\n"}
    status = recorded.lines("status")
    assert "Uploaded 2 outputs, 4 B" in status
    [line] = [line for line in status if line.endswith("; not kept")]
    assert line.startswith(f"outputs/{'d' * 200}/")
    assert "cannot be stored: its path has 1,211 characters; 1 to 1,024 are allowed" in line
    assert (recorded.final["state"], recorded.final["failure_reason"]) == ("error", "output")
    message = recorded.final["message"]
    assert message.startswith("1 of 3 output files cannot be stored: outputs/ddd")
    assert message.endswith("its path has 1,211 characters; 1 to 1,024 are allowed")
    assert "http" not in "".join([message, *status])


def test_a_file_that_the_server_does_not_accept_loses_no_other_file(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("cd /valohai/outputs; for i in a b c; do echo $i >$i; done"))
    refused: list[str] = []

    def refuse_the_second(path: str) -> int | None:
        if "/outputs/" not in path:
            return None
        refused.append(path)
        return 400 if len(refused) == 2 else None

    server.before = refuse_the_second
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"a": b"a\n", "c": b"c\n"}
    assert recorded.final["message"] == "1 of 3 output files cannot be stored: outputs/b: the server answered 400"
    assert "outputs/b cannot be stored: the server answered 400; not kept" in recorded.lines("status")


CHANGES: dict[str, Callable[[Host, str], object]] = {
    "shorter": lambda host, name: (host.executions / name / "outputs" / "b").write_bytes(b"short"),
    "longer": lambda host, name: (host.executions / name / "outputs" / "b").write_bytes(bytes(3_000_000)),
    "gone": lambda host, name: (host.executions / name / "outputs" / "b").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_stored_loses_no_other_file(
    server: RunnerServer, host: Host, change: str
) -> None:
    commands = "cd /valohai/outputs; echo a >a; head -c 2000000 /dev/zero >b; echo c >c"
    recorded = server.add(execution(commands, output_bytes=10_000_000))
    done = threading.Event()

    def fail_once(path: str) -> int | None:
        if "/outputs/" in path and "a" in recorded.outputs and not done.is_set():
            CHANGES[change](host, recorded.spec.uuid)
            done.set()
            return 503  # so that it is sent again
        return None

    server.before = fail_once
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"a": b"a\n", "c": b"c\n"}
    assert recorded.final["message"].startswith("1 of 3 output files cannot be stored: outputs/b: it changed while")


def test_a_file_that_becomes_shorter_on_the_way_is_not_sent_again(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("true"))
    with pytest.raises(ExecutionFailed, match="it became shorter while it was stored"):
        host.reporter.upload(recorded.spec.uuid, 1, str(uuid.uuid4()), "b", lambda: io.BytesIO(b"short"), 100)


@pytest.mark.parametrize(
    ("name", "possible"),
    [("x" * 1024, True), ("x" * 1025, False), ("€" * 1024, False), ("€" * 700, True), ("a/../b", False), ("", False)],
)
def test_names_that_are_possible(name: str, possible: bool) -> None:
    assert (datum.find_name_problem(name) == "") is possible


def test_a_file_that_was_stored_before_with_other_content_loses_no_other_file(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("cd /valohai/outputs; for i in a b c; do echo $i >$i; done"))
    tries: list[str] = []

    def conflict_about_the_second(path: str) -> int | None:
        tries.append(path) if "/outputs/" in path else None
        return 409 if "/outputs/" in path and len(tries) == 2 else None

    server.before = conflict_about_the_second
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"a": b"a\n", "c": b"c\n"}
    message = "1 of 3 output files cannot be stored: outputs/b: it is already stored with other content"
    assert recorded.final["message"] == message


def test_two_files_whose_names_are_shown_alike_do_not_end_the_execution(server: RunnerServer, host: Host) -> None:
    commands = r"cd /valohai/outputs; echo 1 >%FF; echo 2 >$(printf '\377'); echo z >z"
    recorded = server.add(execution(commands))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"%FF": b"1\n", "z": b"z\n"}
    message = "1 of 3 output files cannot be stored: outputs/%FF: another output has the same name"
    assert recorded.final["message"] == message


def test_files_that_describe_others_are_said_to_have_no_effect(server: RunnerServer, host: Host) -> None:
    recorded = server.add(
        execution("cd /valohai/outputs; echo 1 >a; echo {} >a.metadata.json; echo {} >b.metadata.json")
    )
    plain = server.add(execution("echo {} >/valohai/outputs/b.metadata.json"))
    for spec in (recorded.spec, plain.spec):
        execute(host, spec.uuid, 1)
    assert recorded.outputs.keys() == {"a", "a.metadata.json", "b.metadata.json"}
    assert SIDECARS in recorded.lines("status")
    assert SIDECARS not in plain.lines("status")
    assert recorded.final["state"] == "complete"


def test_files_that_describe_others_are_known_by_their_names() -> None:
    names = [
        "a",
        "a.metadata.json",
        "b.metadata.json",
        "d/valohai.metadata.jsonl",
        "valohai.metadata.jsonl",
        "d/a.metadata.json",
    ]
    assert [name for name in names if datum.is_sidecar(name, names)] == ["a.metadata.json", "valohai.metadata.jsonl"]

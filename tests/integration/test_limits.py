"""Every limit ends an execution with its own reason and a message that names the limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_host import BUSYBOX, IMAGE, docker, execute, execution, keeper_process, runner_host, take_up, until
from runner_server import RunnerServer

from core.config import Memory, Size
from runner.host import Host, get_memory_bytes

pytestmark = pytest.mark.docker

MANY = "for i in $(seq 60); do sleep 2 & done; wait; false"


@pytest.fixture(scope="module")
def bash_image() -> Iterator[str]:
    made = docker("run", "--detach", "--network", "none", IMAGE, "ln", "-sf", "bash", "/bin/sh")
    docker("wait", made)
    docker("commit", made, "pushmill-test-bash")
    docker("rm", made)
    yield "pushmill-test-bash"
    docker("image", "rm", "pushmill-test-bash")


@pytest.mark.parametrize("image", [IMAGE, BUSYBOX, "pushmill-test-bash"], ids=["dash", "busybox", "bash"])
def test_the_limit_of_processes(server: RunnerServer, tmp_path: Path, image: str, bash_image: str) -> None:
    with runner_host(tmp_path, server.url, pids=20) as host:
        recorded = server.add(execution("#!/bin/sh\n" + MANY, image=image))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "pids"
    assert recorded.final["message"] == "It reached the limit of 20 processes and threads"


@pytest.mark.parametrize("image", [IMAGE, BUSYBOX, "pushmill-test-bash"], ids=["dash", "busybox", "bash"])
def test_a_failure_below_the_limit_of_processes_is_the_commands_own(
    server: RunnerServer, tmp_path: Path, image: str, bash_image: str
) -> None:
    with runner_host(tmp_path, server.url, pids=200) as host:
        recorded = server.add(execution(MANY, image=image))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "command_failed"


def test_memory(server: RunnerServer, tmp_path: Path) -> None:
    if "WARNING: No memory limit support" in docker("info"):
        pytest.skip("this kernel cannot limit memory")
    with runner_host(tmp_path, server.url, memory=Memory(200_000_000)) as host:
        recorded = server.add(execution("python3 -c \"b = b'x' * 500_000_000\"", memory=100_000_000))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "out_of_memory"
    assert recorded.final["message"] == "The kernel ended a process of it at its memory limit of 95.4 MiB"


def test_without_a_setting_a_container_gets_most_of_the_machines_memory(server: RunnerServer, host: Host) -> None:
    if "WARNING: No memory limit support" in docker("info"):
        pytest.skip("this kernel cannot limit memory")
    show = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    recorded = server.add(execution(show))
    execute(host, recorded.spec.uuid, 1)
    assert abs(int(recorded.lines()[0]) - 0.9 * get_memory_bytes()) < 5000  # the kernel counts in pages


def test_time(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("sleep 100", time_limit_s=1.5))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "time_limit"
    assert recorded.final["message"] == "It ran longer than its time limit of 1.5 s"


def test_time_that_is_up_before_the_container_starts(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("true", time_limit_s=0.001))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "time_limit"
    assert recorded.final["message"] == "Its time limit of 0.001 s passed before the container started"


def test_silence(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("sleep 100", no_output_limit_s=1.0, stop_grace_s=1.0))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "no_output"
    assert recorded.final["message"] == "It printed nothing for longer than its no-output limit of 1 s"


def test_disk(server: RunnerServer, tmp_path: Path) -> None:
    with runner_host(tmp_path, server.url, min_free_disk=Size(1 << 60)) as host:
        recorded = server.add(execution("true"))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "disk"
    assert recorded.final["message"].endswith("of free disk; [runner] min_free_disk asks for 1024 PiB")


FILES = "for i in 1 2 3 4; do echo $i >/valohai/outputs/$i; done"


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        (
            {"output_count": 2},
            "The limit of 2 output files ([limits] output_count) is reached; 2 files are not kept (4 B)",
        ),
        (
            {"output_bytes": 5},
            "The limit of 5 B of outputs ([limits] output_bytes) is reached; 2 files are not kept (4 B)",
        ),
    ],
    ids=["count", "bytes"],
)
def test_outputs_keep_what_came_first(server: RunnerServer, host: Host, limit: dict[str, int], sentence: str) -> None:
    recorded = server.add(execution(FILES, **limit))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"1": b"1\n", "2": b"2\n"}
    assert (recorded.final["state"], recorded.final["failure_reason"]) == ("error", "output")
    assert recorded.final["message"] == sentence
    assert "Uploaded 2 outputs, 4 B" in recorded.lines("status")


def test_outputs_past_the_limit_do_not_hide_how_a_program_failed(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(f"{FILES}; exit 3", output_count=2))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "command_failed"
    assert any("The limit of 2 output files" in line for line in recorded.lines("status"))


HALF = "stdout is longer than half of the log's limit of 19.5 KiB: of what follows the newest 9.77 KiB are kept"


def test_of_a_log_past_its_limit_the_beginning_and_the_end_are_kept(server: RunnerServer, host: Host) -> None:
    lines = "python3 -c 'for i in range(5000): print(f\"line {i:04}\")'"  # of 10 bytes
    recorded = server.add(execution(lines, "echo 12345 >&2; echo kept >/valohai/outputs/o", log_bytes=20_000))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "complete"
    assert recorded.outputs == {"o": b"kept\n"}
    printed, stored = [f"line {i:04}" for i in range(5000)], recorded.lines()
    assert stored[:1000] == printed[:1000]
    assert stored[1000:] == printed[1000 - len(stored) :]
    assert len(stored) > 1700
    assert recorded.lines("stderr") == ["12345"]
    assert sum(batch.skipped for batch in recorded.batches) == 10 * (5000 - len(stored))
    status = recorded.lines("status")
    assert status.count(HALF) == 1
    assert not any("stderr" in line for line in status)


def test_the_newest_lines_are_kept_though_the_keeper_died(server: RunnerServer, host: Host) -> None:
    first = "python3 -c 'for i in range(5000): print(f\"first {i:03}\")'"
    last = "python3 -c 'for i in range(500): print(f\"last {i:04}\")'"
    wait = "while [ ! -e /valohai/outputs/go ]; do sleep 0.05; done"
    recorded = server.add(execution(first, wait, last, log_bytes=20_000))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: HALF in recorded.lines("status"))
    (host.executions / recorded.spec.uuid / "outputs" / "go").touch()
    take_up(host)
    assert recorded.final["state"] == "complete"
    stored = recorded.lines()
    assert stored[:1000] == [f"first {i:03}" for i in range(1000)]
    assert stored[-500:] == [f"last {i:04}" for i in range(500)]
    assert len(stored) == len(set(stored))
    assert recorded.lines("status").count(HALF) == 1

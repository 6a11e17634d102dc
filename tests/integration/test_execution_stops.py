"""Every way in which the runner, not the program, ends an execution."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from runner_host import docker, execute, executing, execution, runner_host, until
from runner_server import RunnerServer

from core.config import Memory
from core.wire import ExecutionSpec
from runner.host import Host

pytestmark = pytest.mark.docker

HANDLER = """python3 -uc "
import signal, sys, time
def bye(*_):
    time.sleep(0.5); print('checkpoint saved'); sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print('up')
time.sleep(100)
" """
LONG_S = 600.0  # a grace that no test waits for
DEAF = "trap '' TERM; echo up; while :; do sleep 1; done"


def stop_when_up(
    server: RunnerServer, host: Host, spec: ExecutionSpec, order: str = "stop"
) -> tuple[dict[str, object], float]:
    """The final report, which comes within a minute, and how many seconds it took from the order."""
    recorded = server.add(spec)
    with executing(host, spec):
        until(lambda: recorded.lines() == ["up"])
        started = time.monotonic()
        recorded.stop = order
    return recorded.final, time.monotonic() - started


def test_stop_lets_the_program_finish_its_handler_and_no_next_command_runs(server: RunnerServer, host: Host) -> None:
    spec = execution(HANDLER, "echo never", stop_grace_s=LONG_S)
    final, _ = stop_when_up(server, host, spec)
    assert final["state"] == "stopped"
    assert server.executions[spec.uuid].lines() == ["up", "checkpoint saved"]
    assert "Stopping: SIGTERM, 600 s grace" in server.executions[spec.uuid].lines("status")


def test_stop_waits_for_a_handler_in_the_background_too(server: RunnerServer, host: Host) -> None:
    spec = execution(HANDLER.replace("sleep(0.5)", "sleep(3)") + "& wait")
    stop_when_up(server, host, spec)
    assert server.executions[spec.uuid].lines() == ["up", "checkpoint saved"]


def test_a_program_that_ignores_the_stop_is_killed_after_the_grace(server: RunnerServer, host: Host) -> None:
    spec = execution(DEAF, stop_grace_s=1.0)
    final, took = stop_when_up(server, host, spec)
    assert final["state"] == "stopped"
    assert final["exit_code"] == 137
    assert took > 1


def test_a_kill_order_does_not_wait_for_the_grace(server: RunnerServer, host: Host) -> None:
    final, _ = stop_when_up(server, host, execution(DEAF, stop_grace_s=LONG_S), order="kill")
    assert final["state"] == "stopped"


def test_a_second_stop_cuts_the_grace_short(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(DEAF, stop_grace_s=LONG_S))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        recorded.stop = "stop"
        until(lambda: any(line.startswith("Stopping") for line in recorded.lines("status")))
        recorded.stop = "kill"
    assert recorded.final["state"] == "stopped"


def test_a_stop_on_a_full_disk_keeps_the_outputs(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo saved >/valohai/outputs/saved; echo up; sleep 100"))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        (host.executions / recorded.spec.uuid / "ending.json").mkdir()  # like a full disk: it cannot be written
        recorded.stop = "stop"
    assert recorded.final["state"] == "stopped"
    assert recorded.outputs == {"saved": b"saved\n"}


def test_stop_reaches_a_child_of_another_user(server: RunnerServer, host: Host) -> None:
    child = "python3 -uc \"import os, time; os.setuid(1234); print('up'); time.sleep(100)\""
    final, _ = stop_when_up(server, host, execution(child, stop_grace_s=LONG_S))
    assert final["state"] == "stopped"


def test_the_time_limit_ends_it_like_a_stop(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution(HANDLER, time_limit_s=1.5))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "time_limit"
    assert recorded.lines()[-1] == "checkpoint saved"


def test_no_output_for_too_long_ends_it_and_output_in_time_does_not(server: RunnerServer, host: Host) -> None:
    talk = "for i in 1 2 3 4; do printf .; sleep 0.5; done; echo; sleep 100"
    recorded = server.add(execution(talk, no_output_limit_s=1.2, stop_grace_s=1.0))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "no_output"
    assert recorded.text() == b"....\n"


def test_a_program_that_prints_without_end_is_capped_and_stops_on_order(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; yes 'this line goes on for ever and ever'", log_bytes=1_000_000))
    with executing(host, recorded.spec):
        stdout = host.executions / recorded.spec.uuid / "spool" / "stdout"
        until(lambda: stdout.exists() and stdout.stat().st_size > 50_000_000)
        until(lambda: stdout.stat().st_blocks * 512 < 40_000_000)
        recorded.stop = "stop"
    assert recorded.final["state"] == "stopped"
    skipped = sum(batch.skipped for batch in recorded.batches)
    assert skipped > 40_000_000
    assert recorded.acknowledged["stdout"] > 50_000_000
    half = "stdout is longer than half of the log's limit of 977 KiB: of what follows the newest 488 KiB are kept"
    assert recorded.lines("status").count(half) == 1


def test_a_process_that_takes_too_much_memory_is_told_so(server: RunnerServer, tmp_path: Path) -> None:
    if "WARNING: No memory limit support" in docker("info"):
        pytest.skip("this kernel cannot limit memory")
    with runner_host(tmp_path, server.url, memory=Memory(100_000_000)) as host:
        recorded = server.add(execution("echo up; python3 -c \"b = b'x' * 500_000_000\""))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "out_of_memory"
    assert recorded.lines() == ["up"]


def test_a_container_killed_behind_our_back_is_interrupted_not_failed(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo up; sleep 100"))
    with executing(host, recorded.spec):
        until(lambda: recorded.lines() == ["up"])
        docker("kill", recorded.container["container_id"])
    assert recorded.final["failure_reason"] == "interrupted"


def test_a_stop_during_the_upload_ends_it(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("for i in 1 2 3; do echo $i >/valohai/outputs/$i; done"))

    def hold_second_upload(path: str) -> int | None:
        if "/outputs/" not in path or not recorded.outputs:
            return None
        recorded.stop = "stop"
        return 503

    server.before = hold_second_upload
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["state"] == "stopped"
    assert list(recorded.outputs) == ["1"]


def test_a_stop_before_the_container_makes_none(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo never", time_limit_s=0.000001))
    execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "time_limit"
    assert recorded.container == {}


def test_too_little_disk_refuses_the_execution(server: RunnerServer, tmp_path: Path) -> None:
    with runner_host(tmp_path, server.url, min_free_disk=1 << 60) as host:
        recorded = server.add(execution("echo never"))
        execute(host, recorded.spec.uuid, 1)
    assert recorded.final["failure_reason"] == "disk"
    assert recorded.container == {}

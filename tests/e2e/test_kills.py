"""Killed processes are back within a bounded time, and nothing of an execution is lost, duplicated or left behind."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from instance import Checkout, Instance, running, wait_for
from machines import (
    SERVER_ALONE,
    UNTIL_GO,
    Machine,
    frozen,
    launch,
    lease_over,
    machine,
    step,
    web_process,
    within,
)
from redis import Redis

pytestmark = [pytest.mark.docker, pytest.mark.redis]

ADOPTED_S = 5.0  # from the death of a slot until the next one has its container
TAKEN_AGAIN_S = 5.0  # from the loss of a queued job until it runs
QUEUED_AGAIN_S = 15.0  # from the death of a runner until what had no container yet waits for another
LEFT_S = 5.0  # from SIGTERM until a runner is gone
PAUSE_S = 20.0  # longer than any lease

names = (f"runner{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server whose own runner takes no executions."""
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


@pytest.fixture
def runner(site: Instance, tmp_path: Path) -> Iterator[Machine]:
    with machine(site, tmp_path / "runner", next(names)) as made:
        yield made


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def printing(instance: Instance, checkout: Checkout, project: str) -> str:
    (execution,) = launch(instance, checkout, project, step("count", UNTIL_GO))
    wait_for(lambda: "line 5" in instance.events(execution, "stdout"))
    return execution


def adopted(instance: Instance, execution: str) -> bool:
    return any(line.endswith("resumed it") for line in instance.events(execution, "status"))


def finish_whole(instance: Instance, execution: str, *runners: Machine) -> None:
    """Let the program end: it is complete, has every line once and in order, and nothing of it is left on a runner."""
    (home,) = [found for found in runners if (found.executions / execution).exists()]
    (home.executions / execution / "outputs" / "go").touch()
    assert instance.wait_final(execution, 30)["status"] == "complete", instance.events(execution)
    lines = instance.events(execution, "stdout")
    assert lines == [*(f"line {i}" for i in range(1, len(lines))), "end"]
    wait_for(lambda: not home.leftovers())


def test_the_next_slot_takes_up_the_container_of_one_that_was_killed(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    execution = printing(site, checkout, "slot")
    runner.keeper(execution).kill()
    within(ADOPTED_S, "slot killed, container taken up", lambda: adopted(site, execution))
    finish_whole(site, execution, runner)


@pytest.mark.parametrize("all_of_it", [False, True], ids=["parent", "parent and slots"])
def test_a_runner_that_was_killed_and_started_anew_takes_up_its_containers(
    site: Instance, runner: Machine, checkout: Checkout, all_of_it: bool
) -> None:
    execution = printing(site, checkout, f"killed-{int(all_of_it)}")
    assert runner.process is not None
    runner.kill() if all_of_it else runner.process.kill()
    runner.start()
    within(ADOPTED_S, "runner killed and started, container taken up", lambda: adopted(site, execution))
    finish_whole(site, execution, runner)


def test_up_starts_its_killed_runner_again_in_time(server: Instance, checkout: Checkout) -> None:
    execution = printing(server, checkout, "local")
    pid = int((server.data / "run" / "runner.pid").read_text().split()[0])
    psutil.Process(pid).kill()
    within(ADOPTED_S, "runner of `up` killed, container taken up", lambda: adopted(server, execution))
    (server.data / "runner" / "executions" / execution / "outputs" / "go").touch()
    assert server.wait_final(execution)["status"] == "complete"


def test_up_starts_again_though_its_killed_start_left_a_web_server_that_hangs(tmp_path: Path) -> None:
    with running(tmp_path / "data", SERVER_ALONE) as instance:
        assert instance.process is not None
        left = web_process(instance)
        left.suspend()
        instance.process.kill()
        instance.process.wait()
        print(f"`up` killed, its web server hangs, page served again: {instance.start():.2f} s (at most 30 s)")
        assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


def test_a_runner_that_is_told_to_end_leaves_its_containers_and_goes(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    execution = printing(site, checkout, "told")
    seconds = runner.stop()
    print(f"SIGTERM, runner gone: {seconds:.2f} s (at most {LEFT_S:g} s)")
    assert len(runner.containers("--filter", "status=running")) == 1
    assert site.execution(execution)["status"] == "started"
    runner.start()
    within(ADOPTED_S, "runner started again, container taken up", lambda: adopted(site, execution))
    finish_whole(site, execution, runner)


def test_a_runner_whose_server_hangs_goes_in_time_too(site: Instance, runner: Machine, checkout: Checkout) -> None:
    execution = printing(site, checkout, "hangs")
    with frozen(web_process(site)):
        wait_for(lambda: waits_for_an_answer(runner))
        seconds = runner.stop()
    print(f"SIGTERM while the server hangs, runner gone: {seconds:.2f} s (at most {LEFT_S:g} s)")
    runner.start()
    wait_for(lambda: adopted(site, execution))
    finish_whole(site, execution, runner)


def test_a_slot_that_dies_while_the_server_hangs_is_replaced_in_time(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    execution = printing(site, checkout, "replaced")
    with frozen(web_process(site)):
        wait_for(lambda: waits_for_an_answer(runner))
        keeper = runner.keeper(execution)
        keeper.kill()
        within(ADOPTED_S, "slot killed while the server hangs, next slot there", lambda: holds_lock(runner, execution))
    finish_whole(site, execution, runner)


def test_a_queued_job_that_redis_lost_is_taken_again(site: Instance, runner: Machine, checkout: Checkout) -> None:
    wait_for(lambda: runner.online)
    runner.kill()
    (execution,) = launch(site, checkout, "flushed", step("hello", "echo hello"))
    wait_for(lambda: queued_jobs(site))
    redis(site).flushall()
    runner.start()
    within(TAKEN_AGAIN_S, "Redis emptied, job taken again", lambda: site.execution(execution)["status"] != "queued")
    assert site.wait_final(execution)["status"] == "complete"


def test_a_queued_job_outlives_a_redis_that_is_killed_and_forgets_everything(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    wait_for(lambda: runner.online)
    with frozen(*runner.children):
        (execution,) = launch(site, checkout, "forgot", step("hello", "echo hello"))
        wait_for(lambda: queued_jobs(site))
        pid = redis(site).info("server")["process_id"]
        for path in (site.data / "redis").glob("appendonly*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        psutil.Process(pid).kill()
    within(TAKEN_AGAIN_S, "Redis killed, job taken again", lambda: site.execution(execution)["status"] != "queued")
    assert site.wait_final(execution)["status"] == "complete"


@pytest.mark.parametrize("stage", ["inputs", pytest.param("image", marks=pytest.mark.chaos)])
def test_what_had_no_container_yet_waits_for_another_runner_when_its_own_dies(
    site: Instance, runner: Machine, checkout: Checkout, deaf: int, stage: str
) -> None:
    slow = (
        step("slow", "echo never", inputs=[{"name": "data", "default": f"http://127.0.0.1:{deaf}/data"}])
        if stage == "inputs"
        else step("slow", "echo never", image=f"127.0.0.1:{deaf}/ada/box:1")
    )
    (execution,) = launch(site, checkout, f"early-{stage}", slow)
    wait_for(lambda: site.execution(execution)["status"] == "started")
    runner.kill()
    within(
        QUEUED_AGAIN_S, "runner dead, execution queued again", lambda: site.execution(execution)["status"] == "queued"
    )
    site.client.post(f"/executions/{execution}/stop/").raise_for_status()
    assert site.wait_final(execution)["status"] == "stopped"
    runner.start()
    wait_for(lambda: not runner.leftovers())


@pytest.mark.chaos
def test_what_was_handed_to_a_runner_that_died_before_taking_it_goes_to_another(
    site: Instance, runner: Machine, tmp_path: Path, checkout: Checkout
) -> None:
    wait_for(lambda: runner.online)
    runner.kill()
    (execution,) = launch(site, checkout, "untaken", step("hello", "echo hello"))
    wait_for(lambda: queued_jobs(site))
    with machine(site, tmp_path / "other", next(names)):
        within(
            QUEUED_AGAIN_S,
            "runner dead, execution runs elsewhere",
            lambda: site.events(execution, "stdout") == ["hello"],
        )
        assert site.wait_final(execution)["status"] == "complete"


@pytest.mark.chaos
def test_a_runner_that_slept_past_its_lease_goes_on_with_what_is_still_its_own(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    execution = printing(site, checkout, "slept")
    assert runner.process is not None
    with frozen(runner.process, *runner.children):
        wait_for(lambda: lease_over(site, execution), PAUSE_S)
        before = len(site.events(execution, "stdout"))
        assert site.execution(execution)["status"] == "started"
    within(5, "runner awake, its lines go on", lambda: len(site.events(execution, "stdout")) > before)
    assert not adopted(site, execution)
    finish_whole(site, execution, runner)


def test_a_runner_that_slept_until_its_execution_was_given_away_lets_go_of_it(
    site: Instance, runner: Machine, tmp_path: Path, checkout: Checkout, deaf: int
) -> None:
    (execution,) = launch(
        site,
        checkout,
        "given",
        step("late", UNTIL_GO, inputs=[{"name": "data", "default": f"http://127.0.0.1:{deaf}/data"}]),
    )
    wait_for(lambda: site.execution(execution)["status"] == "started")
    assert runner.process is not None
    with frozen(runner.process, *runner.children):
        wait_for(lambda: site.execution(execution)["status"] == "queued", PAUSE_S)
        with machine(site, tmp_path / "other", next(names)) as other:
            wait_for(lambda: site.execution(execution)["status"] == "started", 30)
            assert (other.executions / execution).exists()
            for process in (*runner.children, runner.process):
                process.send_signal(signal.SIGCONT)
            within(5, "runner awake, execution let go", lambda: not runner.leftovers())
            assert site.execution(execution)["status"] == "started"
            assert (other.executions / execution).exists()
            site.client.post(f"/executions/{execution}/stop/").raise_for_status()
            assert site.wait_final(execution)["status"] == "stopped"
            wait_for(lambda: not other.leftovers())


def waits_for_an_answer(runner: Machine) -> bool:
    """Return whether the runner's process has a connection with data that the server has not read."""
    assert runner.process is not None
    table = subprocess.run(["ss", "-tnp"], capture_output=True, text=True, check=True).stdout
    port = f"127.0.0.1:{runner.instance.port}"
    rows = [line.split() for line in table.splitlines()]
    ours = {row[3] for row in rows if row[4] == port and f"pid={runner.process.pid}," in row[-1]}
    return any(row[3] == port and row[4] in ours and int(row[1]) > 0 for row in rows)


def holds_lock(runner: Machine, execution: str) -> bool:
    try:
        return runner.keeper(execution).is_running()
    except TimeoutError:
        return False


def redis(instance: Instance) -> Redis:
    return Redis.from_url((instance.data / "redis" / "url").read_text().strip())


def queued_jobs(instance: Instance) -> int:
    with redis(instance) as connection:
        keys = connection.keys("rq:queue:runner-*")
        return sum(connection.llen(key) for key in keys)

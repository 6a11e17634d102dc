"""A runner's Docker daemon stops during an execution and starts again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Checkout, Instance, running, wait_for
from machines import SERVER_ALONE, UNTIL_GO, Machine, launch, machine, step
from own_dockerd import OwnDockerd, own_dockerd

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.root]

HOW = ["killed", pytest.param("told to end", marks=pytest.mark.chaos)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


def end(daemon: OwnDockerd, how: str) -> None:
    daemon.kill() if how == "killed" else daemon.stop()


def besides_volumes(runner: Machine) -> list[str]:
    """Docker 20.10 counts a mount of a restored container for ever ("volume has active mounts") and keeps its volume
    until it starts anew; the runner's next slot removes it then."""
    return [found for found in runner.leftovers() if not found.startswith("volume ")]


@pytest.mark.parametrize("how", HOW)
def test_with_live_restore_an_execution_goes_on_without_its_daemon(
    site: Instance, tmp_path: Path, checkout: Checkout, how: str
) -> None:
    name = f"live-{how.replace(' ', '-')}"
    with (
        own_dockerd(tmp_path / "docker", "--live-restore") as daemon,
        machine(site, tmp_path / "runner", name, environment=daemon.environment) as runner,
    ):
        (before,) = launch(site, checkout, name, step("before", "echo before"))  # the next one joins its sandbox
        assert site.wait_final(before, 30)["status"] == "complete", site.events(before)
        (execution,) = launch(site, checkout, name, step("count", UNTIL_GO))
        wait_for(lambda: "line 5" in site.events(execution, "stdout"))
        end(daemon, how)
        so_far = len(site.events(execution, "stdout"))
        wait_for(lambda: len(site.events(execution, "stdout")) > so_far + 20)
        daemon.start()
        (runner.executions / execution / "outputs" / "go").touch()
        assert site.wait_final(execution, 30)["status"] == "complete", site.events(execution)
        lines = site.events(execution, "stdout")
        assert lines == [*(f"line {i}" for i in range(1, len(lines))), "end"]
        (after,) = launch(site, checkout, name, step("after", "echo after"))
        assert site.wait_final(after, 30)["status"] == "complete", site.events(after)
        wait_for(lambda: not besides_volumes(runner))


def test_an_execution_that_begins_while_docker_is_away_waits_for_it(
    site: Instance, tmp_path: Path, checkout: Checkout
) -> None:
    with (
        own_dockerd(tmp_path / "docker", "--live-restore") as daemon,
        machine(site, tmp_path / "runner", "away", environment=daemon.environment) as runner,
    ):
        (before,) = launch(site, checkout, "away", step("before", "echo before"))
        assert site.wait_final(before, 30)["status"] == "complete", site.events(before)
        wait_for(lambda: not runner.leftovers())
        daemon.kill()
        (execution,) = launch(site, checkout, "away", step("hello", "echo hello"))
        wait_for(lambda: any(line.startswith("Docker does not answer") for line in site.events(execution, "status")))
        daemon.start()
        assert site.wait_final(execution, 30)["status"] == "complete", site.events(execution)
        assert site.events(execution, "stdout") == ["hello"]
        wait_for(lambda: not runner.leftovers())


@pytest.mark.parametrize("how", HOW)
def test_without_live_restore_it_was_interrupted_and_keeps_what_it_wrote(
    site: Instance, tmp_path: Path, checkout: Checkout, how: str
) -> None:
    name = f"plain-{how.replace(' ', '-')}"
    with (
        own_dockerd(tmp_path / "docker") as daemon,
        machine(site, tmp_path / "runner", name, environment=daemon.environment) as runner,
    ):
        (execution,) = launch(
            site, checkout, name, step("count", "echo early >/valohai/outputs/early", UNTIL_GO, "echo never")
        )
        wait_for(lambda: "line 5" in site.events(execution, "stdout"))
        end(daemon, how)
        if how == "killed":  # the container lives on; a daemon that is told to end reports its death before it goes
            assert site.execution(execution)["status"] == "started"
        daemon.start()
        final = site.wait_final(execution, 30)
        assert (final["status"], final["failure_reason"]) == ("error", "interrupted"), site.events(execution)
        assert "did Docker or the machine restart?" in site.events(execution, "status")[-1]
        assert "never" not in site.events(execution, "stdout")
        (output,) = site.outputs(execution)
        assert site.download(output["id"]) == b"early\n"
        wait_for(lambda: not runner.leftovers())

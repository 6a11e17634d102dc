"""The network between a runner and its server is cut during an execution, for longer than a lease."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import PUSHMILL, Checkout, Instance, free_port, running, wait_for
from links import Link, link
from machines import SERVER_ALONE, UNTIL_GO, Machine, launch, lease_over, machine, step, value, within
from redis import Redis

from web.processes.private_redis import find_binary

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.root]

PASSWORD = "only-for-this-test"
AGAIN_S = 10.0  # from the healing of a link until lines flow and jobs are taken


@pytest.fixture
def links() -> Iterator[list[Link]]:
    with link() as one, link() as two:
        yield [one, two]


@pytest.fixture
def redis_port(links: list[Link]) -> Iterator[int]:
    """A Redis with a password on the links."""
    port = free_port()
    addresses = ["127.0.0.1", *(found.here for found in links)]
    command = [str(find_binary()), "--port", str(port), "--bind", *addresses, "--requirepass", PASSWORD, "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with contextlib.suppress(ConnectionError, OSError), Redis(port=port, password=PASSWORD) as connection:
            return bool(connection.ping())
        return False

    wait_for(answers)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def site(tmp_path: Path, redis_port: int) -> Iterator[Instance]:
    config = f'{SERVER_ALONE}[server]\nhost = "0.0.0.0"\n[redis]\nurl = "redis://:{PASSWORD}@127.0.0.1:{redis_port}"\n'
    with running(tmp_path / "site", config) as instance:
        yield instance


@pytest.fixture
def runners(site: Instance, links: list[Link], redis_port: int, tmp_path: Path) -> Iterator[list[Machine]]:
    """Two runners, each behind its own link."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(
                machine(
                    site,
                    tmp_path / name,
                    name,
                    server_url=f"http://{at.here}:{site.port}",
                    redis_url=f"redis://:{PASSWORD}@{at.here}:{redis_port}",
                    command=(*at.prefix, str(PUSHMILL), "runner"),
                )
            )
            for name, at in zip(("east", "west"), links, strict=True)
        ]
        wait_for(lambda: all(runner.online for runner in made))
        yield made


def test_a_cut_link_costs_an_execution_nothing_and_others_run_elsewhere(
    site: Instance, runners: list[Machine], links: list[Link], checkout: Checkout
) -> None:
    (execution,) = launch(site, checkout, "cut", step("count", UNTIL_GO))
    wait_for(lambda: "line 5" in site.events(execution, "stdout"))
    (home,) = [runner for runner in runners if (runner.executions / execution).exists()]
    cut = links[runners.index(home)]
    cut.cut()
    (other,) = launch(site, checkout, "cut", step("hello", "echo hello"))
    within(AGAIN_S, "link cut, another execution is done elsewhere", lambda: site.events(other, "stdout") == ["hello"])
    wait_for(lambda: lease_over(site, execution))
    assert site.execution(execution)["status"] == "started"
    so_far = len(site.events(execution, "stdout"))
    cut.heal()
    within(AGAIN_S, "link healed, lines are there", lambda: len(site.events(execution, "stdout")) > so_far + 100)
    (home.executions / execution / "outputs" / "go").touch()
    assert site.wait_final(execution)["status"] == "complete", site.events(execution)
    lines = site.events(execution, "stdout")
    assert lines == [*(f"line {i}" for i in range(1, len(lines))), "end"]
    wait_for(lambda: not any(runner.leftovers() for runner in runners))


@pytest.mark.chaos
def test_an_idle_runner_takes_jobs_again_when_its_link_is_healed(
    site: Instance, runners: list[Machine], links: list[Link], checkout: Checkout
) -> None:
    for found in links:
        found.cut()
    (execution,) = launch(site, checkout, "idle", step("hello", "echo hello"))
    wait_for(lambda: site.execution(execution)["status"] == "queued")
    # it was handed to one of them, which did not take it
    wait_for(lambda: value(site, "SELECT runner_id FROM execution WHERE uuid = ?", execution) is None)
    for found in links:
        found.heal()
    within(AGAIN_S, "links healed, a job is done", lambda: site.events(execution, "stdout") == ["hello"])
    assert site.wait_final(execution)["status"] == "complete"

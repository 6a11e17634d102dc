"""A runner of another machine: registered by the command, with TLS to Redis, drained, given a new token, removed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import leftovers
import psutil
import pytest
from instance import PUSHMILL, Checkout, Instance, free_port, running, wait_for
from machines import UNTIL_GO
from test_push import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

COUNT = "for i in $(seq 1 {}); do echo line $i; sleep 0.1; done"


def in_environment(name: str, commands: str, environment: str) -> str:
    return step(name, commands, extra=f"    environment: {environment}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("remote")
    cert, key = folder / "redis.crt", folder / "redis.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=pushmill", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    instance = Instance(folder / "data")
    (instance.data / "config.toml").write_text(
        f'[server]\nurl = "{instance.url}"\n[limits]\nstop_grace = "3 s"\n'
        f'[redis]\nlisten = "127.0.0.1:{free_port()}"\ncert = "{cert}"\nkey = "{key}"\n'
    )
    instance.start()
    yield instance
    instance.stop()


def pushmill(site: Instance, *arguments: str, exit_code: int = 0) -> str:
    done = subprocess.run(
        [PUSHMILL, *arguments, "--data", site.data], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == exit_code, done.stderr
    return done.stdout + done.stderr


def runner(site: Instance, *arguments: str, exit_code: int = 0) -> str:
    return pushmill(site, "runner", *arguments, exit_code=exit_code)


def listed(site: Instance, name: str) -> Any:
    return next(item for item in json.loads(runner(site, "list", "--json")) if item["name"] == name)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, check=True, text=True).stdout


class Machine:
    """The machine of a runner, set up from the output of `register` as an administrator does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def configure(self, printed: str, site: Instance) -> None:
        certificate = re.search(r'cert = "(.+)"', (site.data / "config.toml").read_text())
        assert certificate
        text = printed[printed.index("[runner]") : printed.index("and then, as root")]
        text = text.replace("/etc/pushmill/redis.crt", certificate.group(1)).replace("server = ", f"{EXTRA}server = ")
        (self.folder / "config.toml").write_text(text)

    @contextmanager
    def up(self) -> Iterator[psutil.Popen]:
        command = [str(PUSHMILL), "runner", "--config", str(self.folder / "config.toml"), "--data", str(self.folder)]
        with open(self.folder / "log", "ab") as log:
            process = psutil.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def clear(self) -> None:
        runner_id = (self.folder / "runner" / "id").read_text().strip()
        for found in docker("ps", "--all", "--quiet", "--filter", f"label=pushmill.runner={runner_id}").split():
            docker("rm", "--force", "--volumes", found)


EXTRA = f'slots = 1\nnetwork = "{leftovers.NETWORK}"\nshm = "64 MiB"\nmin_free_disk = 0\n'


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "machine")
    yield machine
    machine.clear()


def execution(site: Instance, checkout: Checkout, project: str, environment: str, lines: int) -> str:
    checkout.commit({"valohai.yaml": in_environment("count", COUNT.format(lines), environment)})
    checkout.push(site.git_url(project))
    found = wait_for(lambda: site.executions(project))[-1]
    return str(found["id"])


def printing(site: Instance, execution: str, line: int = 5) -> None:
    wait_for(lambda: f"line {line}" in site.events(execution, "stdout"))


def test_a_machine_becomes_a_runner_with_what_register_prints_and_its_token_can_be_replaced_while_it_works(
    site: Instance, machine: Machine, checkout: Checkout
) -> None:
    machine.configure(runner(site, "register", "gpu-1", "--environment", "remote"), site)
    assert listed(site, "gpu-1")["state"] == "never connected"
    with machine.up():
        uuid = execution(site, checkout, "remote", "remote", 150)
        printing(site, uuid)
        item = listed(site, "gpu-1")
        assert (item["state"], item["environments"], item["running"]) == (
            "online", ["remote"], [{"project": "remote", "counter": 1, "step": "count"}],
        )  # fmt: skip
        assert "remote #1  count" in runner(site, "list")
        printed = runner(site, "rotate-token", "gpu-1")
        wait_for(lambda: "the server refuses this runner's token" in machine.said())
        assert machine.said().count("the server refuses this runner's token: put the one that") == 1
    with machine.up():  # still with the old one
        wait_for(lambda: machine.said().count("the server refuses this runner's token: put the one that") == 2)
        wait_for(lambda: "/claim: 401" in machine.said())
    machine.configure(printed, site)
    with machine.up():
        assert site.wait_final(uuid)["status"] == "complete"
        assert site.events(uuid, "stdout") == [f"line {i}" for i in range(1, 151)]
        again = execution(site, checkout, "remote-again", "remote", 1)
        assert site.wait_final(again)["status"] == "complete"
    assert "Traceback" not in machine.said()


def test_a_drained_runner_finishes_what_it_has_and_gets_nothing_new(
    site: Instance, machine: Machine, checkout: Checkout
) -> None:
    machine.configure(runner(site, "register", "drained", "--environment", "drained"), site)
    with machine.up():
        checkout.commit({"valohai.yaml": in_environment("count", UNTIL_GO, "drained")})
        checkout.push(site.git_url("drained"))
        uuid = str(wait_for(lambda: site.executions("drained"))[-1]["id"])
        printing(site, uuid)
        assert "runner drained runs 1 execution: " in runner(site, "remove", "drained", exit_code=1)
        with ThreadPoolExecutor() as pool:
            drain = pool.submit(runner, site, "drain", "drained", "--wait")
            wait_for(lambda: "draining: running executions finish" in machine.said())
            assert not drain.done()
            (machine.folder / "runner" / "executions" / uuid / "outputs" / "go").touch()
            said = drain.result()
        assert "it still runs drained #1" in said
        assert "has no running executions" in said
        assert site.execution(uuid)["status"] == "complete"
        waiting = execution(site, checkout, "drained-later", "drained", 1)
        assert listed(site, "drained")["state"] == "draining"
        assert site.execution(waiting)["status"] == "queued"
        runner(site, "resume", "drained")
        assert site.wait_final(waiting)["status"] == "complete"


def test_a_redis_that_was_killed_knows_its_runners_again_within_seconds(
    site: Instance, machine: Machine, checkout: Checkout
) -> None:
    machine.configure(runner(site, "register", "patient", "--environment", "patient"), site)
    with machine.up():
        assert site.wait_final(execution(site, checkout, "patient", "patient", 1))["status"] == "complete"
        os.kill(int((site.data / "redis" / "redis.pid").read_text()), signal.SIGKILL)
        wait_for(lambda: "Redis is back" in machine.said())
        assert site.wait_final(execution(site, checkout, "patient-again", "patient", 1))["status"] == "complete"
        assert "a slot ended" not in machine.said()


def test_a_runner_removed_by_force_gives_up_what_it_runs(site: Instance, machine: Machine, checkout: Checkout) -> None:
    machine.configure(runner(site, "register", "gone", "--environment", "gone"), site)
    with machine.up():
        uuid = execution(site, checkout, "gone", "gone", 600)
        printing(site, uuid)
        runner(site, "remove", "gone", "--force")
        assert site.execution(uuid)["status"] == "error"
        wait_for(lambda: "the server refuses this runner's token" in machine.said())
    assert "gone" not in [item["name"] for item in json.loads(runner(site, "list", "--json"))]
    assert 'there is no runner "gone"; there are: ' in runner(site, "drain", "gone", exit_code=1)
    machine.configure(runner(site, "register", "gone", "--environment", "gone"), site)
    with machine.up():
        assert site.wait_final(execution(site, checkout, "gone-again", "gone", 1))["status"] == "complete"


def test_without_a_redis_for_others_nobody_is_registered_and_the_way_out_is_said(tmp_path: Path) -> None:
    with running(tmp_path / "data") as plain:
        said = runner(plain, "register", "gpu-1", "--environment", "default", exit_code=1)
    assert re.fullmatch(r"pushmill: remote runners are off: to enable them, set listen, cert and key .+\n", said)

"""The leftovers of a test are ended with its instance; others fail the session, which names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import leftovers
import pytest
from instance import Checkout, running, wait_for
from machines import UNTIL_GO, launch, step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

TESTS = Path(leftovers.__file__).parent
CARELESS = """
import subprocess
from runner_host import BUSYBOX, docker
import leftovers

def test_careless(tmp_path):
    subprocess.Popen(["sleep", "300"])
    subprocess.Popen(["sleep", "301"], env={}, cwd=tmp_path)
    docker("run", "--detach", "--name", f"careless-{leftovers.SESSION}", "--network", "none", BUSYBOX, "sleep", "302")
    docker("volume", "create", f"careless-{leftovers.SESSION}")
"""
CARELESS_OF_NETWORKS = """
import subprocess
from pathlib import Path
from runner_host import docker
import leftovers

def test_careless():
    docker("network", "create", f"careless-{leftovers.SESSION}")
    docker("network", "create", leftovers.NETWORK)
    [bridge] = leftovers.bridges()
    rule = f"PREROUTING -i {bridge} -j RETURN"
    Path("rule").write_text(rule)
    subprocess.run(["iptables", "-w", "-t", "raw", "-A", *rule.split()], check=True)
    subprocess.run(["ip", "link", "add", f"{leftovers.LINK}l", "type", "bridge"], check=True)
    subprocess.run(["ip", "netns", "add", f"{leftovers.LINK}n"], check=True)
"""


def test_an_instance_whose_up_was_killed_ends_with_its_test(tmp_path: Path, checkout: Checkout) -> None:
    with running(tmp_path / "data", '[git]\nallow_local = true\n[runner]\nshm = "64 MiB"\n') as instance:
        (execution,) = launch(instance, checkout, "left", step("count", UNTIL_GO))
        wait_for(lambda: instance.events(execution, "stdout"))
        assert instance.process is not None
        instance.process.kill()
        instance.process.wait()
        assert leftovers.processes(f"{instance.data}/")
    assert leftovers.processes(f"{instance.data}/") == []
    assert leftovers.containers(instance.data) == []


def said_of(careless: str, tmp_path: Path, session: str) -> list[str]:
    """Run a test in its own session, which must fail although the test passes; return the leftovers that it names."""
    (tmp_path / "test_careless.py").write_text(careless)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    path = os.pathsep.join(map(str, [TESTS, TESTS / "integration"]))
    environ = os.environ | {leftovers.VARIABLE: session, "PYTHONPATH": path, "PUSHMILL_TEST_SETTLE_S": "0"}
    command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path}/base", str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    return done.stdout.partition("the tests left on this machine:\n")[2].splitlines()


def test_a_session_that_leaves_something_fails_and_names_it(tmp_path: Path) -> None:
    session = f"{leftovers.SESSION}f"
    try:
        found = said_of(CARELESS, tmp_path, session)
    finally:
        leftovers.end_processes(f"{leftovers.VARIABLE}={session}\0", f"{tmp_path}/")
        subprocess.run(["docker", "rm", "-f", f"careless-{session}"], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", f"careless-{session}"], capture_output=True, check=False)
    assert sorted(line.partition(":")[0].rstrip("0123456789") for line in found[:2]) == ["process ", "process "], found
    assert "sleep 300" in str(found)
    assert "sleep 301" in str(found)
    assert found[2:4] == [f"container careless-{session}", f"volume careless-{session}"]


@pytest.mark.root
def test_a_session_that_leaves_parts_of_a_network_fails_and_names_them(tmp_path: Path) -> None:
    session, rule = f"{leftovers.SESSION}n", tmp_path / "rule"
    try:
        found = said_of(CARELESS_OF_NETWORKS, tmp_path, session)
        left = rule.read_text()
    finally:
        if rule.exists():
            undo = ["iptables", "-w", "-t", "raw", "-D", *rule.read_text().split()]
            subprocess.run(undo, capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", f"pm{session}l"], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", f"pm{session}n"], capture_output=True, check=False)
        networks = [f"careless-{session}", f"pushmill-test-{session}"]
        subprocess.run(["docker", "network", "rm", *networks], capture_output=True, check=False)
    assert found[:4] == [
        f"network careless-{session}",
        f"network interface pm{session}l",
        f"network namespace pm{session}n",
        f"firewall rule -A {left}",
    ]


def test_a_server_that_is_stopped_leaves_no_network_sandbox(tmp_path: Path) -> None:
    with running(tmp_path / "data") as instance:
        runner = (instance.data / "runner" / "id").read_text
        wait_for(lambda: (instance.data / "runner" / "id").exists() and sandboxes_of(runner()))
        instance.stop()
        assert sandboxes_of(runner()) == []


def sandboxes_of(runner: str) -> list[str]:
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"label=pushmill.sandbox={runner}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

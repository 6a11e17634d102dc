"""What tests leave is ended with their instance, and what is left all the same fails the session and is named."""

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


def test_a_session_that_leaves_something_fails_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "test_careless.py").write_text(CARELESS)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    session = f"{leftovers.SESSION}f"
    path = os.pathsep.join(map(str, [TESTS, TESTS / "integration"]))
    environ = os.environ | {leftovers.VARIABLE: session, "PYTHONPATH": path, "PUSHMILL_TEST_SETTLE_S": "0"}
    command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path}/base", str(tmp_path)]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    finally:
        leftovers.end_processes(f"{leftovers.VARIABLE}={session}\0", f"{tmp_path}/")
        subprocess.run(["docker", "rm", "-f", f"careless-{session}"], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", f"careless-{session}"], capture_output=True, check=False)
    said = done.stdout
    assert done.returncode == 1, said
    assert "1 passed" in said
    found = said.partition("the tests left on this machine:\n")[2].splitlines()
    assert sorted(line.partition(":")[0].rstrip("0123456789") for line in found[:2]) == ["process ", "process "], said
    assert "sleep 300" in said
    assert "sleep 301" in said
    assert found[2:4] == [f"container careless-{session}", f"volume careless-{session}"]

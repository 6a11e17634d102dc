"""Problems of a runner are shown on the page Runners and by `pushmill doctor`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import PUSHMILL, Instance, running, wait_for
from machines import SERVER_ALONE, machine

pytestmark = [pytest.mark.docker, pytest.mark.redis]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


def doctor_says(site: Instance, text: str) -> bool:
    command = [PUSHMILL, "doctor", "--json", "--data", site.data]
    said = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    return any(finding["check"] == "runners" and text in finding["message"] for finding in said)


@pytest.mark.root
def test_directories_that_could_not_be_removed_are_reported(site: Instance, tmp_path: Path) -> None:
    mounted = tmp_path / "machine" / "runner" / "quarantine" / "left" / "mounted"
    with machine(site, tmp_path / "machine", "keeps"):
        mounted.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mounted], check=True)
        try:
            wait_for(lambda: doctor_says(site, "keeps: 1 directory of executions could not be removed"), 60, 0.5)
        finally:
            subprocess.run(["umount", mounted], check=True)


def test_slots_that_end_as_soon_as_they_start_are_reported(site: Instance, tmp_path: Path) -> None:
    directory = tmp_path / "machine" / "runner"
    with machine(site, tmp_path / "machine", "dies") as found:
        wait_for(lambda: (directory / "executions").exists())
        (directory / "executions").rename(directory / "moved")
        (directory / "executions").symlink_to("nowhere")
        for child in found.children:
            child.kill()
        wait_for(lambda: doctor_says(site, "dies: 1 of 1 slots end as soon as they start"), 60, 0.5)

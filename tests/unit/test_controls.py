from __future__ import annotations

import pytest

from runner.execution import step_controls


@pytest.mark.parametrize(
    ("limit", "cpus", "cpuset"),
    [("2", 2.0, ""), ("1.5", 1.5, ""), ("0,2,4", 0.0, "0,2,4"), ("0-3", 0.0, "0-3"), ("", 0.0, ""), (" 4 ", 4.0, "")],
)
def test_the_cpu_limit_is_a_number_of_cores_or_the_cores_themselves(limit: str, cpus: float, cpuset: str) -> None:
    wanted = step_controls.read({"VH_CPU_LIMIT": limit})
    assert (wanted.cpus, wanted.cpuset, wanted.notes) == (cpus, cpuset, ())


@pytest.mark.parametrize("limit", ["two", "-1", "0,", "1e9", "0;rm", "\u0661"])
def test_a_cpu_limit_of_another_kind_is_ignored_and_said(limit: str) -> None:
    wanted = step_controls.read({"VH_CPU_LIMIT": limit})
    assert (wanted.cpus, wanted.cpuset) == (0.0, "")
    assert limit in wanted.notes[0]


def test_clean_asks_for_both_image_and_inputs_anew() -> None:
    assert step_controls.read({}).pull_image is step_controls.read({}).refetch_inputs is False
    assert step_controls.read({"VH_CLEAN": "Yes"}).pull_image
    assert step_controls.read({"VH_CLEAN": "1"}).refetch_inputs
    assert not step_controls.read({"VH_NO_DATA_CACHE": "true"}).pull_image


def test_another_network_is_not_for_the_step_to_choose() -> None:
    assert "VH_DOCKER_NETWORK" in step_controls.read({"VH_DOCKER_NETWORK": "host"}).notes[0]

"""The example of the first start, without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import valohai_yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"


def run(program: str, outputs: Path, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-S", str(EXAMPLE / program), *options],
        env={**os.environ, "VH_OUTPUTS_DIR": str(outputs), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True, cwd=outputs,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The outputs and the lines of the training with the defaults of its program."""
    folder = tmp_path_factory.mktemp("training")
    return folder, run("train.py", folder)


def test_every_step_uses_the_image_that_the_script_makes_and_needs_no_input() -> None:
    steps = valohai_yaml.parse((EXAMPLE / "valohai.yaml").read_text()).steps
    assert list(steps) == ["train", "baseline", "look-at-data"]
    assert {step.image for step in steps.values()} == {"pushmill-quickstart"}
    assert not any(step.inputs for step in steps.values())


def test_the_parameters_of_each_step_are_options_of_its_program(
    tmp_path: Path, training: tuple[Path, list[str]]
) -> None:
    said = {}
    for step in valohai_yaml.parse((EXAMPLE / "valohai.yaml").read_text()).steps.values():
        program = str(step.command).split()[1]
        options = [f"--{name}={parameter.default}" for name, parameter in step.parameters.items()]
        said[step.name] = run(program, tmp_path, *options)
    assert all(said.values())
    assert said["train"] == training[1]  # the same defaults, and the same result each time


def test_training_with_the_defaults_learns_and_tells_so_as_metadata(training: tuple[Path, list[str]]) -> None:
    outputs, lines = training
    epochs = [json.loads(line) for line in lines if line.startswith("{")]
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, 81))
    assert set(epochs[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert epochs[-1]["val_accuracy"] > 0.95
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert json.loads((outputs / "model.json").read_text())["parameters"]["seed"] == 7

"""Public valohai.yaml files as their authors wrote them. Skipped if the collection is missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from core.errors import CannotRun
from web.config.pipelines.blueprint import list_pipeline_names, load_pipeline
from web.config.pipelines.graph import compute_layers
from web.config.steps.model import load_step
from web.config.steps.parse import parse
from web.config.steps.parse_in_child import parse_limited
from web.config.steps.resolve import UnresolvedStep, resolve
from web.config.steps.shell_script import build_script, stands_alone

CORPUS = Path(os.environ.get("PUSHMILL_TEST_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
FILES = sorted(CORPUS.glob("*.yaml"))

pytestmark = pytest.mark.skipif(not FILES, reason="the corpus is not here; PUSHMILL_TEST_CORPUS may name its directory")
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def check_syntax(shell: str, text: str) -> None:
    checked = subprocess.run([shell, "-n"], input=text.encode(), capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b""), text


@each_file
def test_every_file_parses_and_the_child_agrees(path: Path) -> None:
    data = path.read_bytes()
    assert parse_limited(data) == parse(data)


@each_file
def test_every_step_resolves_or_says_why_not_and_its_script_is_sound(path: Path) -> None:
    config = parse(path.read_bytes()).config
    for name in parse(path.read_bytes()).steps:
        commands = load_step(config, name).commands
        try:
            commands = resolve(config, name).commands
        except UnresolvedStep as error:
            assert error.problems  # noqa: PT017 - either way is right
        assert all(stands_alone(command) for command in commands), commands
        for shell in ("bash", "dash"):
            check_syntax(shell, build_script(commands))


def test_pipelines_run_but_for_deployments_and_missing_steps() -> None:
    ran, refused = 0, {}
    for path in FILES:
        config = parse(path.read_bytes()).config
        for name in list_pipeline_names(config):
            try:
                ran += bool(compute_layers(load_pipeline(config, name)))
            except CannotRun as error:
                refused[path.stem, name] = error.problems
    missing = 'there is no step "Train model (MNIST)"'
    assert ran == 15
    assert refused.pop(("DrazenDodik__valohai-public-examples", "Three-Trainings Pipeline with deployment")) == [
        'node "deploy": deployments do not run here'
    ]
    assert {stem for stem, _ in refused} == {"RedwanAlkurdi__Valohai_Test"}
    assert len(refused) == 3
    assert all(any(missing in problem for problem in problems) for problems in refused.values())


def test_only_the_file_with_a_bad_endpoint_name_loses_an_item() -> None:
    losing = {
        path.stem for path in FILES if any("is ignored" in problem for problem in parse(path.read_bytes()).problems)
    }
    assert losing == {"RedwanAlkurdi__Valohai_Test"}

"""Bayesian tasks learn in batches, without repeats, and ignore values that are not numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_site import STEP, TaskSite

from core.groups import Task
from core.states import State
from web.config.tasks.plan import load_search
from web.services.tasks.bayesian import RANDOM_FIRST, suggest_values
from web.store.trials import Trial

RATES = {"name": "lr", "style": "random", "rules": {"min": 0, "max": 1}}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TaskSite]:
    site = TaskSite(tmp_path / "data")
    yield site
    site.close()


def bayesian(*parameters: dict[str, Any], **keys: Any) -> dict[str, Any]:
    search = {"type": "bayesian_tpe", "optimization_target_metric": "loss", "optimization_target_value": 0}
    return search | {"parameters": list(parameters)} | keys


def run_all(site: TaskSite, task: Task, loss: Any) -> None:
    """Advance, and end what was made with what `loss` says of its parameters, until the task has ended."""
    while site.task(task).ended_at is None:
        site.advance()
        for trial in site.trials(task):
            if trial.state is State.CREATED:
                site.move(task, trial.trial or 0, State.STARTED)
                site.printed(task, trial.trial or 0, loss=loss(trial.parameters))
                site.complete(task, trial.trial or 0)


def test_batches_wait_for_each_other_and_what_was_reached_decides_after_the_first_twenty(site: TaskSite) -> None:
    task = site.begin(
        bayesian(RATES | {"rules": {"min": 0, "max": 1, "seed": 3}}, execution_count=40, execution_batch_size=8)
    )
    site.advance()
    assert len(site.trials(task)) == 8
    site.complete(task, *range(7))
    site.advance()
    assert len(site.trials(task)) == 8
    site.fail(task, 7)
    site.advance()
    assert len(site.trials(task)) == 16
    run_all(site, task, lambda values: (values["lr"] - 0.3) ** 2)
    found = site.task(task)
    rates = [trial.parameters["lr"] for trial in site.trials(task)]
    assert (found.state, found.message, len(rates)) == (State.ERROR, "1 of 40 executions failed", 40)
    near = [abs(rate - 0.3) < 0.15 for rate in rates]
    assert sum(near[24:]) / 16 > sum(near[:RANDOM_FIRST]) / RANDOM_FIRST
    assert sum(near[24:]) >= 10
    assert min(abs(rate - 0.3) for rate in rates) < 0.02


def test_a_small_space_is_tried_once_and_no_longer(site: TaskSite) -> None:
    parameters = (
        {"name": "opt", "style": "multiple", "rules": {"items": ["adam", "sgd", "lion"]}},
        {"name": "n", "style": "linear", "rules": {"start": 1, "end": 10, "step": 1}},
    )
    task = site.begin(bayesian(*parameters, execution_count=100, execution_batch_size=50))
    assert task.planned == 30
    run_all(site, task, lambda values: values["n"])
    found = site.task(task)
    cells = {(trial.parameters["opt"], trial.parameters["n"]) for trial in site.trials(task)}
    assert (found.state, len(cells), len(site.trials(task))) == (State.COMPLETE, 30, 30)
    assert found.message == "all 30 combinations were tried, fewer than the 100 executions wanted"


def test_a_task_with_everything_given_runs_once(site: TaskSite) -> None:
    task = site.begin(bayesian(RATES), parameters={"lr": 0.5})
    run_all(site, task, lambda values: 1)
    assert [trial.parameters["lr"] for trial in site.trials(task)] == [0.5]


SPACE = [
    {"name": "lr", "style": "logspace", "rules": {"start": -4, "end": 0}},
    {"name": "n", "style": "random", "rules": {"min": 1, "max": 9, "distribution": "log"}},
    {"name": "opt", "style": "multiple", "rules": {"items": ["sgd", "adam"]}},
    {"name": "steps", "style": "linear", "rules": {"start": 0.5, "end": 1, "step": 0.1}},
]


def search_of(*parameters: dict[str, Any], **keys: Any) -> Any:
    step = STEP | {"parameters": [*STEP["parameters"], {"name": "steps", "type": "string"}]}
    task = {key.replace("_", "-"): value for key, value in bayesian(*parameters, **keys).items()}
    return load_search([{"step": step}, {"task": {"name": "search", "step": "train"} | task}], "search", {}, 1)


def ended(place: int, parameters: dict[str, Any], number: float | None, state: State = State.COMPLETE) -> Trial:
    return Trial(execution_id=place, counter=place, trial=place, state=state, parameters=parameters, number=number)


def parameters_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as an execution stores them: with the types that the step declares."""
    return values | ({"steps": str(values["steps"])} if "steps" in values else {})


@settings(max_examples=30)
@given(st.data())
def test_whatever_was_reached_the_same_rows_give_the_same_next_values_inside_the_space(data: st.DataObject) -> None:
    search = search_of(*SPACE, execution_count=100)
    many = data.draw(st.sampled_from([0, 19, 20, 25, 60]))
    found = [
        ended(
            place,
            parameters_of(search.values(place))
            | data.draw(st.sampled_from([{}, {}, {"n": "x"}, {"lr": None}, {"lr": [1]}])),
            data.draw(st.none() | st.floats(-1e300, 1e300)),
            data.draw(st.sampled_from(list(State))),
        )
        for place in range(many)
    ]
    suggested = suggest_values(search, found, 6)
    assert suggested == suggest_values(search, found, 6)
    assert len(suggested) == 6
    for values in suggested:
        assert 1e-4 <= values["lr"] <= 1
        assert values["n"] in range(1, 10)
        assert values["opt"] in ("sgd", "adam")
        assert values["steps"] in (0.5, 0.6, 0.7, 0.8, 0.9, 1)


@pytest.mark.parametrize(("metric", "best"), [("val_loss", 0.0), ("accuracy", 1.0)])
def test_without_a_target_value_the_metric_s_name_says_which_way(metric: str, best: float) -> None:
    search = search_of(RATES, optimization_target_metric=metric, optimization_target_value=None, execution_count=100)
    found = [ended(place, values, values["lr"]) for place, values in enumerate(search.values(n) for n in range(40))]
    suggested = [values["lr"] for values in suggest_values(search, found, 10)]
    assert sum(abs(rate - best) < 0.3 for rate in suggested) >= 8


def test_what_runs_is_kept_clear_of(site: TaskSite) -> None:
    search = search_of(RATES, execution_count=100)
    found = [ended(place, search.values(place), None, State.STARTED) for place in range(30)]
    assert len({values["lr"] for values in suggest_values(search, found, 10)}) == 10


@pytest.mark.parametrize("module", ["web.http.app", "web.cli.main", "web.processes.worker"])
def test_nobody_pays_for_optuna_who_does_not_search(module: str) -> None:
    code = f"import sys, {module}; raise SystemExit('optuna' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_optuna_says_nothing_and_has_numpy_which_the_store_does_without() -> None:
    code = """
import json, sys
from web.config.tasks.plan import load_search
from web.services.tasks.bayesian import suggest_values
search = load_search(json.loads(sys.argv[1]), "search", {}, 1)
assert "numpy" not in sys.modules
assert len(suggest_values(search, [], 30)) == 30
assert sys.modules["numpy"].float64(1) == 1
"""
    task = {"name": "search", "step": "train", "type": "bayesian_tpe", "optimization-target-metric": "loss"}
    declared = json.dumps([{"step": STEP}, {"task": task | {"parameters": [RATES]}}])
    command = [sys.executable, "-W", "error", "-c", code, declared]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_metadata_that_are_no_numbers_are_not_learned_from(site: TaskSite) -> None:
    task = site.begin(bayesian(RATES, execution_count=22))
    run_all(site, task, lambda values: float("inf") if values["lr"] > 0.5 else ["NaN"])
    assert site.task(task).state is State.COMPLETE


def test_choices_are_recognised_with_the_type_that_the_step_gives_them() -> None:
    choices = {"name": "lr", "style": "multiple", "rules": {"items": ["1e-3", "0.01"]}}
    search = search_of(choices, {"name": "n", "style": "random", "rules": {"min": 1, "max": 1000}}, execution_count=100)
    drawn = [search.values(place) for place in range(40)]
    found = [
        ended(place, values | {"lr": float(values["lr"])}, float(values["lr"])) for place, values in enumerate(drawn)
    ]
    assert sum(values["lr"] == "1e-3" for values in suggest_values(search, found, 30)) >= 20

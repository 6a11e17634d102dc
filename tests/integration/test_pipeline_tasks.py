"""Nodes of pipelines that are tasks: their source, their inputs, and the outputs of their trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline_site import STEPS, PipelineSite, pipeline

from core.groups import Task
from core.states import FailureReason, State
from web.services import tasks as task_service
from web.store import pipelines, tasks
from web.store.selection import Selection

C, S, DONE, ERROR, STOPPED = State.CREATED, State.STARTED, State.COMPLETE, State.ERROR, State.STOPPED
TASK = """
- task:
    name: search
    step: train
    type: grid_search
    parameters:
      - {name: rate, style: multiple, rules: {items: [0.1, 0.2]}}
"""
SWEEP = """
{name: make, type: execution, step: make}
{name: sweep, type: task, task: search, on-error: MODE}
{name: test, type: execution, step: test}
"""
EDGES = "[make.output.*, sweep.input.data]\n[sweep.output.*.pt, test.input.model]"

Make = Callable[[str], PipelineSite]


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Make]:
    made: list[PipelineSite] = []

    def make(item: str) -> PipelineSite:
        made.append(PipelineSite(tmp_path / str(len(made)), STEPS + TASK + item))
        return made[-1]

    yield make
    for site in made:
        site.close()


def sweep(site: PipelineSite) -> bool:
    """As the worker does."""
    return site.advance() | task_service.advance(site.context)


def begun_tasks(site: PipelineSite, name: str = "sweep") -> list[Task]:
    """Of a node, the newest first."""
    return [task for task in tasks.search(site.db, Selection())[0] if task.pipeline_node_id == site.node(name).id]


def task(site: PipelineSite, name: str = "sweep") -> Task:
    return begun_tasks(site, name)[0]


def begun(site: PipelineSite, mode: str = "stop-all") -> str:
    """The pipeline up to its task, whose trials are made; the address of its input."""
    site.start()
    sweep(site)
    (url,) = site.wrote(site.run("make"), "data")
    site.complete("make")
    assert site.advance(), "the task is to be moved on"
    sweep(site)
    return url


def test_a_declared_task_runs_as_a_node_and_all_its_trials_outputs_go_on(site_of: Make) -> None:
    site = site_of(pipeline(SWEEP.replace("MODE", "stop-all"), EDGES))
    url = begun(site)
    node = site.node("sweep")
    trials = tasks.list_trials(site.db, task(site).id)
    assert (task(site).pipeline_node_id, task(site).name, node.kind) == (node.id, "search", "task")
    assert [(t.parameters["rate"], t.inputs["data"]["urls"], t.pipeline_node_id) for t in trials] == [
        (0.1, [url], node.id),
        (0.2, [url], node.id),
    ]
    models = [site.wrote(trial, "model.pt", "log")[0] for trial in trials]
    for trial in trials:
        site.move(trial, DONE)
    assert site.runs("sweep") == []
    assert pipelines.map_newest_executions(site.db, [node.id]) == {}
    sweep(site)
    sweep(site)
    assert site.nodes() == {"make": DONE, "sweep": DONE, "test": S}
    assert site.run("test").inputs["model"]["urls"] == models


def test_several_values_of_a_pipelines_parameter_are_tried_by_the_task_that_it_goes_to(site_of: Make) -> None:
    node = (
        "{name: sweep, type: task, task: search, override: {inputs: [{name: data, default: 'https://example.org/d'}]}}"
    )
    site = site_of(pipeline(node, "", "{name: rates, default: [0.3, 0.4, 0.5], target: sweep.parameter.rate}"))
    site.start()
    sweep(site)
    assert [trial.parameters["rate"] for trial in tasks.list_trials(site.db, task(site).id)] == [0.3, 0.4, 0.5]


def test_a_list_that_a_node_printed_is_tried_value_by_value(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: sweep, type: task, step: make}
    {name: declared, type: task, task: search, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    {name: whole, type: task, step: train, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    """
    edges = """
    [make.metadata.sizes, sweep.parameter.size]
    [make.metadata.rates, declared.parameter.rate]
    [make.metadata.sizes, whole.parameter.layers]
    """
    site = site_of(pipeline(nodes, edges, "{name: size, default: 9, target: sweep.parameter.size}"))
    site.start()
    sweep(site)
    site.printed(site.run("make"), sizes=[4, 5, 6], rates=[0.5])
    site.complete("make")
    sweep(site)
    assert (task(site).name, task(site).type) == ("sweep", "grid_search")
    assert [t.parameters for t in tasks.list_trials(site.db, task(site).id)] == [{"size": 4}, {"size": 5}, {"size": 6}]
    assert [t.parameters["rate"] for t in tasks.list_trials(site.db, task(site, "declared").id)] == [0.5]
    assert [t.parameters["layers"] for t in tasks.list_trials(site.db, task(site, "whole").id)] == [[4, 5, 6]]


def test_values_of_a_task_go_on_as_one_where_its_trials_agree_and_else_as_a_list(site_of: Make) -> None:
    nodes = """
    {name: sweep, type: task, task: search, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    {name: last, type: execution, step: make}
    {name: train, type: execution, step: train}
    """
    edges = """
    [sweep.metadata.size, last.parameter.size]
    [sweep.input.data, train.input.data]
    [sweep.parameter.rate, train.environment-variable.MODE]
    """
    site = site_of(pipeline(nodes, edges))
    site.start()
    sweep(site)
    first, second = tasks.list_trials(site.db, task(site).id)
    site.printed(first, size=7)
    site.printed(second, size=8)
    site.move(second, DONE)
    site.move(first, DONE)
    sweep(site)
    sweep(site)
    assert site.run("last").parameters == {"size": 7}  # of the one that ended last
    assert site.run("train").inputs["data"]["urls"] == ["https://example.org/d"]
    assert site.run("train").environment_variables == {"MODE": "[0.1, 0.2]"}


def test_a_task_that_fails_is_retried_with_the_same_search(site_of: Make) -> None:
    site = site_of(pipeline(SWEEP.replace("MODE", "retry"), EDGES))
    url = begun(site)
    first = task(site)
    for trial in tasks.list_trials(site.db, first.id):
        site.move(trial, ERROR, FailureReason.COMMAND_FAILED, 1)
    sweep(site)
    sweep(site)
    second = task(site)
    assert second.id != first.id
    assert (second.seed, second.inputs, second.config) == (first.seed, {"data": [url]}, first.config)
    for trial in tasks.list_trials(site.db, second.id):
        site.move(trial, ERROR, FailureReason.COMMAND_FAILED, 1)
    sweep(site)
    sweep(site)
    assert site.ended == (ERROR, "sweep failed: !2: 2 of 2 executions failed")
    assert len(begun_tasks(site)) == 2


def test_a_pipeline_that_stops_stops_its_tasks(site_of: Make) -> None:
    site = site_of(pipeline(SWEEP.replace("MODE", "stop-all"), EDGES))
    begun(site)
    site.stop()
    sweep(site)
    sweep(site)
    assert task(site).state is STOPPED
    assert {trial.state for trial in tasks.list_trials(site.db, task(site).id)} == {STOPPED}
    assert site.ended == (STOPPED, "stopped by ada")


def test_a_search_that_turns_out_too_large_is_an_error_of_the_node(site_of: Make) -> None:
    nodes = "{name: make, type: execution, step: make}\n{name: sweep, type: task, step: make}"
    site = site_of(pipeline(nodes, "[make.metadata.sizes, sweep.parameter.size]"))
    site.start()
    sweep(site)
    site.printed(site.run("make"), sizes=list(range(1001)))
    site.complete("make")
    sweep(site)
    assert site.ended[0] is ERROR
    assert site.ended[1].startswith("sweep failed: cannot start: ")
    assert "1,001" in site.ended[1]

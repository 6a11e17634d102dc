"""Pipelines on a real database: when nodes start, with which values, and how pipelines end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api_server import said
from pipeline_site import STEPS, PipelineSite, pipeline

from core.errors import Conflict
from core.model import Execution
from core.states import FailureReason, State
from web.config.pipelines.blueprint import load_pipeline
from web.services import launch, reruns
from web.services.executions import lifecycle
from web.services.pipelines import gathering
from web.services.pipelines.progress import get_progress, is_waiting_for_approval
from web.services.pipelines.reconcile import Reconciler
from web.services.pipelines.view import load_view
from web.store import pipelines
from web.store.db import execute, fetch_rows, transaction

C, S, DONE, ERROR, STOPPED = State.CREATED, State.STARTED, State.COMPLETE, State.ERROR, State.STOPPED
CHAIN = pipeline(
    """
    {name: make, type: execution, step: make}
    {name: train, type: execution, step: train}
    {name: test, type: execution, step: test}
    """,
    """
    [make.output.*.npz, train.input.data]
    [train.output.model*, test.input.model]
    """,
)

Make = Callable[[str], PipelineSite]


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Make]:
    made: list[PipelineSite] = []

    def make(item: str) -> PipelineSite:
        made.append(PipelineSite(tmp_path / str(len(made)), STEPS + item))
        return made[-1]

    yield make
    for site in made:
        site.close()


def test_a_chain_runs_node_after_node_and_files_go_from_one_to_the_next(site_of: Make) -> None:
    site = site_of(CHAIN)
    site.start()
    assert (site.pipeline.state, site.nodes()) == (C, {"make": C, "train": C, "test": C})
    assert site.advance()
    assert (site.pipeline.state, site.nodes()) == (S, {"make": S, "train": C, "test": C})
    assert not site.advance()
    first = site.run("make")
    assert (first.step, first.pipeline_node_id, first.task_id) == ("make", site.node("make").id, None)
    urls = site.wrote(first, "b.npz", "a/c.npz", "log.txt")
    site.complete("make")
    assert site.advance()
    train = site.run("train")
    assert sorted(train.inputs["data"]["urls"]) == sorted(urls[:2])
    assert train.inputs["extra"]["urls"] == ["https://example.org/extra.bin"]
    (model,) = site.wrote(train, "model.pt")
    site.complete("train")
    site.advance()
    assert site.run("test").inputs["model"]["urls"] == [model]
    site.complete("test")
    assert not site.advance()
    assert (site.ended, site.nodes()) == ((DONE, ""), {"make": DONE, "train": DONE, "test": DONE})
    assert site.pipeline.started_at
    assert site.pipeline.ended_at


def test_nodes_without_edges_run_at_once_and_one_that_needs_several_waits_for_all(site_of: Make) -> None:
    nodes = """
    {name: a, type: execution, step: make}
    {name: b, type: execution, step: make}
    {name: join, type: execution, step: test}
    """
    site = site_of(pipeline(nodes, "[a.dependency.x, join.dependency.y]\n[b.output.*, join.input.model]"))
    site.start()
    site.advance()
    assert site.nodes() == {"a": S, "b": S, "join": C}
    site.complete("a")
    site.advance()
    assert site.nodes() == {"a": DONE, "b": S, "join": C}
    site.complete("b")
    site.advance()
    assert site.nodes() == {"a": DONE, "b": DONE, "join": S}
    assert site.run("join").inputs["model"]["urls"] == []


def test_edges_carry_parameters_metadata_variables_and_inputs(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: first, type: execution, step: train, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    {name: second, type: execution, step: train}
    """
    edges = """
    [make.parameters.size, first.parameters.layers]
    [make.metadata.best.rate, first.parameter.rate]
    [make.metadata.sizes, second.parameter.layers]
    [make.metadata.flag, first.environment-variable.MODE]
    [first.environment-variable.MODE, second.environment-variable.MODE]
    [first.parameter.rate, second.parameter.rate]
    [first.input.d*, second.input.data]
    """
    site = site_of(pipeline(nodes, edges))
    site.start()
    site.advance()
    made = site.run("make")
    site.printed(made, **{"best.rate": 0.5, "sizes": [1, 2], "flag": True})
    site.printed(made, **{"best.rate": 0.25})
    site.complete("make")
    site.advance()
    first = site.run("first")
    assert first.parameters == {"rate": 0.25, "layers": [3]}
    assert first.environment_variables == {"MODE": "true"}
    site.complete("first")
    site.advance()
    second = site.run("second")
    assert second.parameters == {"rate": 0.25, "layers": [1, 2]}
    assert second.environment_variables == {"MODE": "true"}
    assert second.inputs["data"]["urls"] == ["https://example.org/d"]


def test_parameters_of_the_pipeline_reach_their_targets_and_an_edge_goes_before_them(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: first, type: execution, step: train, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    {name: second, type: execution, step: train, override: {inputs: [{name: data, default: "https://example.org/d"}]}}
    """
    parameters = """
    {name: rate, default: 0.7, targets: [first.parameter.rate, second.parameters.rate]}
    {name: layers, target: first.parameter.layers, default: [5, 6]}
    {name: size, target: make.parameter.size}
    """
    site = site_of(pipeline(nodes, "[make.metadata.rate, second.parameter.rate]", parameters))
    site.start(size="8")
    site.advance()
    assert site.run("make").parameters == {"size": 8}
    assert site.run("first").parameters == {"rate": 0.7, "layers": [5, 6]}
    site.printed(site.run("make"), rate=0.2)
    site.complete("make")
    site.advance()
    assert site.run("second").parameters == {"rate": 0.2, "layers": []}


def test_an_override_replaces_and_what_it_names_without_a_default_has_none(site_of: Make) -> None:
    override = '{image: alpine, command: "other {parameters}", inputs: [{name: extra}], parameters: [{name: rate, default: 9}]}'
    nodes = f"""
    {{name: make, type: execution, step: make}}
    {{name: train, type: execution, step: train, override: {override}}}
    """
    site = site_of(pipeline(nodes, "[make.output.*, train.input.data]"))
    site.start()
    site.advance()
    site.wrote(site.run("make"), "x")
    site.complete("make")
    site.advance()
    train = site.run("train")
    assert (train.image, train.commands) == ("alpine", ("other --rate=9.0",))
    assert train.inputs["extra"]["urls"] == []


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_files_replace_the_default_of_an_input_or_go_behind_it(site_of: Make, mode: str) -> None:
    nodes = f"""
    {{name: make, type: execution, step: make}}
    {{name: train, type: execution, step: train, edge-merge-mode: {mode}}}
    """
    edges = (
        "[make.output.*, train.input.data]\n[make.output.a, train.input.extra]\n[make.output.*a*, train.input.extra]"
    )
    site = site_of(pipeline(nodes, edges))
    site.start()
    site.advance()
    (url,) = site.wrote(site.run("make"), "a")
    site.complete("make")
    site.advance()
    default = ["https://example.org/extra.bin"] if mode == "append" else []
    assert site.run("train").inputs["extra"]["urls"] == [*default, url]


def test_patterns_leave_out_files_that_only_describe_others(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: train, type: execution, step: train}
    """
    edges = "[make.output.*, train.input.data]\n[make.output.a.metadata.json, train.input.extra]"
    site = site_of(pipeline(nodes, edges))
    site.start()
    site.advance()
    names = ("a", "a.metadata.json", "b.metadata.json", "d/c.metadata.json", "valohai.metadata.jsonl")
    urls = dict(zip(names, site.wrote(site.run("make"), *names), strict=True))
    site.complete("make")
    site.advance()
    inputs = site.run("train").inputs
    assert inputs["data"]["urls"] == [urls[name] for name in ("a", "b.metadata.json", "d/c.metadata.json")]
    assert inputs["extra"]["urls"] == [urls["a.metadata.json"]]


def test_a_required_input_for_which_there_is_no_file_is_an_error_that_names_the_edge(site_of: Make) -> None:
    site = site_of(CHAIN)
    site.start()
    site.advance()
    site.wrote(site.run("make"), "log.txt")
    site.complete("make")
    assert not site.advance()
    assert site.nodes() == {"make": DONE, "train": ERROR, "test": STOPPED}
    why = 'input "data" needs at least one URL; the edge make.output.*.npz → train.input.data provides no file'
    assert site.ended == (ERROR, f"train failed: cannot start: {why}")
    assert site.runs("train") == []


def test_an_optional_one_stays_empty_and_the_log_says_so(site_of: Make) -> None:
    nodes = "{name: make, type: execution, step: make}\n{name: test, type: execution, step: test}"
    site = site_of(pipeline(nodes, "[make.output.model, test.input.model]"))
    site.start()
    site.advance()
    site.complete("make")
    site.advance()
    assert site.run("test").inputs["model"]["urls"] == []
    status = said(site.server, site.run("test").uuid, "status")
    assert status[1:] == [
        "Node test of pipeline =1. Asked for",
        "the edge make.output.model → test.input.model provides no file",
    ]


def test_a_value_that_does_not_fit_is_an_error_of_the_node(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: next, type: execution, step: make}
    """
    site = site_of(pipeline(nodes, "[make.metadata.size, next.parameter.size]"))
    site.start()
    site.advance()
    site.printed(site.run("make"), size={"a": "long" * 10})
    site.complete("make")
    site.advance()
    assert site.ended[0] is ERROR
    assert site.ended[1].startswith('next failed: cannot start: parameter "size": {')


FORK = """
{name: make, type: execution, step: make, on-error: MODE}
{name: after, type: execution, step: test}
{name: later, type: execution, step: test}
{name: other, type: execution, step: make}
"""
FORK_EDGES = "[make.output.*, after.input.model]\n[after.output.*, later.input.model]"


def fork(mode: str) -> str:
    return pipeline(FORK.replace("MODE", mode), FORK_EDGES)


def test_by_default_an_error_stops_the_rest_and_the_message_names_the_node(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    site.move(site.run("other"), S)
    site.fail("make")
    site.advance()
    assert (site.pipeline.state, site.pipeline.message) == (S, "make failed: #1 exited with code 1")
    assert site.run("other").stop_requested_at
    assert site.nodes() == {"make": ERROR, "after": STOPPED, "later": STOPPED, "other": S}
    assert site.node("later").message == "skipped: make failed: #1 exited with code 1"
    site.move(site.run("other"), STOPPED)
    site.advance()
    assert (site.ended, site.nodes()["other"]) == ((ERROR, "make failed: #1 exited with code 1"), STOPPED)


def test_stop_next_skips_what_comes_after_and_lets_the_rest_finish(site_of: Make) -> None:
    site = site_of(fork("stop-next"))
    site.start()
    site.advance()
    site.fail("make", 3)
    site.advance()
    assert site.nodes() == {"make": ERROR, "after": STOPPED, "later": STOPPED, "other": S}
    assert {site.node(name).message for name in ("after", "later")} == {"skipped: make failed"}
    assert not site.run("other").stop_requested_at
    site.complete("other")
    site.advance()
    assert site.ended == (ERROR, "make failed: #1 exited with code 3")


def test_continue_goes_on_as_if_nothing_had_happened(site_of: Make) -> None:
    site = site_of(fork("continue"))
    site.start()
    site.advance()
    (url,) = site.wrote(site.run("make"), "half")
    site.fail("make")
    site.advance()
    assert site.run("after").inputs["model"]["urls"] == [url]
    site.complete("after", "other")
    site.advance()
    site.complete("later")
    site.advance()
    assert site.ended == (DONE, "make failed, and the rest continued")


def test_retry_runs_it_once_more_with_the_same_values(site_of: Make) -> None:
    site = site_of(fork("retry"))
    site.start()
    site.advance()
    site.fail("make")
    assert site.advance()
    first, second = site.runs("make")
    assert (second.retry_of, second.parameters, second.pipeline_node_id) == (
        first.id,
        first.parameters,
        site.node("make").id,
    )
    assert (site.nodes()["make"], site.node("make").retries) == (S, 1)
    site.fail("make", 2)
    site.move(site.run("other"), DONE)
    site.advance()
    assert len(site.runs("make")) == 2
    assert site.ended == (ERROR, f"make failed: #{second.counter} exited with code 2")


def test_a_second_run_that_is_complete_makes_good(site_of: Make) -> None:
    site = site_of(fork("retry"))
    site.start()
    site.advance()
    site.fail("make")
    site.advance()
    site.complete("make")
    site.advance()
    assert site.nodes()["after"] is S


ACTING = """
{name: make, type: execution, step: make, actions: ACTIONS}
{name: after, type: execution, step: test}
"""


def acting(actions: str) -> str:
    return pipeline(ACTING.replace("ACTIONS", f"[{actions}]"), "[make.output.*, after.input.model]")


@pytest.mark.parametrize(("drift", "stops"), [(0.5, True), (1.5, False), (None, False)])
def test_an_action_stops_the_pipeline_if_its_condition_holds(site_of: Make, drift: float | None, stops: bool) -> None:
    site = site_of(acting("{when: node-complete, if: [metadata.drift <= 1, parameter.size == 3], then: stop-pipeline}"))
    site.start()
    site.advance()
    if drift is not None:
        site.printed(site.run("make"), drift=drift)
    site.complete("make")
    site.advance()
    if not stops:
        assert site.nodes() == {"make": DONE, "after": S}
        return
    assert site.nodes() == {"make": DONE, "after": STOPPED}
    assert site.ended == (STOPPED, "stopped by an action of make: metadata.drift <= 1 and parameter.size == 3")


def test_an_action_ends_the_pipeline_in_error(site_of: Make) -> None:
    site = site_of(acting("{when: node-complete, if: metadata.accuracy < 0.5, then: [noop, error-pipeline]}"))
    site.start()
    site.advance()
    site.printed(site.run("make"), accuracy=0.4)
    site.complete("make")
    site.advance()
    assert site.ended == (ERROR, "failed by an action of make: metadata.accuracy < 0.5")
    assert site.nodes() == {"make": DONE, "after": STOPPED}


def test_an_action_at_the_start_knows_the_parameters(site_of: Make) -> None:
    site = site_of(acting("{when: node-starting, if: parameter.size > 2, then: error-pipeline}"))
    site.start()
    site.advance()
    assert site.ended == (ERROR, "failed by an action of make: parameter.size > 2")
    assert site.runs("make") == []


def test_an_action_on_an_error_may_stop_what_would_go_on(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make, on-error: continue, actions: [{when: node-error, then: stop-pipeline}]}
    {name: after, type: execution, step: test}
    """
    site = site_of(pipeline(nodes, "[make.output.*, after.input.model]"))
    site.start()
    site.advance()
    site.fail("make")
    site.advance()
    assert site.ended == (STOPPED, "stopped by an action of make: it is node-error")


def test_a_node_waits_for_approval_before_it_begins(site_of: Make) -> None:
    site = site_of(acting("{when: node-starting, then: require-approval}"))
    pipeline = site.start()
    site.advance()
    site.advance()
    assert (site.nodes()["make"], site.node("make").message, site.runs("make")) == (C, "waiting for approval", [])
    assert get_progress(site.db, pipeline).waiting == ("make",)
    site.approve("make")
    assert site.node("make").approved_by == "ada"
    assert site.advance()
    assert site.nodes()["make"] is S
    assert get_progress(site.db, pipeline).waiting == ()
    site.complete("make")
    site.advance()
    assert site.nodes() == {"make": DONE, "after": S}


@pytest.mark.parametrize("started_at", [None, "2000-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_a_node_waits_for_approval_after_it_has_run_once_more_than_before(
    site_of: Make, started_at: str | None
) -> None:
    """Whether the clock is right, or was set back or forward after the first approval."""
    site = site_of(acting("{when: [node-starting, node-complete], then: require-approval}"))
    site.start()
    site.advance()
    site.approve("make")
    site.advance()
    if started_at:
        execute(site.db, "UPDATE pipeline_node SET started_at = ? WHERE name = 'make'", (started_at,))
    with pytest.raises(Conflict, match="node make of pipeline =1 does not wait for approval"):
        site.approve("make")
    site.complete("make")
    site.advance()
    assert site.nodes() == {"make": S, "after": C}
    assert is_waiting_for_approval(site.node("make"))
    site.advance()
    site.approve("make", "bob")
    site.advance()
    assert (site.nodes(), site.node("make").approved_by) == ({"make": DONE, "after": S}, "bob")


def test_what_waits_for_approval_ends_with_a_stop(site_of: Make) -> None:
    site = site_of(acting("{when: node-starting, then: require-approval}"))
    site.start()
    site.advance()
    site.stop()
    with pytest.raises(Conflict):
        site.approve("make")
    site.advance()
    assert (site.ended, site.nodes()) == ((STOPPED, "stopped by ada"), {"make": STOPPED, "after": STOPPED})
    assert site.node("make").message == "skipped: stopped by ada"


def test_a_stop_reaches_what_runs_at_once_and_nothing_more_begins(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    running = site.move(site.run("make"), S)
    site.stop(message="Superseded by #9")
    running = site.run("make")
    assert (running.status, running.stop_count) == ("stopping", 1)
    assert site.run("other").state is STOPPED
    assert said(site.server, running.uuid, "status")[-1] == "Pipeline =1: Superseded by #9"
    site.stop("bob")
    site.advance()
    assert (site.run("make").stop_count, site.pipeline.status) == (1, "stopping")
    site.move(running, STOPPED)
    site.advance()
    assert site.ended == (STOPPED, "Superseded by #9")
    assert (site.pipeline.stopped_by, set(site.nodes().values())) == ("ada", {STOPPED})
    site.stop()
    assert site.ended == (STOPPED, "Superseded by #9")


def test_what_fails_while_it_is_being_stopped_was_stopped(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    site.move(site.run("make"), S)
    site.stop()
    site.fail("make", 137)
    site.advance()
    assert site.ended == (STOPPED, "stopped by ada")


def test_a_stop_after_a_failure_does_not_hide_it(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    site.move(site.run("other"), S)
    site.fail("make")
    site.advance()
    site.stop()
    site.move(site.run("other"), STOPPED)
    site.advance()
    assert site.ended == (ERROR, "make failed: #1 exited with code 1")


def test_a_stop_changes_nothing_of_one_that_an_action_ends_in_error(site_of: Make) -> None:
    site = site_of(
        pipeline(
            """
            {name: make, type: execution, step: make, actions: [{when: node-complete, then: error-pipeline}]}
            {name: other, type: execution, step: make}
            """
        )
    )
    site.start()
    site.advance()
    site.move(site.run("other"), S)
    site.complete("make")
    site.advance()
    site.stop()
    site.move(site.run("other"), STOPPED)
    site.advance()
    assert site.ended == (ERROR, "failed by an action of make: it is node-complete")


def test_a_stop_before_the_first_node_begins_is_the_end(site_of: Make) -> None:
    site = site_of(CHAIN)
    site.start()
    site.stop()
    site.advance()
    assert site.ended == (STOPPED, "stopped by ada")
    assert fetch_rows(site.db, "SELECT id FROM execution") == []


def test_an_execution_that_somebody_stops_keeps_back_what_needs_it(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    lifecycle.request_stop(site.context, site.run("make").uuid, "ada")
    site.advance()
    assert site.nodes() == {"make": STOPPED, "after": STOPPED, "later": STOPPED, "other": S}
    assert (site.node("make").message, site.node("later").message) == ("#1 was stopped", "skipped: make was stopped")
    site.complete("other")
    site.advance()
    assert site.ended == (STOPPED, "make was stopped")


def test_what_is_lost_with_its_machine_and_restarts_has_not_failed(site_of: Make) -> None:
    nodes = "{name: make, type: execution, step: make, override: {autorestart: true}}"
    site = site_of(pipeline(nodes))
    site.start()
    site.advance()
    site.move(site.run("make"), ERROR, FailureReason.RUNNER_LOST)
    site.advance()
    assert site.nodes() == {"make": S}
    reruns.restart_lost(site.context)
    site.advance()
    assert (len(site.runs("make")), site.nodes()) == (2, {"make": S})
    site.complete("make")
    site.advance()
    assert site.ended == (DONE, "")


def test_of_several_executions_of_a_node_the_newest_counts(site_of: Make) -> None:
    site = site_of(CHAIN)
    site.start()
    site.advance()
    site.fail("make")
    with transaction(site.db):
        again = launch.rerun(site.context, site.run("make"), site.server.admin, "Runs again")
    site.advance()
    assert site.nodes()["make"] is S
    (url,) = site.wrote(again, "a.npz")
    site.complete("make")
    site.advance()
    assert site.run("train").inputs["data"]["urls"] == [url]


def test_every_change_is_marked_for_the_forge(site_of: Make) -> None:
    site = site_of(acting("{when: node-complete, then: require-approval}"))
    execute(site.db, "UPDATE repository SET api_token = x'00'")

    def version() -> int:
        (found,) = fetch_rows(site.db, "SELECT version FROM outbox WHERE subject = ?", (site.commit.identifier,))
        return int(found["version"])

    site.start()
    last = version()
    for change in (
        site.advance,
        lambda: site.complete("make") or site.advance(),
        lambda: site.approve("make"),
        site.advance,
        site.stop,
        site.advance,
    ):
        change()
        assert version() > last
        last = version()


def test_one_that_cannot_be_moved_on_holds_up_nobody_else(site_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    site = site_of(CHAIN)
    gone, strange = site.start(), site.start()
    execute(site.db, "UPDATE pipeline SET config = '[]' WHERE id = ?", (gone.id,))
    execute(site.db, "UPDATE pipeline SET config = '[1]' WHERE id = ?", (strange.id,))
    site.start()
    site.advance()
    assert site.nodes()["make"] is S
    assert f"pipeline {strange.uuid} cannot be reconciled" in caplog.text
    assert pipelines.get(site.db, gone.id).state is ERROR
    assert pipelines.get(site.db, gone.id).message == 'there is no pipeline "p"; there are: none'


def reconciler(site: PipelineSite) -> Reconciler:
    return Reconciler(site.context, load_pipeline(site.pipeline.config, site.pipeline.name))


def test_what_somebody_does_between_the_look_and_the_deed_counts(site_of: Make) -> None:
    site = site_of(fork("retry"))
    site.start()
    seen = load_view(site.db, site.pipeline.id)
    site.stop()
    assert reconciler(site).change(seen), "it looks again"
    assert fetch_rows(site.db, "SELECT id FROM execution") == []
    site.start()
    site.advance()
    site.fail("make")
    seen = load_view(site.db, site.pipeline.id)
    with transaction(site.db):
        launch.rerun(site.context, site.run("make"), site.server.admin, "Runs again")
    assert reconciler(site).change(seen)
    assert (len(site.runs("make")), site.node("make").retries, site.nodes()["make"]) == (2, 0, S)


def test_an_execution_that_a_person_stops_is_not_stopped_again_by_the_end_of_its_pipeline(site_of: Make) -> None:
    site = site_of(fork("stop-all"))
    site.start()
    site.advance()
    site.move(site.run("other"), S)
    site.fail("make")
    moving = reconciler(site)
    assert moving.change(load_view(site.db, site.pipeline.id))
    seen = load_view(site.db, site.pipeline.id)
    assert seen.ending
    lifecycle.request_stop(site.context, site.run("other").uuid, "ada")
    moving.change(seen)
    assert said(site.server, site.run("other").uuid, "status")[-1] == "Stop requested by ada"


def test_edges_bring_a_bounded_number_of_files_and_all_of_fewer(site_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MAX_FILES", 2500)
    nodes = """
    {name: make, type: execution, step: make}
    {name: all, type: execution, step: test, on-error: continue}
    {name: more, type: execution, step: train, on-error: continue}
    """
    edges = "[make.output.*, all.input.model]\n[make.output.*, more.input.data]\n[make.output.x0*, more.input.extra]"
    site = site_of(pipeline(nodes, edges))
    site.start()
    site.advance()
    site.wrote(site.run("make"), *(f"x{n:04}" for n in range(2500)))
    site.complete("make")
    site.advance()
    assert len(set(site.run("all").inputs["model"]["urls"])) == 2500
    assert site.node("more").state is ERROR
    assert site.node("more").message == (
        "cannot start: its edges provide more than 2,500 files, the last the edge make.output.x0* → more.input.extra"
    )


def test_nobody_approves_what_is_ending(site_of: Make) -> None:
    nodes = """
    {name: make, type: execution, step: make}
    {name: other, type: execution, step: make}
    {name: test, type: execution, step: test, actions: [{when: node-complete, then: require-approval}]}
    """
    site = site_of(pipeline(nodes))
    site.start()
    site.advance()
    site.complete("test")
    site.advance()
    assert is_waiting_for_approval(site.node("test"))
    site.move(site.run("other"), S)
    site.fail("make")
    site.advance()
    with pytest.raises(Conflict):
        site.approve("test")
    assert site.node("test").state is DONE


REUSING = pipeline(
    """
    {name: make, type: execution, step: make}
    {name: train, type: execution, step: train, actions: [{when: node-complete, if: metadata.loss > 1, then: stop-pipeline}]}
    {name: test, type: execution, step: test}
    """,
    """
    [make.output.*.npz, train.input.data]
    [train.output.model*, test.input.model]
    """,
    "{name: size, targets: [make.parameters.size]}",
).replace("    name: p\n", "    name: p\n    reuse-executions: true\n")


def ended_chain(site: PipelineSite) -> tuple[Execution, Execution, Execution]:
    """Run all nodes of REUSING."""
    site.start()
    site.advance()
    site.wrote(site.run("make"), "a.npz")
    site.complete("make")
    site.advance()
    site.wrote(site.run("train"), "model.pt")
    site.complete("train")
    site.advance()
    site.complete("test")
    site.advance()
    assert site.ended == (DONE, "")
    return site.run("make"), site.run("train"), site.run("test")


def ran(site: PipelineSite) -> dict[str, str]:
    """By node, the number of the execution that counts for it."""
    nodes = pipelines.list_nodes(site.db, site.pipeline.id)
    newest = pipelines.map_newest_executions(site.db, [node.id for node in nodes])
    return {node.name: f"#{newest[node.id].counter}" for node in nodes if node.id in newest}


def test_a_pipeline_that_reuses_executions_gets_the_runs_of_equal_nodes(site_of: Make) -> None:
    site = site_of(REUSING)
    ended_chain(site)
    site.start()
    assert not site.advance()
    assert (site.ended, ran(site)) == ((DONE, ""), {"make": "#1", "train": "#2", "test": "#3"})
    site.start(size=4)
    site.advance()
    assert (site.nodes(), ran(site)) == ({"make": S, "train": C, "test": C}, {"make": "#4"})
    site.wrote(site.run("make"), "a.npz")
    site.complete("make")
    site.advance()
    assert ran(site) == {"make": "#4", "train": "#5"}, "its input is another file"


def test_a_reused_run_has_its_outputs_and_the_effects_of_its_actions(site_of: Make) -> None:
    site = site_of(REUSING)
    make, train, _ = ended_chain(site)
    site.printed(train, loss=2)
    site.start()
    site.advance()
    assert site.ended[0] is STOPPED
    assert site.nodes() == {"make": DONE, "train": DONE, "test": STOPPED}
    execute(site.db, "UPDATE datum SET purged_at = 'now' WHERE execution_id = ?", (make.id,))
    site.start()
    site.advance()
    assert (site.nodes()["make"], ran(site)) == (S, {"make": "#4"})


@pytest.mark.parametrize(
    ("column", "value"),
    [("image", "other"), ("commands", '["other"]'), ("environment_variables", '{"A": "b"}'), ("state", "error"),
     ("deleted_at", "now"), ("parameters", '{"size": 3.5}')],
)  # fmt: skip
def test_a_run_that_differs_is_not_reused(site_of: Make, column: str, value: str) -> None:
    site = site_of(REUSING)
    make, _, _ = ended_chain(site)
    execute(site.db, f"UPDATE execution SET {column} = ? WHERE id = ?", (value, make.id))
    site.start()
    site.advance()
    assert site.nodes()["make"] is S


def test_without_the_key_every_node_runs(site_of: Make) -> None:
    site = site_of(REUSING.replace("reuse-executions: true", "reuse-executions: false"))
    ended_chain(site)
    site.start()
    site.advance()
    assert site.nodes() == {"make": S, "train": C, "test": C}

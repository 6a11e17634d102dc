"""Nothing of a pipeline is duplicated, lost or stuck, whichever database statement the worker is killed at."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_site import STEPS, PipelineSite, pipeline

from core.states import State
from web.services import pipelines as service
from web.store.db import connect, fetch_rows

NODES = """
{name: make, type: execution, step: make}
{name: side, type: execution, step: make, on-error: retry}
{name: train, type: execution, step: train, actions: [{when: node-starting, then: require-approval}]}
{name: test, type: execution, step: test}
"""
EDGES = "[make.output.*, train.input.data]\n[side.dependency.x, train.dependency.x]\n[train.output.*, test.input.model]"
MOST = 1000  # statements of one advance, by a wide margin


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PipelineSite]:
    site = PipelineSite(tmp_path, STEPS + pipeline(NODES, EDGES))
    site.start()
    yield site
    site.close()


def advanced_with_kills(site: PipelineSite) -> int:
    """Advance in processes that are killed at their first statement, their second, … until one gets through; how many."""
    for most in range(1, MOST):
        pid = os.fork()
        if pid == 0:
            _child(site, most)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            return most
    raise AssertionError(f"an advance has more than {MOST} statements")


def _child(site: PipelineSite, most: int) -> None:
    """Never returns."""
    count = 0

    def trace(statement: str) -> None:
        nonlocal count
        count += 1
        if count == most:
            os.kill(os.getpid(), signal.SIGKILL)

    with suppress(BaseException):
        db = connect(site.config.database)
        db.conn.set_trace_callback(trace)
        service.advance(replace(site.context, db=db))
        os._exit(0)
    os._exit(1)


def summary(site: PipelineSite) -> dict[str, tuple[State, list[State]]]:
    return {name: (state, [run.state for run in site.runs(name)]) for name, state in site.nodes().items()}


C, S, DONE, ERROR, STOPPED = State.CREATED, State.STARTED, State.COMPLETE, State.ERROR, State.STOPPED


def test_killed_at_every_statement_a_pipeline_goes_its_way_once(site: PipelineSite) -> None:
    def advance() -> int:
        return advanced_with_kills(site)

    assert advance() > 20
    assert summary(site) == {"make": (S, [C]), "side": (S, [C]), "train": (C, []), "test": (C, [])}
    site.wrote(site.run("make"), "data")
    site.complete("make")
    site.fail("side")
    advance()
    assert summary(site) == {"make": (DONE, [DONE]), "side": (S, [ERROR, C]), "train": (C, []), "test": (C, [])}
    site.complete("side")
    advance()
    assert site.node("train").message == "waiting for approval"
    site.approve("train")
    advance()
    assert summary(site)["train"] == (S, [C])
    site.fail("train", 4)
    advance()
    assert summary(site)["test"] == (STOPPED, [])
    assert site.ended == (ERROR, f"train failed: #{site.run('train').counter} exited with code 4")


def test_killed_at_every_statement_a_pipeline_stops_once(site: PipelineSite) -> None:
    site.advance()
    running = site.move(site.run("make"), S)
    site.fail("side")
    site.advance()
    site.fail("side")
    advanced_with_kills(site)
    assert summary(site)["make"] == (S, [S])
    assert site.run("make").stop_count == 1
    site.move(running, STOPPED)
    advanced_with_kills(site)
    assert [state for state, _ in summary(site).values()] == [STOPPED, ERROR, STOPPED, STOPPED]
    assert len(fetch_rows(site.db, "SELECT id FROM execution")) == 3
    assert site.ended == (ERROR, "side failed: #3 exited with code 1")


def test_killed_at_every_statement_a_pipeline_reuses_runs_once(tmp_path: Path) -> None:
    item = pipeline("{name: make, type: execution, step: make}\n{name: test, type: execution, step: test}",
                    "[make.output.*, test.input.model]")  # fmt: skip
    site = PipelineSite(tmp_path, STEPS + item.replace("    name: p\n", "    name: p\n    reuse-executions: true\n"))
    site.start()
    site.advance()
    site.wrote(site.run("make"), "data")
    site.complete("make")
    site.advance()
    site.start()
    assert advanced_with_kills(site) > 20
    assert summary(site) == {"make": (DONE, []), "test": (S, [C])}
    assert len(fetch_rows(site.db, "SELECT id FROM execution")) == 3
    site.close()

"""At whatever moment the worker is killed, the forge finally shows the state in the database."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_forge import KINDS, FakeForge, running, status_name
from instance import wait_for
from told_forge import URL, ToldForge

from core.states import FailureReason, State

CONFIG = f"""
[server]
url = "{URL}"
[git]
allow_local = true
[redis]
url = "unix:///nonexistent/redis.sock"
"""
SEED = 20261125
UNFINISHED = ("pending", "running", "INPROGRESS")


class Worker:
    """`pushmill worker` on the data of a server; Redis is away, which changes nothing here."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / "config.toml").write_text(CONFIG)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "web.cli.main", "worker", "--data", str(self.data)]
        with (self.data / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=KINDS)
def forge(request: pytest.FixtureRequest) -> Iterator[FakeForge]:
    with running(request.param) as forge:
        yield forge


@pytest.fixture
def worker(told: ToldForge) -> Iterator[Worker]:
    worker = Worker(told.server.config.data)
    yield worker
    worker.kill()


def agrees(told: ToldForge, sha: str) -> bool:
    return told.states(sha) == told.wanted(sha) and not told.due()


def posted(told: ToldForge, sha: str, context: str) -> list[str]:
    """The states of one status in the order in which they were told."""
    calls = [call for call in told.forge.posts() if sha in call.path]
    return [call.json["state"] for call in calls if status_name(call.json) == context]


def test_a_worker_that_dies_between_the_post_and_its_record_leaves_nothing_behind(
    told: ToldForge, worker: Worker
) -> None:
    sha = told.push("train")
    wait_for(lambda: agrees(told, sha))
    answer = told.forge.hang(applied=True)
    posts = len(told.forge.posts())
    told.move("train", State.STARTED)
    wait_for(lambda: len(told.forge.posts()) > posts)
    worker.kill()
    answer.set()
    told.move("train", State.COMPLETE)  # and what changes while nobody works is told by the next one
    worker.start()
    wait_for(lambda: agrees(told, sha))
    assert len(told.shown(sha)) == 2
    assert told.problems() == []
    assert len(told.forge.pipelines) == int(told.forge.kind == "gitlab")


def test_kills_at_any_time_and_failures_of_the_forge_lose_nothing(told: ToldForge, worker: Worker) -> None:
    chance = random.Random(SEED)
    steps = ["a", "b", "c"]
    shas = [told.push(*steps, message=f"commit {n}") for n in range(2)]
    for _ in range(4):
        told.forge.fail(500, times=chance.randrange(2))
        told.forge.drop(times=chance.randrange(2), applied=bool(chance.randrange(2)))
        step = chance.choice(steps)
        execution = told.execution(step)
        if execution.state is State.CREATED:
            told.move(step, State.STARTED)
        elif execution.state is State.STARTED:
            told.move(step, *chance.choice([(State.COMPLETE, None), (State.ERROR, FailureReason.DISK)]))
        over = time.monotonic() + chance.uniform(0.1, 3.0)
        wait_for(lambda over=over: time.monotonic() > over)
        worker.kill()
        worker.start()
    told.forge.mend()
    wait_for(lambda: all(agrees(told, sha) for sha in shas), 90)
    assert all(len(told.shown(sha)) == 4 for sha in shas)
    assert told.forge.overlaps() == 0
    for sha in shas:
        for context in told.shown(sha):
            over = [state not in UNFINISHED for state in posted(told, sha, context)]
            assert over == sorted(over), "an older state was told after a final one"


def test_a_restarted_worker_asks_again_for_what_the_record_lacks(told: ToldForge, worker: Worker) -> None:
    """Nothing is due, as after a kill that lost the mark; the restart compares all the same."""
    sha = told.push("train")
    wait_for(lambda: agrees(told, sha))
    worker.kill()
    told.move("train", State.COMPLETE)
    told.db.execute("INSERT OR REPLACE INTO cursor SELECT 'outbox', MAX(id) FROM state_change")
    worker.start()
    wait_for(lambda: agrees(told, sha))
    assert "pending" not in told.states(sha).values()

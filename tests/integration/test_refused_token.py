"""A token that is rejected for a while ends no execution: all reports arrive once it is accepted again."""

from __future__ import annotations

import threading

import pytest
from runner_host import executing, execution, keeper_process, take_up, until
from runner_server import RunnerServer

from core.states import FailureReason
from runner import server_client
from runner.host import Host

pytestmark = pytest.mark.docker


class Refusal:
    """Answers the first call of each kind with 401."""

    def __init__(self, server: RunnerServer) -> None:
        self.seen: set[str] = set()
        server.before = self

    def __call__(self, path: str) -> int | None:
        verb = path.split("/")[2]
        first = verb not in self.seen
        self.seen.add(verb)
        return 401 if first else None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_client, "LONGEST_WAIT_S", 0.2)


def test_every_call_of_an_execution_is_tried_again_with_the_token_that_is_right(
    server: RunnerServer, host: Host
) -> None:
    recorded = server.add(execution("echo hello", "echo kept >/valohai/outputs/file"))
    refusal = Refusal(server)
    with executing(host, recorded.spec):
        until(lambda: recorded.final)
    assert refusal.seen >= {"claim", "container", "log", "outputs", "final"}
    assert recorded.final["state"] == "complete"
    assert recorded.lines() == ["hello"]
    assert recorded.outputs == {"file": b"kept\n"}
    until(lambda: not any(host.executions.iterdir()))


def test_a_container_is_adopted_though_the_token_is_refused_at_first(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("for i in $(seq 40); do echo $i; sleep 0.05; done"))
    with keeper_process(host, recorded.spec.uuid):
        until(lambda: len(recorded.lines()) > 5)
    refusal = Refusal(server)
    take_up(host)
    assert refusal.seen >= {"claim", "heartbeat", "log", "final"}
    assert recorded.final["state"] == "complete"
    assert recorded.lines() == [str(i) for i in range(1, 41)]


def test_a_commit_that_could_not_be_fetched_is_fetched_when_the_server_answers_again(
    server: RunnerServer, host: Host
) -> None:
    """The recording server serves no git: what counts is that the second failure comes after a word with the server."""
    recorded = server.add(execution("true", commit_identifier="b" * 40))
    calls: list[str] = []
    refused = threading.Event()

    def before(path: str) -> int | None:
        calls.append(path.split("/")[2])
        refusing = calls.count("heartbeat") < 3
        if not refusing:
            refused.set()
        return 401 if refusing and calls[-1] == "heartbeat" else None

    server.before = before
    with executing(host, recorded.spec):
        assert refused.wait(30)
        until(lambda: recorded.final)
    assert recorded.final["failure_reason"] == FailureReason.INTERNAL
    assert "cannot be checked out" in recorded.final["message"]

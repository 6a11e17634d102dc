"""A valohai.yaml that takes long to read delays only its own repository, has a budget, and is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from instance import Checkout, wait_for
from push_server import PushServer, step

from core.config import Seconds
from web.config.steps import parse_in_child
from web.config.steps.parse import Configuration, parse
from web.services.deliveries import ingest
from web.store import deliveries
from web.store.db import transaction

SLOW = "slow"


class Parser:
    """Stands in the child for a file that the real parser is slow to read: it waits until the gate opens."""

    def __init__(self, folder: Path) -> None:
        self.gate, self.begun, self.read = folder / "gate", folder / "begun", folder / "read"

    def __call__(self, data: bytes, items: int) -> Configuration:
        with self.read.open("ab") as file:
            file.write(b".")
        if SLOW.encode() in data:
            self.begun.touch()
            wait_for(self.gate.exists)
        return parse(data, items)

    @property
    def reads(self) -> int:
        return self.read.stat().st_size if self.read.exists() else 0


@pytest.fixture
def parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parser:
    parse_in_child.warm_up()
    parser = Parser(tmp_path)
    monkeypatch.setattr(parse_in_child, "parse", parser)
    return parser


def limited(pushes: PushServer, **limits: Any) -> None:
    pushes.config = replace(pushes.config, limits=replace(pushes.config.limits, **limits))


def push_branches(pushes: PushServer, checkout: Checkout, project: str, names: Sequence[str]) -> list[str]:
    """One push of branches that each have a valohai.yaml of their own; the commits."""
    shas = []
    for name in names:
        checkout.git("checkout", "-q", "-b", name)
        shas.append(checkout.commit({"valohai.yaml": step(name)}))
    pushes.push(checkout, project, *names)
    return shas


def test_another_projects_push_is_ingested_while_a_slow_configuration_is_read(
    pushes: PushServer, checkout: Checkout, parser: Parser, tmp_path: Path
) -> None:
    checkout.commit({"valohai.yaml": step(SLOW)})
    other = Checkout(tmp_path / "other")
    other.commit({"valohai.yaml": step("train")})
    with pushes.worker():
        pushes.push(checkout, "hostile")
        wait_for(parser.begun.exists)
        pushes.push(other, "friendly")
        wait_for(lambda: pushes.steps("friendly"))
        assert pushes.pushes("hostile") == []  # which is still being read
        parser.gate.touch()
        wait_for(lambda: pushes.steps("hostile"))


def test_no_delivery_is_started_once_the_turn_of_its_repository_is_over(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    pushes.push(checkout, "model")
    ingest.collect_push_files(pushes.context)
    (repository,) = deliveries.list_due_repositories(pushes.db)
    ingest.ingest_repository(pushes.context, repository, until=0.0)
    assert deliveries.list_due_repositories(pushes.db) == [repository]
    ingest.ingest_repository(pushes.context, repository)
    assert deliveries.list_due_repositories(pushes.db) == []


def test_what_a_push_has_no_time_left_to_read_says_so_and_is_read_when_it_runs_again(
    pushes: PushServer, checkout: Checkout, parser: Parser
) -> None:
    limited(pushes, config_time=Seconds(2))
    shas = push_branches(pushes, checkout, "model", ["fast", "slow-1", "slow-2"])
    pushes.drain()
    found = [pushes.commit("model", sha) for sha in shas]
    assert [commit.config_state for commit in found] == ["ok", "broken", "broken"]
    assert float(found[1].problems[0].removeprefix("valohai.yaml takes longer than ").removesuffix(" s to read")) <= 2
    assert "those of the other commits of this push took 2 s together ([limits] config_time)" in found[2].problems[0]
    assert "configuration is not valid" in pushes.pushes("model")[2].outcome
    assert pushes.steps("model") == ["fast"]

    parser.gate.touch()
    limited(pushes, config_time=Seconds(30))
    with transaction(pushes.db):
        deliveries.store_again(pushes.db, pushes.deliveries("model")[0].id)
    pushes.drain()
    assert [pushes.commit("model", sha).config_state for sha in shas] == ["ok"] * 3
    assert set(pushes.steps("model")) == {"fast", "slow-1", "slow-2"}


def test_the_same_content_is_read_once(pushes: PushServer, checkout: Checkout, parser: Parser) -> None:
    for number, text in enumerate((step("train"), "- step: {name: broken}\n")):
        for name in ("one", "two"):
            checkout.commit({"valohai.yaml": text})
            pushes.push(checkout, name)
            checkout.commit({"other": f"{name} {number}"})
            pushes.push(checkout, name, "main:refs/heads/more")
            pushes.drain()
        assert parser.reads == number + 1
    outcomes = [push.outcome for push in pushes.pushes("two")]
    assert outcomes[:2] == ["1 execution"] * 2
    assert outcomes[2] == outcomes[3]
    assert "line 1: step: 'command' is missing" in outcomes[3]
    limited(pushes, config_items=2)
    checkout.commit({})
    pushes.push(checkout, "one")
    pushes.drain()
    assert parser.reads == 3  # which reads with another limit


def test_a_configuration_of_too_many_items_is_refused_by_count(pushes: PushServer, checkout: Checkout) -> None:
    limited(pushes, config_items=3)
    task = "- task: {name: search, step: b, parameters: []}\n"
    sha = checkout.commit({"valohai.yaml": step("a") + step("b") + task + "- else: 1\n"})
    pushes.push(checkout, "model")
    pushes.drain()
    assert pushes.commit("model", sha).problems == (
        "valohai.yaml declares 2 steps, 1 task, 1 other item: the server reads at most 3 items ([limits] config_items)."
        " Use parameters or tasks instead of many similar steps.",
    )

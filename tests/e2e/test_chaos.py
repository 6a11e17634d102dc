"""Random kills: every execution ends correctly and completely, and nothing is left behind."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import CONFIG, Site, battle
from instance import Checkout, running
from machines import machine

pytestmark = [pytest.mark.docker, pytest.mark.redis]

SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with (
        running(tmp_path / "site", CONFIG) as instance,
        machine(instance, tmp_path / "two", "second", slots=2) as second,
    ):
        yield Site(instance, second)


@pytest.mark.timeout(400)
def test_a_minute_of_kills_costs_no_execution_a_line_or_an_output(site: Site, checkout: Checkout) -> None:
    battle(site, checkout, count=20, seed=SEED, deadline_s=300)


@pytest.mark.chaos
@pytest.mark.timeout(2400)
def test_ten_minutes_of_kills_cost_no_execution_a_line_or_an_output(site: Site, checkout: Checkout) -> None:
    battle(site, checkout, count=int(os.environ.get("CHAOS_EXECUTIONS", "400")), seed=SEED, deadline_s=1800)

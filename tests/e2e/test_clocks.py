"""A runner whose clock is wrong by an hour: log times are the server's, and limits and leases work as usual."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from instance import Checkout, Instance, running, wait_for
from machines import SERVER_ALONE, UNTIL_GO, launch, machine, step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

OFF_CLOCK = str(Path(__file__).with_name("off_clock.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


@pytest.mark.parametrize("off_s", [3600, -3600], ids=["ahead", "behind"])
def test_an_hour_on_the_runners_clock_is_seen_nowhere(
    site: Instance, tmp_path: Path, checkout: Checkout, off_s: int
) -> None:
    project = f"off{off_s}"
    limited = step("limited", UNTIL_GO, **{"time-limit": 3})
    silent = step("silent", "echo up; sleep 60", **{"no-output-timeout": 2})
    shown = step("shown", "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); cut -d' ' -f1 /proc/uptime; sleep 0.05; done")
    command = (sys.executable, "-P", OFF_CLOCK, str(off_s))
    with machine(site, tmp_path / "runner", f"off{abs(off_s)}{off_s < 0}", slots=3, command=command) as runner:
        wait_for(lambda: runner.online)
        began = time.time()
        executions = launch(site, checkout, project, limited, silent, shown)
        ended = [site.wait_final(execution, 30) for execution in executions]
        took = time.time() - began
        assert [(e["status"], e["failure_reason"]) for e in ended] == [
            ("error", "time_limit"),
            ("error", "no_output"),
            ("complete", None),
        ]
        for execution in executions:
            events = site.get(f"/executions/{execution}/events/", limit=0)["events"]
            times = [datetime.fromisoformat(event["time"]).timestamp() for event in events]
            assert times == sorted(times)
            assert began - 1 < times[0] < times[-1] < began + took + 1
        (first_at, first), *_, (last_at, last) = [
            (datetime.fromisoformat(event["time"]).timestamp(), float(event["message"]))
            for event in site.get(f"/executions/{executions[2]}/events/", limit=0)["events"]
            if event["stream"] == "stdout"
        ]
        assert abs((last_at - first_at) - (last - first)) < 1, (
            "the container prints the seconds since the machine's start"
        )
        wait_for(lambda: not runner.leftovers())

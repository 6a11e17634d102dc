"""A thousand slow connections block neither runners nor the health check, and are closed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from instance import Checkout, Instance, running, wait_for
from slow_peers import KINDS, attack
from test_push import step

from web.store.db import connect, fetch_rows

pytestmark = [pytest.mark.docker, pytest.mark.redis]

COUNT = "for i in $(seq 1 200); do echo line $i; sleep 0.1; done"
CONFIG = '[server]\nheader_timeout = "4 s"\nslow_after = "4 s"\n'
ANSWERS = 40


class Leases:
    """Watches the lease of the only running execution."""

    def __init__(self, instance: Instance) -> None:
        self.db = connect(instance.data / "pushmill.db")
        self.extended: set[str] = set()

    def look(self) -> None:
        """Record the lease, which must not have expired."""
        (found,) = fetch_rows(self.db, "SELECT state, lease_expires_at AS until FROM execution")
        if found["state"] == "started":
            assert datetime.fromisoformat(found["until"]) > datetime.now(UTC)
            self.extended.add(found["until"])


@pytest.mark.parametrize(
    ("names", "most"), [(["half a head"], 2000), (list(KINDS), 1000)], ids=["the deadlines alone", "all kinds"]
)
def test_a_thousand_slow_connections_leave_runners_and_the_health_check_alone(
    tmp_path: Path, checkout: Checkout, names: list[str], most: int
) -> None:
    with running(tmp_path / "data", f"{CONFIG}connections_per_address = {most}\n") as instance:
        checkout.commit({"valohai.yaml": step("count", COUNT)})
        checkout.push(instance.git_url("slow"))
        execution = wait_for(lambda: instance.executions("slow"))[0]["id"]
        wait_for(lambda: "line 5" in instance.events(execution, "stdout"))
        leases = Leases(instance)
        with attack(instance.port, 1000, *names) as slow:
            wait_for(lambda: slow.opened >= 1000)
            first = slow.connections
            for _ in range(ANSWERS):
                assert httpx.get(f"{instance.url}/healthz", timeout=10, trust_env=False).status_code == 200
                leases.look()
            wait_for(lambda: leases.look() or len(leases.extended) >= 5)
            wait_for(lambda: not first & slow.connections)
        assert instance.wait_final(execution)["status"] == "complete"
        assert instance.events(execution, "stdout") == [f"line {i}" for i in range(1, 201)]
        leases.db.close()

"""Every delivery that was answered 202 is handled, whichever process is killed."""

from __future__ import annotations

import http.client
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from forge_deliveries import GitHub, Moved, encoded
from instance import Checkout, Instance, running, wait_for
from machines import SERVER_ALONE

from web.store.db import connect, fetch_rows

pytestmark = [pytest.mark.docker, pytest.mark.redis]

DELIVERIES, SENDERS = 500, 4
KILLED_AFTER = (50, 150, 250, 350)  # deliveries


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server whose own runner takes no executions."""
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


def kill(pid_file: Path) -> str:
    """Kill the process; return its id, "" while it is being restarted."""
    words = pid_file.read_text().split() if pid_file.exists() else []
    if not words or not psutil.pid_exists(int(words[0])):
        return ""
    psutil.Process(int(words[0])).send_signal(signal.SIGKILL)
    return words[0]


class Forge:
    """Reports a push to each of many branches, on several connections at once."""

    def __init__(self, site: Instance, checkout: Checkout, path: Path) -> None:
        self.port, self.sender = site.port, GitHub()
        self.sha = checkout.commit({"readme": "without steps"})
        checkout.git("init", "-q", "--bare", str(path))
        checkout.git("push", "-q", str(path), "main")
        site.pushmill("project", "add", "model", "--repo", f"file://{path}", "--forge", "github")
        site.pushmill("project", "set-secret", "model", given=self.sender.secret)

    def tell(self, first: int, told: Callable[[int], None]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for number in range(first, DELIVERIES, SENDERS):
            body = encoded(self.sender.push(Moved(ref=f"refs/heads/b{number}", after=self.sha)))
            connection.request("POST", "/hooks/model/github", body, self.sender.headers(body, f"d-{number}"))
            answer = connection.getresponse()
            answer.read()
            told(answer.status)
        connection.close()


def test_no_accepted_delivery_is_lost_when_worker_and_redis_are_killed(
    site: Instance, checkout: Checkout, tmp_path: Path
) -> None:
    forge, statuses, lock = Forge(site, checkout, tmp_path / "forge.git"), Counter[int](), threading.Lock()
    killed: set[str] = set()

    def told(status: int) -> None:
        with lock:
            statuses[status] += 1
            if statuses.total() in KILLED_AFTER:
                killed.update(kill(site.data / name) for name in ("run/worker.pid", "redis/redis.pid"))

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda first: forge.tell(first, told), range(SENDERS)))
    assert statuses == {202: DELIVERIES}
    assert len(killed - {""}) >= 2
    db = connect(site.data / "pushmill.db")
    try:
        wait_for(lambda: not fetch_rows(db, "SELECT 1 FROM delivery WHERE state = 'stored' LIMIT 1"), 60, 0.1)
        outcomes = Counter(found["state"] for found in fetch_rows(db, "SELECT state FROM delivery"))
        refs = Counter(found["ref"] for found in fetch_rows(db, "SELECT ref FROM push WHERE delivery_id IS NOT NULL"))
    finally:
        db.close()
    assert outcomes == {"done": DELIVERIES}
    assert refs == {f"refs/heads/b{number}": 1 for number in range(DELIVERIES)}

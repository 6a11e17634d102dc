"""Response time to a delivery of each forge: verify, store, wake the worker, answer 202.

Floor: the same server with a view that reads the body and answers 204. Measured one by one for the time of each
delivery, then with CLIENTS at once for the deliveries per second, then, once the worker has caught up, at half that
load. Promises: for each forge 99 of 100 within 50 ms, one by one and at half of the load, and at least 0.3 of the
floor's deliveries per second. The worker runs meanwhile; the pushes move no ref, so that git is not measured.
"""

from __future__ import annotations

import http.client
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import Promise, at_most, processor_seconds, report, scratch, wait_for
from flask import Flask, Response, request
from forge_deliveries import SENDERS, Moved, Sender, encoded, label
from instance import free_port
from redis import Redis

from core import config as configuration
from core.config import Config
from web.http import auth, webhooks
from web.http.serving.bridge import Bridge
from web.processes import preflight, web_server
from web.services import vault
from web.services.announcer import Announcer
from web.services.context import open_context
from web.services.logins.providers import Providers
from web.services.repositories import hosting
from web.services.runners.heartbeats import Heartbeats
from web.services.scheduling.queues import Queues
from web.store.db import connect, fetch_rows

ROUNDS = 200
CLIENTS = 8
SECONDS = 3.0
TURNS = 5  # ours and the floor alternately, since other load on the machine varies
ANSWER_S = 0.05
SHARE = 0.3
COMMITS = 20  # per push: a body of 10 kB
numbers = itertools.count(1)
turns = itertools.cycle(SENDERS)


def serve_empty(config: Config, port: int) -> None:
    """Run the server of the floor."""
    app = Flask("floor")
    queues = Queues(Redis.from_url("unix:///nonexistent"))
    server = auth.Server(
        config=config,
        queues=queues,
        vault=vault.load(config.data / "secret.key"),
        announcer=Announcer(queues),
        providers=Providers(config.login),
        heartbeats=Heartbeats(config.database),
    )
    app.extensions |= {"pushmill": server, webhooks.EXTENSION: webhooks.make_intake(server)}

    @app.post("/<path:_>")
    def nothing(_: str) -> Response:
        request.get_data()
        return Response(status=204)

    web_server.run(Bridge(app), preflight.listen("127.0.0.1", port))


class Client:
    """One persistent connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(self, path: str, body: bytes, headers: dict[str, str]) -> float:
        """Send a delivery; return the seconds until the answer is read."""
        started = time.perf_counter()
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        answer.read()
        spent = time.perf_counter() - started
        if answer.status not in (202, 204):
            raise RuntimeError(f"{path}: {answer.status}")
        return spent


def delivery(sender: Sender) -> tuple[str, bytes, dict[str, str]]:
    """Create a delivery; each one is another push."""
    number = next(numbers)
    payload = sender.push(Moved(before=f"{number:040x}", after=f"{number:040x}"))
    if "commits" in payload:
        payload["commits"] *= COMMITS
    body = encoded(payload)
    return f"/hooks/{project(sender)}/{sender.name}", body, sender.headers(body, f"d-{number}")


def project(sender: Sender) -> str:
    return label(sender).lower()


@contextmanager
def floor() -> Iterator[tuple[int, int]]:
    """Run the floor's server; yield its port and process id."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = subprocess.Popen([sys.executable, __file__, folder, str(port)])
        try:
            wait_for(lambda: answers(port), 30)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(30)


def answers(port: int) -> bool:
    try:
        return Client(port).send("/x", b"", {}) > 0
    except OSError:
        return False


def show(what: str, spent: list[float]) -> float:
    """Print the median and the 99th percentile in ms; return the latter in seconds."""
    p50, p99 = statistics.median(spent), statistics.quantiles(spent, n=100)[98]
    print(f"  {what:<14} p50 {1000 * p50:6.1f} ms   p99 {1000 * p99:6.1f} ms   (n={len(spent)})", flush=True)
    return p99


def together(port: int, gap_s: float) -> tuple[float, list[float]]:
    """Send deliveries by CLIENTS for SECONDS, one every `gap_s` per client; 0 is without a pause.

    Returns the deliveries per second, and the time of each from when it was due.
    """
    spent: list[float] = []
    began = time.perf_counter()

    def run(first: float) -> None:
        client, due = Client(port), began + first
        while (now := time.perf_counter()) < began + SECONDS:
            if gap_s and now < due:
                time.sleep(due - now)
            client.send(*delivery(next(turns)))
            spent.append(time.perf_counter() - (due if gap_s else now))
            due += gap_s

    threads = [threading.Thread(target=run, args=(gap_s * number / CLIENTS,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(spent) / (time.perf_counter() - began), spent


def add_projects(data: Path) -> None:
    config = configuration.load(data)
    url = "https://forge.example.org/ada/model.git"
    with open_context(config, vault.load(config.data / "secret.key")) as context:
        for sender in SENDERS:
            made, _ = hosting.add_project(context, project(sender), 1, forge=sender.name, url=url)
            hosting.set_secret(context, made, sender.secret)


def count(data: Path, where: str = "") -> int:
    """Return the number of deliveries."""
    db = connect(data / "pushmill.db")
    try:
        return int(fetch_rows(db, f"SELECT COUNT(*) AS n FROM delivery {where}")[0]["n"])
    finally:
        db.close()


def one_by_one(port: int, floor_port: int) -> int:
    """Send deliveries one at a time; return the number of accepted ones."""
    ours, empty = Client(port), Client(floor_port)
    spent: dict[str, list[float]] = {label(sender): [] for sender in SENDERS} | {"floor": []}
    for _ in range(ROUNDS):
        for sender in SENDERS:
            spent[label(sender)].append(ours.send(*delivery(sender)))
        spent["floor"].append(empty.send(*delivery(SENDERS[0])))
    print("One delivery at a time")
    *found, empty_p99 = [show(name, times) for name, times in spent.items()]
    what = "answer to a delivery, 99 of 100, the slowest forge"
    report(what, [max(found)], [empty_p99], unit="s", promise=at_most(ANSWER_S, "s"))
    return ROUNDS * len(SENDERS)


def all_at_once(port: int, floor_port: int, web: int, floor_web: int) -> tuple[int, float]:
    """Send deliveries by CLIENTS at once; return the number of accepted ones, and how many per second."""
    began = processor_seconds(web), processor_seconds(floor_web)
    mine, others = [], []
    for _ in range(TURNS):
        mine.append(together(port, 0))
        others.append(together(floor_port, 0))
    cost = processor_seconds(web) - began[0], processor_seconds(floor_web) - began[1]
    rates, most = ([per_second for per_second, _ in found] for found in (mine, others))
    taken, empty_taken = (sum(len(times) for _, times in found) for found in (mine, others))
    each = {"ours, of each": cost[0] / taken, "floor, of each": cost[1] / empty_taken}
    promise = Promise(f"at least {SHARE} times the floor", lambda ours, floor: ours >= SHARE * floor)
    report(f"deliveries per second, {CLIENTS} at once", rates, most, unit="/s", promise=promise, spent=each)
    return taken, statistics.median(rates)


def at_half_of_it(port: int, floor_port: int, rate: float) -> int:
    """Send deliveries at half of `rate`; return the number of accepted ones."""
    half, late = together(port, 2 * CLIENTS / rate)
    _, floor_late = together(floor_port, 2 * CLIENTS / rate)
    print(f"At half of that load, {half:.0f}/s")
    what = "the same at half of the full load"
    report(what, [show("ours", late)], [show("floor", floor_late)], unit="s", promise=at_most(ANSWER_S, "s"))
    return len(late)


def main() -> None:
    with (
        scratch("[runner]\nslots = 1\n[server]\nhook_rate = 0\nhook_queue = 0\n") as (instance, _),
        floor() as (floor_port, floor_web),
    ):
        add_projects(instance.data)
        web = int((instance.data / "run" / "web.pid").read_text().split()[0])
        sent = one_by_one(instance.port, floor_port)
        taken, rate = all_at_once(instance.port, floor_port, web, floor_web)
        wait_for(lambda: not count(instance.data, "WHERE state = 'stored'"), 300)  # the backlog of the full load
        sent += taken + at_half_of_it(instance.port, floor_port, rate)
        stored = count(instance.data)
        if sent != stored:
            raise RuntimeError(f"{stored:,} deliveries are stored of {sent:,} accepted ones")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve_empty(configuration.load(Path(sys.argv[1])), int(sys.argv[2]))
    else:
        main()

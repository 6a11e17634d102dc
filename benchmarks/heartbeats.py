"""The cost of 200 idle runners: processor time of the web server while each sends its heartbeat when due.

Floor: the same requests to a view of such a server that reads their bodies and answers 204. Promise: under 3 % of a
core, and at most 1.2 times the floor.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import urllib3
from bench import Promise, processor_seconds, report, scratch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from instance import free_port, wait_for

from core.wire import RunnerReport
from runner.server_client import SOCKET_OPTIONS, Reporter
from web.services.runners import heartbeats
from web.store import runners
from web.store.db import connect, transaction

RUNNERS = 200
ROUNDS, SECONDS = 5, 10.0
MOST, TIMES = 3.0, 1.2
PROMISE = Promise(
    f"under {MOST:g} % of a core and at most {TIMES:g} times the floor",
    lambda ours, floor: ours < MOST and ours <= TIMES * floor,
)
INFO = {
    "version": "0.1.0", "docker_version": "20.10.24", "driver_version": "550.54", "cpu_count": 64,
    "memory_bytes": 256 * 2**30, "problems": [],
    "gpus": [{"uuid": f"GPU-{n}", "name": "NVIDIA A100-SXM4-80GB", "memory_bytes": 80 * 2**30} for n in range(8)],
}  # fmt: skip

BARE = """
import sys
from pathlib import Path
from flask import Response, request
from core import config
from web.http import auth
from web.http.app import create_app
from web.http.serving.bridge import Bridge
from web.processes import preflight, web_server
from web.services import setup

@auth.public
def heartbeat():
    request.get_data()
    return Response(status=204)

data = config.load(Path(sys.argv[1]), None, redis__url="unix:///nowhere")
setup.prepare(data, print)
app = create_app(data)
app.add_url_rule("/heartbeat", "heartbeat", heartbeat, methods=["POST"])
web_server.run(Bridge(app), preflight.listen("127.0.0.1", int(sys.argv[2])))
"""


@contextmanager
def bare_server() -> Iterator[tuple[int, str]]:
    """Yield the pid and the URL of our web server with a view that answers each heartbeat with 204."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-c", BARE, data, str(port)]
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}/heartbeat"
        try:
            wait_for(lambda: _answers(url), 30)
            yield process.pid, url
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return bool(urllib3.request("POST", url, json={}, retries=False).status == 204)
    except urllib3.exceptions.HTTPError:
        return False


def cost(root: int, beats: list[Callable[[], object]], interval_s: float) -> float:
    """Return the percentage of a core used while each of `beats` is called once per interval, evenly spread."""
    began, spent = time.monotonic(), processor_seconds(root)
    number = 0
    while (now := time.monotonic()) - began < SECONDS:
        due = began + number * interval_s / len(beats)
        if now < due:
            time.sleep(due - now)
        beats[number % len(beats)]()
        number += 1
    return 100 * (processor_seconds(root) - spent) / (time.monotonic() - began)


def main() -> None:
    with scratch("[runner]\nslots = 1\n") as (instance, _), bare_server() as (bare_pid, bare_url):
        db = connect(instance.data / "pushmill.db")
        with transaction(db):
            for number in range(RUNNERS):
                runners.add(db, f"bench{number}", f"token{number}", ["default"])
        reporters = [Reporter(instance.url, f"token{number}") for number in range(RUNNERS)]
        pools = [urllib3.PoolManager(socket_options=SOCKET_OPTIONS) for _ in range(RUNNERS)]

        def message() -> RunnerReport:
            load = {"load": time.monotonic() % 7, "free_disk_bytes": int(time.monotonic() * 1e6)}
            return RunnerReport(slots=2, info=INFO | load, clock_us=time.time_ns() // 1000)

        def beat(reporter: Reporter) -> None:
            reporter.report(message())

        def bare_beat(pool: urllib3.PoolManager) -> None:
            headers = {"Authorization": "Token token", "Content-Type": "application/json"}
            pool.request("POST", bare_url, body=json.dumps(message().to_dict()), headers=headers)

        for reporter, pool in zip(reporters, pools, strict=True):  # both servers keep all connections open
            beat(reporter)
            bare_beat(pool)
        first = runners.find_by_name(db, "bench0")
        assert first is not None
        interval = heartbeats.make_orders(first, RUNNERS).heartbeat_s
        db.close()
        pid = int((instance.data / "run" / "web.pid").read_text().split()[0])
        idle, bare_idle = cost(pid, [lambda: None], interval), cost(bare_pid, [lambda: None], interval)
        ours, floors = list[float](), list[float]()
        for _ in range(ROUNDS):  # in turns, since other load of the machine changes the cost of both
            ours.append(cost(pid, [partial(beat, reporter) for reporter in reporters], interval) - idle)
            floors.append(cost(bare_pid, [partial(bare_beat, pool) for pool in pools], interval) - bare_idle)
    what = f"{RUNNERS} idle runners, a heartbeat each {interval:g} s"
    report(what, ours, floors, unit="% of a core", promise=PROMISE)


if __name__ == "__main__":
    main()

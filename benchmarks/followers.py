"""FOLLOWERS browsers that follow one running execution, and as many that follow different ones.

Every line carries the time at which it was reported. Promises: no line is lost or comes twice, half of the lines come
within a second and 99 of 100 within two, and the web process takes less than one core. Floor: an ASGI application on
the same server library that sends the same lines to as many streams, without rights, database and HTML.

The threads that are started are those of [server] threads that made the pages' first answers; no stream holds one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import urllib3
import uvicorn
from bench import Promise, at_most, report, wait_for

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))

from api_server import NO_REDIS, RUNNER_TOKENS, ApiServer
from instance import free_port
from serving import Serving

from core.config import build_config
from web.http.app import create_app
from web.services.scheduling import dispatch
from web.store.db import execute

FOLLOWERS = 500
SECONDS = 20.0
EACH_S = 0.5  # between two lines of the one execution
OTHERS_S = 10.0  # between two lines of each of the different ones
SETTLE_S = 15.0  # for the last lines
P50_S, P99_S, CORES = 1.0, 2.0, 1.0
LINE = re.compile(rb"t(\d+)n(\d+)\.")


class Floor:
    """Sends each line that is posted to all streams."""

    def __init__(self) -> None:
        self.streams: set[asyncio.Queue[bytes]] = set()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        if scope["method"] == "POST":
            body = (await receive())["body"]
            for stream in self.streams:
                stream.put_nowait(body)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        stream = asyncio.Queue[bytes]()
        self.streams.add(stream)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            event = {"type": "http.response.body", "body": b"data: " + await stream.get() + b"\n\n", "more_body": True}
            await send(event)


def serve(kind: str, where: str) -> None:
    """Be the server, in a process of its own, until its standard input closes."""
    if kind == "floor":
        uvicorn.run(Floor(), port=int(where), log_level="error")
    server = Serving(create_app(build_config(NO_REDIS, Path(where))))
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)


@contextmanager
def server(kind: str, where: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, kind, where]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Followers:
    """Streams that note when each line came."""

    def __init__(self, port: int, paths: list[str], token: str) -> None:
        self._port, self._paths, self._token = port, paths, token
        self.came: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))  # by follower and line
        self.opened = 0

    async def follow(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        head = f"GET {self._paths[number]} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {self._token}\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        assert b" 200 " in status, status
        self.opened += 1
        while line := await reader.readline():
            now = time.monotonic_ns()
            for sent, which in LINE.findall(line):
                self.came[number][int(which)].append((now - int(sent)) / 1e9)

    def check(self, expected: Callable[[int], int]) -> list[float]:
        """Return all delays, in order. Raises AssertionError for a line that is lost or came twice."""
        for number in range(len(self._paths)):
            came = self.came[number]
            assert sorted(came) == list(range(expected(number))), f"follower {number} has {sorted(came)}"
            assert all(len(times) == 1 for times in came.values()), "a line came twice"
        return sorted(delay for came in self.came.values() for times in came.values() for delay in times)


async def measure(
    followers: Followers, web: psutil.Process, say: Callable[[int, int], None], executions: int, every_s: float
) -> tuple[list[float], float, int]:
    """Return the delays of all lines, the cores that the server took, and by how many its threads grew."""
    threads = web.num_threads()
    tasks = [asyncio.create_task(followers.follow(number)) for number in range(FOLLOWERS)]
    while followers.opened < FOLLOWERS:
        await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()
    await asyncio.sleep(3)
    spent, began, said = sum(web.cpu_times()[:2]), time.monotonic(), 0
    while (now := time.monotonic()) < began + SECONDS:
        due = began + said * every_s / executions
        if now < due:
            await asyncio.sleep(due - now)
        await asyncio.to_thread(say, said % executions, said // executions)
        said += 1
    cores = (sum(web.cpu_times()[:2]) - spent) / (time.monotonic() - began)
    await asyncio.sleep(SETTLE_S)
    grown = web.num_threads() - threads
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return followers.check(lambda number: (said + executions - 1 - number % executions) // executions), cores, grown


def text(number: int) -> bytes:
    return f"t{time.monotonic_ns()}n{number}.\n".encode()


def floor(every_s: float) -> tuple[list[float], float]:
    port, pool = free_port(), urllib3.PoolManager()

    def answers() -> bool:
        try:
            return pool.request("POST", f"http://127.0.0.1:{port}/", retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def say(_: int, number: int) -> None:
        pool.request("POST", f"http://127.0.0.1:{port}/", body=text(number).strip())

    with server("floor", str(port)) as process:
        wait_for(answers, 60)
        followers = Followers(port, ["/"] * FOLLOWERS, "none")
        delays, cores, _ = asyncio.run(measure(followers, psutil.Process(process.pid), say, 1, every_s))
    return delays, cores


def started(api: ApiServer, many: int) -> list[str]:
    execute(api.db, "UPDATE runner SET most_slots = ?", (many,))
    assert api.call("heartbeat", {"slots": many, "info": {}}).status_code == 200
    made = [api.add_execution().uuid for _ in range(many)]
    dispatch.dispatch(api.context, api.app.extensions["pushmill"].queues)
    for uuid in made:
        assert api.call(f"executions/{uuid}/claim", {"attempt": 1, "resume": False}).status_code == 200
    return made


def ours(executions: int, every_s: float) -> tuple[list[float], float, int]:
    with tempfile.TemporaryDirectory(prefix="pushmill-bench-") as folder:
        api = ApiServer(Path(folder, "data"))
        made = started(api, executions)
        paths = [f"/p/demo/executions/{api.execution(uuid).counter}/events" for uuid in made]
        offsets, pool = [0] * executions, urllib3.PoolManager()
        with server("pushmill", str(api.config.data)) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())

            def say(which: int, number: int) -> None:
                body, start = text(number), offsets[which]
                offsets[which] += len(body)
                batch = {"attempt": 1, "stream": "stdout", "start": start, "end": start + len(body)}
                query = "&".join(f"{name}={value}" for name, value in (batch | {"first_us": 0, "last_us": 0}).items())
                url = f"http://127.0.0.1:{port}/api/runner/executions/{made[which]}/log?{query}"
                answer = pool.request(
                    "POST", url, body=body, headers={"Authorization": f"Token {RUNNER_TOKENS['one']}"}
                )
                assert answer.status == 200, answer.data

            followed = [paths[number % executions] for number in range(FOLLOWERS)]
            followers = Followers(port, followed, api.token)
            found = asyncio.run(measure(followers, psutil.Process(process.pid), say, executions, every_s))
        api.close()
    return found


def main() -> None:
    logging.disable(logging.WARNING)  # there is no Redis, which the server reports
    if len(sys.argv) == 3:
        serve(*sys.argv[1:])
    base, base_cores = floor(EACH_S)
    for what, executions, every_s in (("one execution", 1, EACH_S), (f"{FOLLOWERS} executions", FOLLOWERS, OTHERS_S)):
        delays, cores, grown = ours(executions, every_s)
        print(f"{FOLLOWERS} followers of {what}: {len(delays):,} lines came, none is lost; {grown:+} threads")
        for share, most in ((0.5, P50_S), (0.99, P99_S)):
            name = f"{100 * share:g} of 100 lines at {FOLLOWERS} followers of {what}"
            mine, theirs = (found[int(share * (len(found) - 1))] for found in (delays, base))
            report(name, [mine], [theirs], unit="s", promise=at_most(most, "s"))
        kept = Promise(f"at most {CORES:g} core", lambda mine, _: mine <= CORES)
        report(f"web server with {FOLLOWERS} followers of {what}", [cores], [base_cores], unit="cores", promise=kept)


if __name__ == "__main__":
    main()

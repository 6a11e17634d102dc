"""Run executions on two runners while processes of the runners and of their server are killed at random times."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from instance import FINAL, Checkout, Instance, wait_for
from machines import Machine
from redis import Redis

CONFIG = """
[git]
allow_local = true
[runner]
slots = 2
[limits]
stop_grace = "5 s"
"""
PROGRAM = """
import json, os, random, signal, sys, time

seed, kind, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
rng = random.Random(seed)
os.makedirs("/valohai/outputs/sub")
with open("/valohai/outputs/first", "wb") as file:
    file.write(rng.randbytes(300_000))
i = 0
while not told and (i < count or kind == "stop"):
    i += 1
    how = rng.random()
    sys.stdout.write(f"out {i}")
    if how < 0.15:  # a line in two pieces
        sys.stdout.flush()
        time.sleep(0.1)
    sys.stdout.write("\\n")
    print(f"err {i}", file=sys.stderr)
    if i % 10 == 0:
        print(json.dumps({"step": i, "value": i * seed}))
    sys.stdout.flush()
    time.sleep(rng.uniform(0.2, 0.8) if how > 0.9 else 0.02)
with open("/valohai/outputs/sub/last", "wb") as file:
    file.write(b"%d" % seed)
print("bye", flush=True)
sys.exit(3 if kind == "fails" else 0)
"""
# Of ten executions: most run to their end, one fails, one is stopped while it runs and one as soon as it is seen.
KINDS = ("runs", "runs", "fails", "runs", "stop", "runs", "runs", "early", "runs", "runs")
EXPECTED = {
    "runs": ("complete", 0),
    "fails": ("error", 3),
    "stop": ("stopped", 143),  # by the trap of the script around it
}
LINES = 60
PER_PUSH = 5
STOP_AFTER = 15  # lines
KILL_EVERY_S = (0.4, 2.5)
RQ_NAMES = ("rq:queues", "rq:workers", "rq:workers:server")  # sets, of one name for each runner and living worker
SETTLED_S = 60.0  # for what was killed last to be taken up, and for everything to be removed

T = TypeVar("T")


@dataclass
class Site:
    """A server with its own runner, and a second runner; all of them may be killed."""

    instance: Instance
    second: Machine

    @property
    def runners(self) -> list[Path]:
        """The directories of both runners."""
        return [self.instance.data / "runner", self.second.data / "runner"]

    def leftovers(self) -> list[str]:
        labels = [f"label=pushmill.runner={(path / 'id').read_text().strip()}" for path in self.runners]
        with Redis.from_url((self.instance.data / "redis" / "url").read_text().strip()) as redis:
            kept = [(key.decode(), redis.type(key).decode()) for key in redis.keys("*") if redis.ttl(key) == -1]
        with contextlib.closing(sqlite3.connect(self.instance.data / "pushmill.db", timeout=10)) as db:
            leases = db.execute("SELECT uuid FROM execution WHERE lease_expires_at IS NOT NULL").fetchall()
        return [
            *(str(found) for path in self.runners for found in (path / "executions").glob("*")),
            *(f"container {id_}" for label in labels for id_ in _docker("ps", "-aq", "--filter", label)),
            *(f"volume {id_}" for label in labels for id_ in _docker("volume", "ls", "-q", "--filter", label)),
            *(f"Redis {kind} {name}" for name, kind in kept if name not in RQ_NAMES),
            *(f"lease of {uuid}" for (uuid,) in leases),
        ]


class Killer(threading.Thread):
    """Kills processes until it is stopped, and restarts those that nothing else restarts."""

    def __init__(self, site: Site, rng: random.Random) -> None:
        super().__init__(name="killer", daemon=True)
        self.killed: collections.Counter[str] = collections.Counter()
        self.started: collections.Counter[str] = collections.Counter()
        self.error: BaseException | None = None
        self._site, self._rng, self._over = site, rng, threading.Event()
        self._targets: list[tuple[int, str, Callable[[], psutil.Process | None]]] = [
            (4, "slot", self._slot),
            (2, "runner", lambda: self._rng.choice([_process(self._pid("runner")), site.second.process])),
            (2, "web", lambda: _process(self._pid("web"))),
            (1, "worker", lambda: _process(self._pid("worker"))),
            (1, "redis", lambda: _process(_number(site.instance.data / "redis" / "redis.pid"))),
            (1, "up", lambda: _process(site.instance.process.pid if site.instance.process else 0)),
        ]

    def run(self) -> None:
        weights = [weight for weight, _, _ in self._targets]
        try:
            while not self._over.wait(self._rng.uniform(*KILL_EVERY_S)):
                [(_, name, find)] = self._rng.choices(self._targets, weights)
                with contextlib.suppress(psutil.NoSuchProcess):
                    if target := find():
                        target.kill()
                        self.killed[name] += 1
                self._revive()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Stop killing, and wait until everything runs again."""
        self._over.set()
        self.join(60)
        self._revive()
        if self.error is not None:
            raise self.error

    def _revive(self) -> None:
        instance, second = self._site.instance, self._site.second
        if second.process is not None and second.process.poll() is not None:
            second.start()
            self.started["second runner"] += 1
        if instance.process is not None and instance.process.poll() is not None:
            instance.start()
            self.started["up"] += 1

    def _slot(self) -> psutil.Process | None:
        assert self._site.second.process is not None
        slots = [*_children(self._pid("runner")), *_children(self._site.second.process.pid)]
        return self._rng.choice(slots) if slots else None

    def _pid(self, name: str) -> int:
        return _number(self._site.instance.data / "run" / f"{name}.pid")


@dataclass
class Battle:
    """Pushes `count` executions while processes are killed, stops some of them, and waits for all."""

    site: Site
    checkout: Checkout
    count: int
    seed: int
    deadline_s: float
    lines: int = 0
    bytes: int = 0
    _stopped: set[str] = field(default_factory=set)

    def fight(self) -> None:
        """Return once every execution is final. Raises TimeoutError with the states of the others."""
        began, pushes = time.monotonic(), threading.Thread(target=self._push_all, daemon=True)
        pushes.start()
        while unfinished := [e for e in self.executions() if e["status"] not in FINAL]:
            for execution in unfinished:
                self._stop_when_due(execution)
            if time.monotonic() - began > self.deadline_s:
                raise TimeoutError("\n".join(self.story(execution) for execution in unfinished))
            time.sleep(0.5)
        pushes.join()

    def executions(self) -> list[Any]:
        found = self._patiently(lambda: self.site.instance.executions("chaos"))
        assert len(found) <= self.count, "a push was recorded twice"
        if len(found) == self.count:
            return found
        return [*found, *({"id": "", "status": "not there yet", "step": ""} for _ in range(self.count - len(found)))]

    def problems(self) -> list[str]:
        """What is wrong with the executions, each with its log and its states.

        What was killed last may still be on its way back.
        """
        wrong = [(execution, self._wrong(execution)) for execution in self.executions()]
        return [f"{execution['step']}: {what}\n{self.story(execution)}" for execution, what in wrong if what]

    def story(self, execution: Any) -> str:
        """The states, and the status lines and the end of the log of an execution."""
        if not execution["id"]:
            return "an execution is not there"
        with contextlib.closing(sqlite3.connect(self.site.instance.data / "pushmill.db", timeout=10)) as db:
            sql = (
                "SELECT at, from_state, to_state, reason FROM state_change"
                " WHERE execution_id = (SELECT id FROM execution WHERE uuid = ?) ORDER BY id"
            )
            changes = db.execute(sql, (execution["id"],)).fetchall()
        events = self.site.instance.get(f"/executions/{execution['id']}/events/", limit=0)["events"]
        said = [f"{e['time']} {e['stream']}: {e['message']}" for e in events if e["stream"] == "status"]
        printed = [f"{e['time']} {e['stream']}: {e['message']}" for e in events if e["stream"] != "status"]
        return "\n".join([str(execution["id"]), *map(str, changes), *said, "…", *printed[-40:]])

    def _push_all(self) -> None:
        for first in range(0, self.count, PER_PUSH):
            steps = []
            for number in range(first, min(first + PER_PUSH, self.count)):
                kind = KINDS[number % len(KINDS)]
                fields = {
                    "name": f"{kind}-{number}",
                    "image": "pushmill-quickstart",
                    "command": f"python3 work.py {number} {kind} {LINES}",
                }
                steps.append(f"- step: {json.dumps(fields)}\n")
            self.checkout.commit({"valohai.yaml": "".join(steps), "work.py": PROGRAM})
            self._patiently(lambda: self.checkout.push(self.site.instance.git_url("chaos")))

    def _stop_when_due(self, execution: Any) -> None:
        kind, uuid = execution["step"].partition("-")[0], execution["id"]
        if kind not in ("stop", "early") or uuid in self._stopped or execution["status"] == "stopping":
            return
        with contextlib.suppress(httpx.HTTPError):  # the next look does it, unless it arrived all the same
            if kind == "early" or len(self.site.instance.events(uuid, "stdout")) > STOP_AFTER:
                self.site.instance.client.post(f"/executions/{uuid}/stop/").raise_for_status()
                self._stopped.add(uuid)

    def _wrong(self, execution: Any) -> str:
        kind, _, number = execution["step"].partition("-")
        uuid, seed, instance = execution["id"], int(number), self.site.instance
        out, err = (self._patiently(lambda stream=s: instance.events(uuid, stream)) for s in ("stdout", "stderr"))
        self.lines += len(out) + len(err)
        if kind == "early":
            if execution["status"] == "stopped":  # whether it had begun or not
                return ""
            kind = "runs"  # the server was away for all of its life
        if (execution["status"], execution["exit_code"]) != EXPECTED[kind]:
            return f"it is {execution['status']}, {execution['exit_code']}: {execution['failure_message']}"
        count = len(err)
        if kind != "stop" and count != LINES:
            return f"{count} lines on stderr"
        if err != [f"err {i}" for i in range(1, count + 1)]:
            return "stderr is not in order"
        expected = []
        for i in range(1, count + 1):
            expected += [f"out {i}"] + ([json.dumps({"step": i, "value": i * seed})] if i % 10 == 0 else [])
        if out != [*expected, "bye"]:
            return "stdout is not in order"
        return self._wrong_metadata(uuid, seed, count // 10) or self._wrong_outputs(uuid, seed)

    def _wrong_metadata(self, uuid: str, seed: int, count: int) -> str:
        answer = self._patiently(lambda: self.site.instance.get(f"/executions/{uuid}/metadata/"))
        found = [(line["step"], line["value"]) for line in answer]
        expected = [(10 * i, 10 * i * seed) for i in range(1, count + 1)]
        return "" if found == expected else f"metadata is {found}"

    def _wrong_outputs(self, uuid: str, seed: int) -> str:
        expected = {"first": random.Random(seed).randbytes(300_000), "sub/last": b"%d" % seed}
        stored = {datum["name"]: datum for datum in self._patiently(lambda: self.site.instance.outputs(uuid))}
        if stored.keys() != expected.keys():
            return f"its outputs are {sorted(stored)}"
        for name, content in expected.items():
            datum = stored[name]["id"]
            got = self._patiently(lambda datum=datum: self.site.instance.download(datum))
            self.bytes += len(got)
            if hashlib.sha256(got).digest() != hashlib.sha256(content).digest():
                return f"output {name} has another content"
        return ""

    def _patiently(self, call: Callable[[], T]) -> T:
        """Repeat a request until the server answers."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return call()
            except (httpx.HTTPError, RuntimeError, StopIteration):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def battle(site: Site, checkout: Checkout, count: int, seed: int, deadline_s: float) -> None:
    """Run the whole test and print its figures. Raises AssertionError with the logs of failed executions."""
    print(f"chaos: seed {seed}, {count} executions")
    began, killer = time.monotonic(), Killer(site, random.Random(seed))
    fought = Battle(site, checkout, count, seed, deadline_s)
    killer.start()
    try:
        fought.fight()
    finally:
        killer.stop()
    seconds = time.monotonic() - began
    problems = fought.problems()
    kills = ", ".join(f"{name} {number}" for name, number in sorted(killer.killed.items()))
    print(
        f"chaos: {seconds:.0f} s; killed: {kills} ({killer.killed.total()} in all); started again by the test: "
        f"{dict(killer.started)}; {fought.lines} lines, {fought.bytes} bytes of outputs; {len(problems)} problems"
    )
    assert not problems, "\n\n".join(problems)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not site.leftovers(), SETTLED_S, 0.5)
    leftovers = site.leftovers()
    assert not leftovers, "\n".join(leftovers)


def _docker(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.split()


def _number(path: Path) -> int:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        return None


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children() if pid else []
    except psutil.NoSuchProcess:
        return []

"""The cost of an idle `pushmill up`: memory (PSS) of all its processes, and time from its start to a served page.

Promises: at most 180 MB together, without Docker, and at most 1.2 s. Floors: an empty Flask application in
werkzeug's server, for the memory of one Python server and its start to a served page.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
from bench import at_most, processor_seconds, report, scratch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from instance import free_port, wait_for

ROUNDS = 3
PSS_MB, START_S = 180, 1.2
BARE = """
import flask, sys
app = flask.Flask("bare")
app.add_url_rule("/", "root", lambda: "ok")
app.run(port=int(sys.argv[1]))
"""


def family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def pss(pid: int) -> float:
    return sum(process.memory_full_info().pss for process in family(pid)) / 1e6


def bare() -> tuple[float, float]:
    port = free_port()
    command = [sys.executable, "-c", BARE, str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: serves(port), 20, 0.01)
    seconds = time.perf_counter() - started
    memory = pss(process.pid)
    process.terminate()
    process.wait()
    return memory, seconds


def serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
            return True
    except OSError:
        return False


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles all that it imports
    starts, spent, memories, floors = list[float](), list[float](), list[float](), []
    for _ in range(ROUNDS):
        floors.append(bare())
        with scratch() as (instance, _checkout):
            instance.stop()
            starts.append(instance.start())
            assert instance.process is not None
            spent.append(processor_seconds(instance.process.pid))
            time.sleep(5)  # let every process become idle
            memories.append(pss(instance.process.pid))
            names = [(p.memory_full_info().pss / 1e6, p.name()) for p in family(instance.process.pid)]
    for size, name in names:
        print(f"    {size:6.1f} MB  {name}")
    bare_memory, bare_start = zip(*floors, strict=True)
    what = "idle memory of everything that `pushmill up` starts"
    report(what, memories, bare_memory, unit="MB", promise=at_most(PSS_MB, "MB"))
    used = {"all processes": statistics.median(spent)}
    report("start to a served page", starts, bare_start, unit="s", promise=at_most(START_S, "s"), spent=used)


if __name__ == "__main__":
    main()

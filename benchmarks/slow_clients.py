"""The effect of slow connections on others: CONNECTIONS of each kind at once, reopened as soon as they are closed.

Floor: the same requests without an attack, just before. Promises: `/healthz` and the heartbeat of a runner are answered
within a second at any time.
"""

from __future__ import annotations

import statistics
import threading
import time

import psutil
import urllib3
from bench import at_most, processor_seconds, report, scratch, wait_for
from slow_peers import KINDS, attack

from web.store import runners
from web.store.db import connect, transaction

CONNECTIONS = 1000
SECONDS = 10.0
PROMISE_S = 1.0
HEARTBEAT = b'{"slots":2,"info":{},"executions":[]}'


def answered(url: str, *, heartbeat: bool, over: threading.Event) -> list[float]:
    """Return the seconds for each answer, over a new connection each; a missing answer counts as 10 s, the timeout."""
    found = []
    headers = {"Authorization": "Token bench", "Content-Type": "application/json", "Connection": "close"}
    while not over.wait(0.1):
        began = time.perf_counter()
        try:
            with urllib3.PoolManager(retries=False, timeout=10) as pool:
                if heartbeat:
                    status = pool.request("POST", f"{url}/api/runner/heartbeat", HEARTBEAT, headers=headers).status
                else:
                    status = pool.request("GET", f"{url}/healthz", headers=headers).status
            found.append(time.perf_counter() - began if status == 200 else 10.0)
        except urllib3.exceptions.HTTPError:
            found.append(10.0)
    return found


def measure(url: str) -> dict[str, list[float]]:
    over, found = threading.Event(), {}

    def run(name: str) -> None:
        found[name] = answered(url, heartbeat=name == "heartbeat", over=over)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("healthz", "heartbeat")]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return found


def show(what: str, found: dict[str, list[float]], web: psutil.Process, spent: float) -> float:
    memory = sum(p.memory_full_info().pss for p in [web, *web.children(recursive=True)]) / 1e6
    parts = [
        f"{k} p50 {1000 * statistics.median(v):6.1f} max {1000 * max(v):7.1f} ms (n={len(v)})" for k, v in found.items()
    ]
    print(f"  {what:<18} {'   '.join(parts)}   {memory:5.0f} MB   {spent / SECONDS:.2f} cores", flush=True)
    return max(max(times) for times in found.values())


def main() -> None:
    with scratch("[runner]\nslots = 1\n") as (instance, _):
        db = connect(instance.data / "pushmill.db")
        with transaction(db):
            runners.add(db, "bench", "bench", ["default"])
        db.close()
        web = psutil.Process(int((instance.data / "run" / "web.pid").read_text().split()[0]))
        print(f"{CONNECTIONS} slow connections for {SECONDS:g} s each")
        began = processor_seconds(web.pid)
        calm = show("floor, none", measure(instance.url), web, processor_seconds(web.pid) - began)
        worst = 0.0
        for name in KINDS:
            with attack(instance.port, CONNECTIONS, name) as slow:
                wait_for(lambda slow=slow: slow.opened >= min(CONNECTIONS, 60), 30)
                began = processor_seconds(web.pid)
                worst = max(worst, show(name, measure(instance.url), web, processor_seconds(web.pid) - began))
    what = f"slowest answer beside {CONNECTIONS:,} slow connections"
    report(what, [worst], [calm], unit="s", promise=at_most(PROMISE_S, "s"))


if __name__ == "__main__":
    main()

"""Run the benchmarks one after the other; print one table and write it to `benchmarks/results.json`.

`python benchmarks/all.py [NAME…]` runs those with these names only, such as `webhook`. It takes about half an hour. The
machine should do nothing else meanwhile: the load average before the first benchmark is part of the results.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = (
    "push_to_first_line", "log_throughput", "groups", "queue_to_start", "launch", "vh_api", "adhoc", "checkout",
    "webhook", "heartbeats", "idle", "recovery", "stop_to_stopped", "slow_clients", "followers", "metadata", "parsing",
    "commands", "push_path", "pages",
)  # fmt: skip
LIMIT_S = 900
BUSY = 0.5  # load average per processor, above which figures mean little


def run(name: str) -> list[dict[str, Any]]:
    """Run one benchmark; returns its results. One that fails or takes too long has a result that says so."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            subprocess.run(
                [sys.executable, HERE / f"{name}.py"],
                env=os.environ | {"PUSHMILL_BENCH_RESULTS": file.name},
                check=True,
                timeout=LIMIT_S,
            )
        except subprocess.SubprocessError as error:
            return [{"benchmark": name, "what": f"{name}: {error}", "kept": False}]
        return [{"benchmark": name} | json.loads(line) for line in Path(file.name).read_text().splitlines()]


def machine() -> dict[str, Any]:
    docker = ["docker", "version", "--format", "{{.Server.Version}}"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": subprocess.run(docker, capture_output=True, text=True, check=False).stdout.strip(),
        "load_average": os.getloadavg()[0],
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a table in Markdown."""
    lines = ["| what | ours | floor | ratio | promise | | processor seconds |", "|---|---|---|---|---|---|---|"]
    for item in results:
        if "ours" not in item:
            lines.append(f"| {item['what']} | | | | | BROKEN | |")
            continue
        ours, floor = (f"{item[key]:.4g} {item['unit']}" for key in ("ours", "floor"))
        spent = ", ".join(f"{name} {seconds:.3g}" for name, seconds in item["processor_seconds"].items())
        kept = "kept" if item["kept"] else "BROKEN"
        ratio = item["ours"] / item["floor"]
        lines.append(f"| {item['what']} | {ours} | {floor} | {ratio:.2f} | {item['promise']} | {kept} | {spent} |")
    return "\n".join(lines)


def main() -> None:
    names = sys.argv[1:] or NAMES
    if unknown := set(names) - set(NAMES):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    facts = machine()
    if facts["load_average"] > BUSY * (facts["processors"] or 1):
        print(
            f"The load average is {facts['load_average']:.1f}: other programs run, and figures mean little", flush=True
        )
    results = [result for name in names for result in run(name)]
    (HERE / "results.json").write_text(json.dumps({"machine": facts, "results": results}, indent=1) + "\n")
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()

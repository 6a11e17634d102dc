"""Processor time of `pushmill` commands; the floor is a Python process that only imports click and sqlite-utils.

`python benchmarks/commands.py`
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PUSHMILL = Path(sys.executable).parent / "pushmill"
FLOOR = [sys.executable, "-c", "import click, sqlite_utils"]
COMMANDS = {
    "floor": FLOOR,
    **{
        name: [str(PUSHMILL), *name.split()]
        for name in (
            "--help", "project --help", "project list", "project show model", "project rules model",
            "project variable list model", "project approve --help", "environment list", "runner list", "user list",
            "doctor --help",
        )
    },
}  # fmt: skip
TIMES = 5


def processor_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"PUSHMILL_DATA": data}
        subprocess.run([sys.executable, "-c", PREPARE, data], env=environment, check=True)
        subprocess.run([PUSHMILL, "project", "add", "model"], env=environment, capture_output=True, check=True)
        for name, command in COMMANDS.items():
            times = [processor_seconds(command, environment) for _ in range(TIMES)]
            print(f"{name:30} {statistics.median(times):6.2f} s   (of {TIMES}, {min(times):.2f} to {max(times):.2f})")


PREPARE = """
import sys
from pathlib import Path
from core import config
from web.services import setup
setup.prepare(config.load(Path(sys.argv[1])))
"""

if __name__ == "__main__":
    main()

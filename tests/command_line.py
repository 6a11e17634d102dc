"""Run the command `pushmill` in this process: a new process would spend half a second on imports each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from web.cli.main import main


def pushmill(data: Path, *arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    """Run `pushmill` on a data directory, as its console script does."""
    command = ["pushmill", *arguments, "--data", str(data)]
    ours, sys.argv = sys.argv, command
    try:
        with CliRunner().isolation(input=stdin) as (stdout, stderr, _):
            try:
                main()
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
            sys.stderr.flush()
            said, complaints = stdout.getvalue().decode(), stderr.getvalue().decode()
    finally:
        sys.argv = ours
    assert isinstance(code, int)
    return subprocess.CompletedProcess(command, code, said, complaints)

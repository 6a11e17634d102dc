"""The worker process of the web server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from instance import free_port, wait_for

REDIS = '[redis]\nurl = "redis://127.0.0.1:1/0"\n'


def listening_child(pid: int) -> psutil.Process | None:
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
            if child.net_connections():
                return child
    return None


def test_a_worker_whose_master_was_killed_ends_and_frees_the_port(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(REDIS)
    command = [sys.executable, "-m", "web.cli.main", "web", "--data", str(tmp_path), "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as master:
        try:
            worker = wait_for(lambda: listening_child(master.pid))
            os.kill(master.pid, signal.SIGKILL)
            wait_for(lambda: not psutil.pid_exists(worker.pid) or worker.status() == psutil.STATUS_ZOMBIE, 30)
        finally:
            master.kill()

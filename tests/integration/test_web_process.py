"""The process of the web server."""

from __future__ import annotations

import subprocess
import sys

HANG = """
import asyncio, time
from web.processes import web_server

async def hang():
    await web_server.watch()
    time.sleep(600)

web_server.HUNG_S = 0.2
asyncio.run(hang())
"""


def test_an_event_loop_that_hangs_says_where_and_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", HANG], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "in hang" in done.stderr

"""Debian's docker-registry on loopback, where Docker asks for no TLS."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
from instance import free_port, wait_for

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[str]:
    """Its address, to put before a slash and an image's name."""
    port = free_port()
    config = directory / "registry.yml"
    config.write_text(CONFIG.format(folder=directory / "registry", port=port))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(answers, 20)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)

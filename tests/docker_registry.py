"""Debian's docker-registry on loopback, where Docker requires no TLS."""

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
USER, PASSWORD = "puller", "registry-password"
AUTH = 'auth: {{htpasswd: {{realm: "tests", path: {folder}.htpasswd}}}}\n'
HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuuvMfIFKvu0UMo4ROgipiW53f9qa5YK3q\n"  # bcrypt of PASSWORD


@contextlib.contextmanager
def registry(directory: Path, *, private: bool = False) -> Iterator[str]:
    """Run a registry and yield its host and port. A private one requires USER and PASSWORD."""
    port = free_port()
    config = directory / "registry.yml"
    text = CONFIG + (AUTH if private else "")
    config.write_text(text.format(folder=directory / "registry", port=port))
    (directory / "registry.htpasswd").write_text(HTPASSWD)
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code == (401 if private else 200)
        except httpx.TransportError:
            return False

    try:
        wait_for(answers)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)

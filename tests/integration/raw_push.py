"""A push over HTTP without git's client, which refuses some options that the protocol allows."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import httpx
from instance import Checkout
from push_server import PushServer

FLUSH = b"0000"
ZERO = "0" * 40


def push(
    pushes: PushServer,
    checkout: Checkout,
    project: str,
    ref: str,
    after: str,
    options: Sequence[str],
    before: str = ZERO,
) -> str:
    """Move a ref of a hosted project with these push options, which may contain anything but NUL; the server's answer."""
    url = f"{pushes.url}/git/{project}.git"
    with httpx.Client(auth=("admin", pushes.token), trust_env=False, timeout=30) as client:
        client.get(f"{url}/info/refs?service=git-receive-pack").raise_for_status()
        command = f"{before} {after} {ref}\0 report-status push-options side-band-64k agent=raw".encode()
        body = [_line(command), FLUSH, *(_line(option.encode()) for option in options), FLUSH, _pack(checkout, after)]
        kind = "application/x-git-receive-pack-request"
        answer = client.post(f"{url}/git-receive-pack", content=b"".join(body), headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert f"ok {ref}" in answer.text
    return answer.text


def _line(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def _pack(checkout: Checkout, sha: str) -> bytes:
    command = ["git", "pack-objects", "--revs", "--stdout", "-q"]
    done = subprocess.run(command, cwd=checkout.folder, input=f"{sha}\n".encode(), capture_output=True, check=True)
    return done.stdout

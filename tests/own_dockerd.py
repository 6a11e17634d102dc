"""A Docker daemon of one test beside the machine's: tests may kill it, restart it and change its PATH.

It shares nothing with the other one but the kernel: its own roots, socket, pid file, containerd namespace and bridge.
It leaves iptables alone, since a second daemon that sets its chains up flushes the first one's; so its containers
reach this machine (and a runner's relay) and nothing beyond. Two options are not for it: dockerd removes the first
daemon's docker0 at its start with `--bridge none`, and at its second start with `--default-address-pool`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import leftovers

from runner.containers import firewall

IMAGES = ("pushmill-test-busybox",)
READY_S = 60.0


class OwnDockerd:
    """`environment` is what a client needs to reach it: DOCKER_HOST."""

    def __init__(self, directory: Path, arguments: Sequence[str], path: str) -> None:
        self._bridge = f"{leftovers.LINK}{secrets.token_hex(3)}"
        self._short = Path(tempfile.gettempdir(), self._bridge)  # a socket's path has at most 107 characters
        self._short.mkdir(mode=0o700)
        self._root, self._log = directory / "dockerd", directory / "dockerd.log"
        self._root.mkdir(parents=True, exist_ok=True)
        self.socket = self._short / "docker.sock"
        self.environment = {"DOCKER_HOST": f"unix://{self.socket}"}
        self._path = path
        self._command = [
            "dockerd",
            f"--data-root={self._root}",
            f"--exec-root={self._short / 'exec'}",
            f"--pidfile={self._short / 'pid'}",
            f"--host=unix://{self.socket}",
            f"--containerd-namespace={self._bridge}",
            f"--containerd-plugins-namespace={self._bridge}-plugins",
            f"--bridge={self._bridge}",
            "--iptables=false",
            "--ip6tables=false",
            *arguments,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        if not Path(f"/sys/class/net/{self._bridge}").exists():
            _ip("link", "add", "name", self._bridge, "type", "bridge")
            _ip("address", "add", f"{_free_prefix()}255.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        with self._log.open("ab") as log:
            environment = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")} | {"PATH": self._path}
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + READY_S
        while self.docker("version", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not answer: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the daemon and its containerd with SIGKILL, like a crash. Programs in containers keep running.

        With --live-restore the next start finds them running, without it ends them.
        """
        assert self.process is not None
        pid_file = self._short / "exec" / "containerd" / "containerd.pid"
        containerd = int(pid_file.read_text())
        self.process.kill()
        self.process.wait()
        while _lives(containerd):  # the kernel ends it with its parent, a moment later
            time.sleep(0.01)
        pid_file.unlink(missing_ok=True)  # the next dockerd takes a zombie for a living one

    def stop(self) -> None:
        """Send SIGTERM, and wait for its end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def docker(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command against this daemon."""
        environment = os.environ | self.environment
        return subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=check, env=environment)

    def load(self, image: str) -> None:
        """Copy an image from the machine's daemon."""
        self.docker("load", stdin=subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout)

    def close(self) -> None:
        """End the daemon and its containers, and remove their leftovers."""
        links = [self._bridge]
        if self.process is not None:
            if self.process.poll() is not None:
                self.start()  # only a daemon can end the containers of its dead predecessor
            if containers := self.docker("ps", "-aq").stdout.decode().split():
                self.docker("rm", "-f", "-v", *containers)
            links += [f"br-{network[:12]}" for network in self._networks()]
            self.stop()
        for name in links:
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
        firewall.remove_unused()
        for place in sorted(_mounts_in(self._root, self._short), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False)
        for directory in (self._root, self._short):
            shutil.rmtree(directory, ignore_errors=True)

    def _networks(self) -> list[str]:
        return self.docker("network", "ls", "-q", "--no-trunc", "--filter", "driver=bridge").stdout.decode().split()


@contextlib.contextmanager
def own_dockerd(
    directory: Path, *arguments: str, path: str | None = None, images: Sequence[str] = IMAGES
) -> Iterator[OwnDockerd]:
    """A running daemon that has `images`. `arguments` go to dockerd, e.g. "--live-restore"; `path` is its PATH."""
    daemon = OwnDockerd(directory, arguments, path or os.environ["PATH"])
    try:
        daemon.start()
        for image in images:
            daemon.load(image)
        yield daemon
    finally:
        daemon.close()


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, check=True, text=True).stdout


def _free_prefix() -> str:
    """The beginning of addresses that no link has."""
    taken = [found.get("local", "") for link in json.loads(_ip("-json", "address")) for found in link["addr_info"]]
    prefixes = [f"10.{number}." for number in range(64, 192)]
    return secrets.choice([prefix for prefix in prefixes if not any(found.startswith(prefix) for found in taken)])


def _lives(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _mounts_in(*directories: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if any(f"{place}/".startswith(f"{directory}/") for directory in directories)]

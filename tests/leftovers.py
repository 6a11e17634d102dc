"""Find and end what the tests of this session have left on the machine.

Other sessions may run on the same machine at the same time, so everything that a test starts carries a mark of its
session: processes in their environment, Docker's objects by a label or a mount below the session's directory, networks,
interfaces and network namespaces by their name.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from runner.containers import firewall

VARIABLE = "PUSHMILL_TEST_SESSION"
SESSION = os.environ.setdefault(VARIABLE, secrets.token_hex(3))  # xdist's workers inherit it
LABEL = f"pushmill.test={SESSION}"
NETWORK = f"pushmill-test-{SESSION}"  # the network of containers of all runners that tests start
LINK = f"pm{SESSION}"  # how names of interfaces and network namespaces begin; they have at most 15 characters
# these end with the process that uses multiprocessing
OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
SAVES = ("iptables-save", "ip6tables-save")
SETTLE_S = float(os.environ.get("PUSHMILL_TEST_SETTLE_S", "15"))  # for what was told to end just now


def processes(*marks: str) -> list[psutil.Process]:
    """The processes with a mark in their environment, arguments or working directory, without this one's own line."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = [process for process in psutil.process_iter() if process.pid not in ours and _has_mark(process, marks)]
    return [process for process in found if not any(words in _words(process) for words in OF_PYTHON)]


def end_processes(*marks: str) -> None:
    """Kill them until none is left, since one may have been about to start another."""
    while found := processes(*marks):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)


def containers(directory: Path) -> list[str]:
    """Return the containers, running or not, that mount something below `directory`."""
    return [item["Id"] for item in _inspected("container", "ps", "--all") if _mounts_below(item, directory)]


def remove_containers(directory: Path) -> None:
    """Remove those, and the network sandboxes of the runner in `directory`."""
    for container in [*containers(directory), *_sandboxes(directory / "runner" / "id")]:
        _docker("rm", "--force", "--volumes", container)


def _sandboxes(runner_id: Path) -> list[str]:
    if not runner_id.exists():
        return []
    return _docker("ps", "--all", "--quiet", "--filter", f"label=pushmill.sandbox={runner_id.read_text()}").split()


def remove_network() -> None:
    """Remove the session's network, with the sandboxes of killed slots and the firewall rules of its bridge.

    Docker may still be making or removing containers for processes that were killed.
    """
    deadline = time.monotonic() + SETTLE_S
    while _docker("network", "ls", "--quiet", "--filter", f"name={NETWORK}"):
        sandboxes = ("--filter", "label=pushmill.sandbox", "--filter", f"network={NETWORK}")
        for name in _docker("ps", "--all", "--quiet", *sandboxes).split():
            _docker("rm", "--force", name)
        if _docker("network", "rm", NETWORK):
            firewall.remove_unused()
        elif time.monotonic() > deadline:
            return
        else:
            time.sleep(0.2)


if "pytest" not in sys.modules:
    atexit.register(remove_network)  # a benchmark


def bridges() -> list[str]:
    """Return the session's bridges, by which their firewall rules are recognised once they are gone."""
    found = _docker("network", "ls", "--quiet", "--no-trunc", "--filter", f"name={NETWORK}").split()
    return [f"br-{network[:12]}" for network in found]


def left(directory: Path, bridges: list[str]) -> list[str]:
    """What is there of this session, whose tests wrote below `directory`, once what is about to end has ended."""
    deadline = time.monotonic() + SETTLE_S
    while (found := _look(directory, bridges)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _look(directory: Path, bridges: list[str]) -> list[str]:
    mark = f"{directory}/"
    containers = [item for item in _inspected("container", "ps", "--all") if _is_ours(item, directory)]
    volumes = [item for item in _inspected("volume", "volume", "ls") if _is_ours(item, directory)]
    return [
        *(f"process {p.pid}: {_words(p)}" for p in processes(f"{VARIABLE}={SESSION}\0", mark)),
        *(f"container {item['Name'].removeprefix('/')}" for item in containers),
        *(f"volume {item['Name']}" for item in volumes),
        *(f"network {name}" for name in _docker("network", "ls", "--format", "{{.Name}}").split() if SESSION in name),
        *(f"network interface {path.name}" for path in Path("/sys/class/net").glob(f"{LINK}*")),
        *(f"network namespace {path.name}" for path in Path("/run/netns").glob(f"{LINK}*")),
        *(f"firewall rule {rule}" for rule in _rules() if any(bridge in rule for bridge in bridges)),
    ]


def _has_mark(process: psutil.Process, marks: tuple[str, ...]) -> bool:
    texts = []
    for name in ("environ", "cmdline", "cwd"):
        try:
            found = Path(f"/proc/{process.pid}/{name}")
            texts.append(os.readlink(found) + "/" if name == "cwd" else found.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return any(mark in text for text in texts for mark in marks)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "it has just ended"


def _is_ours(item: dict[str, Any], directory: Path) -> bool:
    labels = item.get("Labels") or item.get("Config", {}).get("Labels") or {}
    name, _, value = LABEL.partition("=")
    options = json.dumps(item.get("Options") or {})
    networks = item.get("NetworkSettings", {}).get("Networks") or {}
    return (
        labels.get(name) == value or NETWORK in networks or _mounts_below(item, directory) or f"{directory}/" in options
    )


def _mounts_below(container: dict[str, Any], directory: Path) -> bool:
    return any(str(mount.get("Source", "")).startswith(f"{directory}/") for mount in container.get("Mounts") or ())


def _inspected(kind: str, *listing: str) -> list[dict[str, Any]]:
    """Every object of a kind as Docker describes it; those that go meanwhile are left out."""
    names = _docker(*listing, "--quiet").split()
    found: list[dict[str, Any]] = json.loads(_docker(kind, "inspect", *names) or "[]") if names else []
    return found


def _docker(*arguments: str) -> str:
    """What the machine's daemon says; nothing where there is none."""
    if not shutil.which("docker"):
        return ""
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, env=environment).stdout


def _rules() -> list[str]:
    if os.geteuid() != 0 or not all(map(shutil.which, SAVES)):
        return []
    saves = [subprocess.run([program], capture_output=True, text=True, check=False) for program in SAVES]
    return [rule for save in saves for rule in save.stdout.splitlines()]

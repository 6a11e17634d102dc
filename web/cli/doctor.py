"""`pushmill doctor`: check everything that executions need, and print how to fix problems."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from core import config as configuration
from core import locks
from core.config import GIB, Config
from core.errors import CannotStart, PushmillError
from web.cli import known_vulnerabilities
from web.processes import docker_ping, preflight
from web.processes.private_redis import find_binary
from web.services.checks.finding import Finding
from web.services.runners.overview import DRAINING, ONLINE, list_runner_views
from web.store import schema
from web.store.db import connect

# in the data directory
SECRETS = ("secret.key", "admin-token", "runner/token", "redis/url", "pushmill.db", "pushmill.db-wal")
OLDEST_GIT = (2, 25)
OLDEST_DOCKER_API = (1, 40)  # device requests, which give GPUs to containers
GPU_LISTING = [sys.executable, "-P", "-m", "runner.containers.nvml", "list"]
GPU_WAIT_S = 10.0
FIREWALL = [sys.executable, "-P", "-m", "runner.containers.firewall"]
FIREWALL_WAIT_S = 30.0
GPU_HOOK = "nvidia-container-runtime-hook"
NVIDIA_KERNEL = Path("/proc/driver/nvidia/gpus")
LOW_DISK_BYTES = 10 * GIB  # images of training frameworks have several GiB each


def examine(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield all findings, in the order in which a start needs them. Changes nothing on the machine."""
    yield from check("data directory", lambda: check_data_directory(config.data))
    yield from check("disk", lambda: check_disk(config))
    yield from check("docker", lambda: check_docker(environ))
    yield from check("firewall", lambda: check_firewall(config.runner.network, environ))
    yield from check("gpus", lambda: check_gpus(environ))
    yield from check("redis", lambda: check_redis(config))
    yield from check("git", check_git)
    yield from check("port", lambda: check_port(config))
    yield from check("runners", lambda: check_runners(config))


def check(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what `look` finds; an exception that it raises becomes a finding too."""
    try:
        yield from look()
    except (PushmillError, OSError) as error:
        message, _, advice = str(error).partition(": ")
        yield Finding(check=name, level="fail", message=message, advice=advice)


def check_data_directory(data: Path) -> Iterator[Finding]:
    name = "data directory"
    if not data.exists():
        yield Finding(check=name, level="ok", message=f"{data} does not exist yet; the first start creates it")
        return
    status = data.stat()
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        advice = f"run as the user with the id {status.st_uid}, or name another directory with --data"
        yield Finding(check=name, level="fail", message=f"{data} is not writable for this user", advice=advice)
    elif status.st_mode & 0o077:
        message = f"{data} is open to other users (mode {status.st_mode & 0o777:o})"
        yield Finding(check=name, level="warn", message=message, advice=f"chmod 700 {data}")
    else:
        yield Finding(check=name, level="ok", message=str(data))
    yield from _private(name, [data / secret for secret in SECRETS])


def _private(name: str, paths: Sequence[Path]) -> Iterator[Finding]:
    """Yield a finding for each file that other users can read, or that belongs to another user."""
    for path in paths:
        if not path.exists():
            continue
        status = path.stat()
        if status.st_mode & 0o077:
            yield Finding(check=name, level="fail", message=f"other users can read {path}", advice=f"chmod 600 {path}")
        if status.st_uid not in (0, os.geteuid()):
            message = f"{path} belongs to the user with the id {status.st_uid}"
            yield Finding(check=name, level="fail", message=message, advice=f"chown {os.geteuid()} {path}")


def check_disk(config: Config) -> Iterator[Finding]:
    place = next(folder for folder in (config.data, *config.data.parents) if folder.exists())
    free = preflight.check_disk(place)
    message = f"{free / GIB:.1f} GiB free at {place}"
    if free < config.server.min_free_disk:
        message += f"; [server] min_free_disk keeps {config.server.min_free_disk / GIB:.1f} GiB"
        advice = "executions, outputs, pushes and webhooks wait: free some space, or use another disk with --data"
        yield Finding(check="disk", level="fail", message=message, advice=advice)
    elif free < LOW_DISK_BYTES:
        advice = "images and outputs are large: free some space (`docker system df`), or use another disk with --data"
        yield Finding(check="disk", level="warn", message=message, advice=advice)
    else:
        yield Finding(check="disk", level="ok", message=message)


def check_docker(environ: Mapping[str, str]) -> Iterator[Finding]:
    engine = docker_ping.find(environ)
    if known_vulnerabilities.parse_version(engine.api_version) < OLDEST_DOCKER_API:
        message = f"engine {engine.version} speaks API {engine.api_version}"
        yield Finding(check="docker", level="fail", message=message, advice="update Docker to 19.03 or newer")
    else:
        message = f"engine {engine.version}, API {engine.api_version}, at {engine.socket}"
        yield Finding(check="docker", level="ok", message=message)
    yield from _version("docker", "runc", engine.runc)
    driver = str(engine.info().get("Driver"))
    if driver in ("overlay2", "overlayfs"):
        yield Finding(check="docker", level="ok", message=f"storage driver {driver}")
    else:
        advice = 'containers start slower; set "storage-driver": "overlay2" in /etc/docker/daemon.json if the disk can'
        yield Finding(check="docker", level="warn", message=f"storage driver {driver}", advice=advice)


def check_firewall(network: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that containers cannot reach this machine and metadata services."""
    bridge = docker_ping.find(environ).bridge(network)
    if not bridge:
        yield Finding(
            check="firewall", level="ok", message=f"the first start creates the network {network} and its rules"
        )
        return
    try:
        done = subprocess.run(
            [*FIREWALL, bridge], capture_output=True, text=True, timeout=FIREWALL_WAIT_S, check=False, env=dict(environ)
        )
        problem = done.stdout.strip() or done.stderr.strip()[-300:]
    except subprocess.TimeoutExpired:
        problem = f"the firewall does not answer within {FIREWALL_WAIT_S:g} s"
    if problem:
        advice = "install the package iptables, and run the runner as root; its next start creates the rules"
        yield Finding(check="firewall", level="warn", message=problem, advice=advice)
    else:
        message = f"containers on {network} ({bridge}) cannot reach this machine and metadata services"
        yield Finding(check="firewall", level="ok", message=message)


def check_gpus(environ: Mapping[str, str]) -> Iterator[Finding]:
    reports = list(_nvml(environ))
    driver = next((item["driver_version"] for item in reports if "driver_version" in item), "")
    for problem in (item["problem"] for item in reports if "problem" in item):
        advice = "executions do not get it; the runner offers it again once `nvidia-smi` shows that it works"
        yield Finding(check="gpus", level="warn", message=problem, advice=advice)
    models = Counter(
        f"{item['gpu']['name']}, {item['gpu']['memory_bytes'] / GIB:.0f} GiB" for item in reports if "gpu" in item
    )
    if models:
        shown = "; ".join(f"{count} of {model}" for model, count in models.items())
        yield Finding(check="gpus", level="ok", message=f"{shown}; driver {driver}")
        yield _gpu_runtime(docker_ping.find(environ).info(), environ)
        yield from _version("gpus", "nvidia-container-toolkit", _toolkit(environ))
    elif NVIDIA_KERNEL.is_dir() and any(NVIDIA_KERNEL.iterdir()) and not reports:
        message = "the kernel drives NVIDIA GPUs, but libnvidia-ml.so.1 is missing"
        yield Finding(
            check="gpus", level="fail", message=message, advice="install the driver's libraries, as for nvidia-smi"
        )
    elif not reports:
        yield Finding(check="gpus", level="ok", message="no NVIDIA driver; executions run on the CPU")


def _nvml(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what the runner's own program reports about the GPUs."""
    try:
        done = subprocess.run(GPU_LISTING, capture_output=True, timeout=GPU_WAIT_S, check=False, env=dict(environ))
    except subprocess.TimeoutExpired:
        yield {"problem": f"the NVIDIA driver does not answer within {GPU_WAIT_S:g} s"}
        return
    for line in done.stdout.splitlines():
        yield json.loads(line)


def _gpu_runtime(info: Mapping[str, Any], environ: Mapping[str, str]) -> Finding:
    """Check that Docker can give GPUs to containers.

    Docker reports runtimes and CDI devices, but not the hook, which is a program that it searches for.
    """
    cdi = [str(device.get("ID")) for device in info.get("DiscoveredDevices") or []]
    if "nvidia" in (info.get("Runtimes") or {}):
        return Finding(check="gpus", level="ok", message="Docker has the NVIDIA runtime")
    if any(device.startswith("nvidia.com/gpu") for device in cdi):
        return Finding(check="gpus", level="ok", message="Docker has the GPUs as CDI devices")
    if hook := shutil.which(GPU_HOOK, path=environ.get("PATH")):
        return Finding(check="gpus", level="ok", message=f"Docker finds {hook}")
    advice = "install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker`, restart Docker"
    message = "Docker does not have the NVIDIA runtime, so containers cannot use the GPUs"
    return Finding(check="gpus", level="fail", message=message, advice=advice)


def check_redis(config: Config) -> Iterator[Finding]:
    if config.redis.key:
        yield from _private("redis", [Path(config.redis.key)])
    if config.redis.url:
        address = re.sub(r"//[^@/]*@", "//…@", config.redis.url)
        yield Finding(check="redis", level="ok", message=f"{address} by [redis] url (not checked)")
        return
    binary = find_binary()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+(?:\.\d+)+)", version)
    number = found.group(1) if found else "?"
    if known_vulnerabilities.parse_version(number) < (5,):
        yield Finding(check="redis", level="fail", message=f"{binary} is version {number}", advice="install 5 or newer")
    else:
        yield Finding(check="redis", level="ok", message=f"{binary} {number}")


def check_git() -> Iterator[Finding]:
    try:
        output = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        yield Finding(check="git", level="fail", message="git is missing", advice="install git")
        return
    number = output.strip().removeprefix("git version ").split(" ")[0]
    if known_vulnerabilities.parse_version(number)[:2] < OLDEST_GIT:
        advice = f"install git {'.'.join(map(str, OLDEST_GIT))} or newer"
        yield Finding(check="git", level="fail", message=f"git {number} is too old", advice=advice)
    else:
        yield from _version("git", "git", number)


def _version(check: str, program: str, version: str) -> Iterator[Finding]:
    """Warn of known vulnerabilities of a version; yield nothing if the version is unknown."""
    if not version:
        return
    if found := known_vulnerabilities.describe_vulnerabilities(program, version):
        message = f"{program} {version} is older than the fix of {found}"
        advice = f"update {program}; a distribution's package may have the fix under an older number: see its changelog"
        yield Finding(check=check, level="warn", message=message, advice=advice)
    else:
        yield Finding(check=check, level="ok", message=f"{program} {version}")


def _toolkit(environ: Mapping[str, str]) -> str:
    """Return the version of the NVIDIA container toolkit, "" if it cannot be determined."""
    command = shutil.which("nvidia-ctk", path=environ.get("PATH"))
    if not command:
        return ""
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=GPU_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"version v?(\d+(?:\.\d+)+)", done.stdout)
    return found.group(1) if found else ""


def check_port(config: Config) -> Iterator[Finding]:
    server = config.server
    if _in_use(config.data):
        message = f"`pushmill up` runs on this data directory: {config.local_url}/"
        yield Finding(check="port", level="ok", message=message)
        return
    preflight.listen(server.host, server.port).close()
    yield Finding(check="port", level="ok", message=f"{server.port} of {server.host} is free")


def check_runners(config: Config) -> Iterator[Finding]:
    """Yield the problems that runners report about themselves, if this is the server's machine."""
    if not config.database.exists():
        return
    db = connect(config.database)
    try:
        schema.check(db)
        for view in list_runner_views(db):
            for problem in view.problems if view.state in (ONLINE, DRAINING) else ():
                advice = f"fix it on the machine of runner {view.name}; its log has the details"
                yield Finding(check="runners", level="warn", message=f"{view.name}: {problem}", advice=advice)
    except CannotStart:
        pass  # the database has another version; the server reports that in detail at its start
    finally:
        db.close()


def _in_use(data: Path) -> bool:
    """Return whether a `pushmill up` holds the lock of this directory."""
    try:
        with open(data / "up.lock", encoding="utf-8") as lock:
            return not locks.take(lock.fileno(), shared=True, wait=False)
    except OSError:
        return False


@click.command("doctor")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, data: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Check Docker, GPUs, Redis, git, disk and runners.

    Exits with 1 when something is missing.
    """
    findings = list(examine(configuration.load(data, config_file), os.environ))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    for finding in () if as_json else findings:
        click.echo(f"{finding.level:<5} {finding.check:<15} {finding.message}")
        if finding.advice:
            click.echo(f"{'':<21} → {finding.advice}")
    if any(finding.level == "fail" for finding in findings):
        context.exit(1)

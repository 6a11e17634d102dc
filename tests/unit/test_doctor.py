from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import leftovers
import pytest
from click.testing import CliRunner
from gpu_machine import FAKES, write_nvml

from core.config import GIB, Config, build_config
from web.cli import doctor, known_vulnerabilities
from web.services.checks.finding import Finding

NO_ENGINE = {"DOCKER_HOST": "unix:///does/not/exist.sock"}


def levels(config: Config, check: str, environ: dict[str, str] = NO_ENGINE) -> dict[str, str]:
    """Message and advice → level, of one check."""
    found = [finding for finding in doctor.examine(config, environ) if finding.check == check]
    return {f"{finding.message} → {finding.advice}": finding.level for finding in found}


def only(found: dict[str, str]) -> tuple[str, str]:
    ((text, level),) = found.items()
    return level, text


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    config = build_config({"server": {"host": "192.0.2.1"}}, tmp_path)
    findings = list(doctor.examine(config, NO_ENGINE))
    assert [f.check for f in findings] == [
        "data directory", "disk", "docker", "firewall", "gpus", "redis", "git", "port"
    ]  # fmt: skip
    assert all(finding.advice for finding in findings if finding.level != "ok")
    assert {finding.level for finding in findings} <= {"ok", "warn", "fail"}


def test_less_free_disk_than_the_server_keeps_is_a_failure(tmp_path: Path) -> None:
    config = build_config({"server": {"min_free_disk": f"{10**6} GiB"}}, tmp_path)
    level, text = only(levels(config, "disk"))
    assert (level, "[server] min_free_disk keeps 1000000.0 GiB → executions, outputs" in text) == ("fail", True)


def test_an_absent_docker_engine_fails_with_its_socket(tmp_path: Path) -> None:
    level, text = only(levels(Config(data=tmp_path), "docker"))
    assert level == "fail"
    assert text.startswith("there is no Docker engine at /does/not/exist.sock → install Docker")


def test_an_engine_elsewhere_is_refused(tmp_path: Path) -> None:
    level, text = only(levels(Config(data=tmp_path), "docker", {"DOCKER_HOST": "tcp://10.0.0.1:2375"}))
    assert (level, "unset DOCKER_HOST" in text) == ("fail", True)


def test_something_that_is_no_docker_engine_is_told_from_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        listener.close()
        level, text = only(levels(Config(data=tmp_path), "docker", {"DOCKER_HOST": f"unix://{tmp_path}/s"}))
    assert (level, "does not answer" in text) == ("fail", True)


@pytest.mark.docker
def test_an_engine_that_answers_is_told_with_its_version_and_storage(tmp_path: Path) -> None:
    found = levels(Config(data=tmp_path), "docker", dict(os.environ))
    assert next(iter(found.values())) == "ok"
    assert any("storage driver" in text for text in found)


@pytest.mark.docker
def test_a_network_without_its_firewall_rules_is_found(tmp_path: Path) -> None:
    network = f"{leftovers.NETWORK}-doctor"
    config = build_config({"runner": {"network": network}}, tmp_path)
    assert only(levels(config, "firewall", dict(os.environ)))[0] == "ok"
    subprocess.run(["docker", "network", "create", network], check=True, capture_output=True)
    try:
        level, text = only(levels(config, "firewall", dict(os.environ)))
    finally:
        subprocess.run(["docker", "network", "rm", network], check=True, capture_output=True)
    assert level == "warn"
    assert text.startswith("Containers can reach this machine and metadata services of clouds: ")


def test_secrets_and_directories_that_others_may_read_are_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert only(levels(Config(data=data), "data directory"))[0] == "ok"
    data.mkdir(mode=0o755)
    (data / "secret.key").touch(mode=0o644)
    found = levels(Config(data=data), "data directory")
    assert found == {
        f"{data} is open to other users (mode 755) → chmod 700 {data}": "warn",
        f"other users can read {data}/secret.key → chmod 600 {data}/secret.key": "fail",
    }


@pytest.mark.root
def test_keys_of_other_users_and_the_key_of_redis_are_looked_at(tmp_path: Path) -> None:
    for name in ("secret.key", "redis.key"):
        (tmp_path / name).touch(mode=0o600)
    config = build_config({"redis": {"key": str(tmp_path / "redis.key")}}, tmp_path)
    assert set(levels(config, "data directory").values()) == {"ok"}
    assert set(levels(config, "redis").values()) == {"ok"}
    (tmp_path / "redis.key").chmod(0o640)
    os.chown(tmp_path / "secret.key", 12345, 0)
    found = levels(config, "data directory") | levels(config, "redis")
    assert [text for text, level in found.items() if level == "fail"] == [
        f"{tmp_path}/secret.key belongs to the user with the id 12345 → chown 0 {tmp_path}/secret.key",
        f"other users can read {tmp_path}/redis.key → chmod 600 {tmp_path}/redis.key",
    ]


def test_old_versions_are_found_with_the_hole_that_they_have(tmp_path: Path) -> None:
    (tmp_path / "nvidia-ctk").write_text("#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version 1.17.3'\n")
    (tmp_path / "nvidia-ctk").chmod(0o755)
    write_nvml(tmp_path / "nvml.json", {"uuid": "GPU-1", "name": "NVIDIA T4", "memory": GIB})
    engine = {"Version": "27.0", "ApiVersion": "1.46", "Components": [{"Name": "runc", "Version": "1.1.11"}]}
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(FAKES)}
    with answering(tmp_path / "s", {"/version": engine, "/info": {"Driver": "overlay2"}}):
        environ |= {"DOCKER_HOST": f"unix://{tmp_path}/s", "FAKE_NVML": str(tmp_path / "nvml.json")}
        found = [*doctor.examine(Config(data=tmp_path / "data"), environ)]
    warned = {finding.message for finding in found if finding.level == "warn"}
    assert "runc 1.1.11 is older than the fix of CVE-2024-21626, " in " ".join(warned)
    assert "nvidia-container-toolkit 1.17.3 is older than the fix of CVE-2025-23266" in warned


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        ("2.20.1", "fail", "git 2.20.1 is too old"),
        ("2.39.3", "warn", "git 2.39.3 is older than the fix of CVE-2024-32002"),
        ("2.39.5", "ok", "git 2.39.5"),
    ],
)
def test_an_old_git_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, level: str, said: str
) -> None:
    (tmp_path / "git").write_text(f"#!/bin/sh\necho git version {version}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (finding,) = doctor.check_git()
    assert (finding.level, finding.message) == (level, said)


def test_an_engine_that_is_too_old_fails(tmp_path: Path) -> None:
    with answering(tmp_path / "s", {"/version": {"Version": "18.06", "ApiVersion": "1.38"}, "/info": {}}):
        found = levels(Config(data=tmp_path), "docker", {"DOCKER_HOST": f"unix://{tmp_path}/s"})
    assert found["engine 18.06 speaks API 1.38 → update Docker to 19.03 or newer"] == "fail"


@contextlib.contextmanager
def answering(path: Path, answers: dict[str, Any]) -> Iterator[None]:
    """An engine at this socket that answers these addresses."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

        def address_string(self) -> str:
            return "unix"

    with UnixServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield
        server.shutdown()
        thread.join()


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def test_a_taken_port_is_told_from_our_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = build_config({"server": {"port": taken.getsockname()[1]}}, tmp_path)
        assert only(levels(config, "port"))[0] == "fail"


def test_a_configured_redis_is_shown_without_its_password(tmp_path: Path) -> None:
    level, text = only(levels(build_config({"redis": {"url": "rediss://me:secret@queue:6379/0"}}, tmp_path), "redis"))
    assert level == "ok"
    assert "secret" not in text
    assert "queue:6379" in text


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.39.5", (2, 39, 5)), ("20.10.24+dfsg1", (20, 10, 24)), ("2.40.GIT", (2, 40)), ("", ())]
)
def test_versions_are_compared_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert known_vulnerabilities.parse_version(version) == numbers


def test_json_holds_the_same_findings_and_a_failure_is_exit_code_1(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path), "--json"]
    result = CliRunner(env=NO_ENGINE).invoke(doctor.command, arguments)
    assert result.exit_code == 1
    findings = [Finding(**finding) for finding in json.loads(result.output)]
    assert ("docker", "fail") in {(finding.check, finding.level) for finding in findings}
    text = CliRunner(env=NO_ENGINE).invoke(doctor.command, arguments[:2])
    assert text.exit_code == 1
    (disk,) = [finding for finding in findings if finding.check == "disk"]
    assert disk.message.partition(" ")[2] in text.output  # the number before may have changed in between
    findings.remove(disk)
    assert all(finding.message in text.output and finding.advice in text.output for finding in findings)


@pytest.mark.docker
def test_gpus_are_told_with_model_driver_and_whether_docker_can_give_them(tmp_path: Path) -> None:
    nvml = tmp_path / "nvml.json"
    write_nvml(
        nvml, {"uuid": "GPU-0", "memory": 80 * GIB}, {"uuid": "GPU-1", "memory": 80 * GIB}, driver_version="550.1"
    )
    environ = {"PYTHONPATH": str(FAKES), "FAKE_NVML": str(nvml), "PATH": str(tmp_path)}
    found = levels(Config(data=tmp_path), "gpus", environ)
    assert found["2 of NVIDIA Fake 80GB, 80 GiB; driver 550.1 → "] == "ok"
    assert [text for text, level in found.items() if level == "fail" and "nvidia-container-toolkit" in text]
    (tmp_path / "nvidia-container-runtime-hook").touch(mode=0o755)
    assert "fail" not in levels(Config(data=tmp_path), "gpus", environ).values()
    write_nvml(nvml, {"uuid": "GPU-0", "fault": "GpuIsLost"})
    (lost,) = levels(Config(data=tmp_path), "gpus", environ).items()
    assert "GPU 0 does not answer" in lost[0]
    assert lost[1] == "warn"

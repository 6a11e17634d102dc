"""A server whose disk is nearly full starts and stores nothing new, and continues once there is space."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer
from forge_deliveries import GitHub, Moved, encoded
from instance import Checkout
from push_server import PushServer, bare_repository, step
from runner_host import execute, execution
from runner_server import RunnerServer
from site_client import Person

from core.config import MIB
from core.errors import DiskFull
from core.states import State
from hooks import signatures
from runner.host import Host
from web.cli import doctor
from web.processes.sweep import Sweeper
from web.services import disk
from web.services.executions import outputs
from web.services.repositories import hosting
from web.services.scheduling import dispatch
from web.store import runners

pytestmark = pytest.mark.root
LEAST = 30 * MIB


@pytest.fixture
def api(small_disk: Path) -> Iterator[ApiServer]:
    server = ApiServer(small_disk / "data", server={"min_free_disk": LEAST})
    yield server
    server.close()


@pytest.fixture
def pushes(small_disk: Path) -> Iterator[PushServer]:
    server = PushServer(small_disk / "data", server__min_free_disk=LEAST)
    server.start()
    yield server
    server.close()


def fill(disk: Path, left: int) -> Path:
    """Fill the disk with a file that leaves that many bytes free."""
    file = disk / "other"
    with open(file, "wb") as other:
        os.posix_fallocate(other.fileno(), 0, shutil.disk_usage(disk).free - left)
    return file


def stored(api: ApiServer) -> list[Path]:
    return [path for path in api.config.outputs_dir.rglob("*") if path.is_file()]


def test_executions_wait_and_pages_say_why_until_there_is_room(api: ApiServer, small_disk: Path) -> None:
    api.online()
    other = fill(small_disk, LEAST - MIB)
    waiting = api.add_execution()
    queues = api.app.extensions["pushmill"].queues
    dispatch.dispatch(api.context, queues)
    assert api.execution(waiting.uuid).state is State.CREATED
    person = Person(api)
    person.log_in()
    sentence = "of free disk, and [server] min_free_disk keeps 30.0 MiB"
    assert sentence in person.get("/").text
    page = person.get(f"/p/demo/executions/{waiting.counter}/").text
    assert page.count(sentence) == 2
    [finding] = [finding for finding in doctor.examine(api.config, {}) if finding.check == "disk"]
    assert finding.level == "fail"
    other.unlink()
    dispatch.dispatch(api.context, queues)
    assert api.execution(waiting.uuid).state is State.QUEUED
    assert sentence not in person.get("/").text


def test_an_output_that_would_leave_too_little_is_refused_and_stored_later(api: ApiServer, small_disk: Path) -> None:
    execution, _ = api.started()
    other = fill(small_disk, LEAST + 2 * MIB)
    refused = api.upload(execution, "large", b"x" * (3 * MIB))
    assert refused.status_code == 507
    assert refused.json is not None
    assert "[server] min_free_disk keeps 30.0 MiB" in refused.json["detail"]
    assert api.upload(execution, "small", b"x" * MIB).status_code == 200
    other.unlink()
    assert api.upload(execution, "large", b"x" * (3 * MIB)).status_code == 200
    assert len(stored(api)) == 2


def test_an_output_is_given_up_when_the_disk_fills_meanwhile(api: ApiServer, small_disk: Path) -> None:
    execution, attempt = api.started()
    runner = runners.find_by_name(api.db, "one")
    assert runner is not None

    def chunks() -> Iterator[bytes]:
        yield b"x" * MIB
        fill(small_disk, LEAST - MIB)  # another program
        yield b"x" * MIB

    upload = outputs.Upload(execution=execution, attempt=attempt, uuid=str(uuid.uuid4()), name="x", size=2 * MIB)
    with pytest.raises(DiskFull, match="min_free_disk keeps"):
        outputs.store(
            api.db, api.config.outputs_dir, api.config.limits, runner, upload, disk.guard_chunks(api.config, chunks())
        )
    assert stored(api) == []


def test_logs_are_stored_a_while_longer_and_the_end_always(api: ApiServer, small_disk: Path) -> None:
    execution, attempt = api.started()
    other = fill(small_disk, LEAST // 2)
    assert api.log(execution, b"one\n", 0).status_code == 200
    other.unlink()
    other = fill(small_disk, LEAST // 8)
    assert api.log(execution, b"two\n", 4).status_code == 507
    other.unlink()
    assert api.log(execution, b"two\n", 4).status_code == 200
    fill(small_disk, LEAST // 8)
    report = {"attempt": attempt, "state": "complete", "exit_code": 0}
    assert api.call(f"executions/{execution}/final", report).status_code == 200
    assert api.execution(execution).state is State.COMPLETE


def test_a_push_is_refused_with_the_reason(pushes: PushServer, checkout: Checkout, small_disk: Path) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    other = fill(small_disk, LEAST - MIB)
    refused = checkout.git("push", pushes.git_url("demo"), "main", check=False)
    assert refused.returncode != 0
    assert "[server] min_free_disk keeps 30.0 MiB" in refused.stderr
    other.unlink()
    pushes.push(checkout, "demo")
    pushes.drain()
    assert pushes.steps("demo") == ["train"]
    large = checkout.commit({"large": os.urandom(5 * MIB)})
    other = fill(small_disk, LEAST + 2 * MIB)
    refused = checkout.git("push", pushes.git_url("demo"), "main", check=False)
    assert refused.returncode != 0
    assert "exceeds maximum allowed size" in refused.stderr
    other.unlink()
    pushes.push(checkout, "demo")
    pushes.drain()
    assert pushes.commit("demo", large).identifier == large


def test_a_webhook_is_refused_after_its_signature_is_checked(pushes: PushServer, small_disk: Path) -> None:
    secret = pushes.add_project("model", "plain", "https://git.invalid/model.git").encode()
    body = b'{"ref": "refs/heads/main"}'
    fill(small_disk, LEAST - MIB)

    def answer(key: bytes) -> tuple[int, str]:
        headers = {"X-Pushmill-Signature-256": signatures.sign(body, key), "X-Pushmill-Delivery": "d-1"}
        answered = pushes.post("/hooks/model/plain", body, **headers)
        return answered.status_code, answered.text

    status, text = answer(secret)
    assert (status, "min_free_disk keeps 30.0 MiB" in text) == (507, True)
    assert pushes.deliveries("model") == []
    assert answer(b"wrong") == (401, "Unknown webhook, or the signature is wrong.\n")  # a row, written later


def test_pushes_elsewhere_are_not_fetched_until_there_is_room(
    pushes: PushServer, checkout: Checkout, small_disk: Path, tmp_path: Path
) -> None:
    remote = bare_repository(tmp_path / "elsewhere.git")
    sender = GitHub()
    project, _ = hosting.add_project(
        pushes.with_git(allow_local=True).context, "model", 1, forge=sender.name, url=f"file://{remote}"
    )
    hosting.set_secret(pushes.context, project, sender.secret)
    sha = checkout.commit({"valohai.yaml": step("train")})
    checkout.git("push", str(remote), "main")
    body = encoded(sender.push(Moved(after=sha)))
    assert pushes.post("/hooks/model/github", body, **sender.headers(body, "d-1")).status_code == 202

    def sweep() -> str:
        sweeper = Sweeper(pushes.config, pushes.vault, pushes.queues)
        sweeper.sweep()
        sweeper.close()
        return pushes.deliveries("model")[0].state

    other = fill(small_disk, LEAST - MIB)
    assert sweep() == "stored"
    other.unlink()
    assert sweep() == "done"
    assert pushes.steps("model") == ["train"]


@pytest.mark.docker
def test_a_runner_keeps_outputs_until_the_server_has_room(server: RunnerServer, host: Host) -> None:
    recorded = server.add(execution("echo a >/valohai/outputs/a; echo b >/valohai/outputs/b"))
    tries: list[str] = []

    def full_twice(path: str) -> int | None:
        if "/outputs/" in path:
            tries.append(path)
            return 507 if len(tries) <= 2 else None
        return None

    server.before = full_twice
    execute(host, recorded.spec.uuid, 1)
    assert recorded.outputs == {"a": b"a\n", "b": b"b\n"}
    assert recorded.final["state"] == "complete"
    lines = [line for line in recorded.lines("status") if "wait" in line]
    assert lines == ["Outputs wait on the runner: the server has too little free disk"]

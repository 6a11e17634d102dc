"""Pushing to the server itself, with a real git client."""

from __future__ import annotations

import http.client
import os
import re
import resource
import socket
import struct
import time
import zlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from instance import Checkout, wait_for
from push_server import PushServer, needy_step, step

from core import clock
from core.states import State
from web.services.repositories import hosting, lost_pushes
from web.store import executions, projects, runners, users
from web.store.db import execute, transaction


def test_the_first_push_makes_the_project_and_says_what_runs(pushes: PushServer, checkout: Checkout) -> None:
    sha = checkout.commit({"valohai.yaml": step("train") + needy_step("tune")})
    with pushes.worker():
        said = pushes.push(checkout, "first")
    assert f"{pushes.url}/p/first/commits/{sha}/" in said
    assert f"train #1: {pushes.url}/p/first/executions/1/" in said
    assert re.search(r'skipped tune: parameter "rate" needs a value', said)
    assert pushes.steps("first") == ["train"]
    assert pushes.commit("first", sha).message == "work\n"
    (push,) = pushes.pushes("first")
    assert (push.ref, push.pusher, push.outcome) == ("refs/heads/main", "admin", "1 execution")
    assert [name for name, _ in push.skipped] == ["tune"]


def test_a_pushed_commit_runs_again_when_it_is_pushed_to_another_branch_or_with_an_empty_commit(
    pushes: PushServer, checkout: Checkout
) -> None:
    """The ways that docs/pushing.md names."""
    sha = checkout.commit({"valohai.yaml": step("train") + step("other")})
    with pushes.worker():
        pushes.push(checkout, "repeated")
        assert "Everything up-to-date" in pushes.push(checkout, "repeated", "-o", "pushmill.step=train", "main")
        pushes.push(checkout, "repeated", "-o", "pushmill.step=train", "main:again")
        pushes.push(checkout, "repeated", "main:twice", ":again")
        assert pushes.steps("repeated") == ["train", "other", "train", "train", "other"]
        assert {execution.commit_identifier for execution in pushes.executions("repeated")} == {sha}
        checkout.commit({}, "once more\n\nPushmill-Step: other\n")
        pushes.push(checkout, "repeated")
    assert pushes.steps("repeated")[5:] == ["other"]


def test_without_a_worker_a_push_succeeds_and_names_the_page(pushes: PushServer, checkout: Checkout) -> None:
    sha = checkout.commit({"valohai.yaml": step("train")})
    said = pushes.push(checkout, "patient")
    assert f"/p/patient/commits/{sha}/" in said
    pushes.drain()
    assert pushes.steps("patient") == ["train"]
    assert pushes.push_files() == []


def test_what_was_pushed_can_be_cloned_whatever_its_branch_is_called(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    sha = checkout.commit({"data.txt": "committed\n"})
    pushes.push(checkout, "cloned", "main:trunk")
    copy = Checkout(tmp_path / "copy")
    copy.git("clone", "-q", pushes.git_url("cloned"), "clone")
    assert (tmp_path / "copy" / "clone" / "data.txt").read_text() == "committed\n"
    pushes.drain()
    (repository,) = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "cloned").id)
    assert repository.default_branch == "trunk"
    assert pushes.commit("cloned", sha).config_state == "missing"


def test_push_options_choose_steps_and_unknown_ones_are_said(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a") + step("b") + step("c")})
    with pushes.worker():
        said = pushes.push(checkout, "choosy", "-o", "pushmill.step=b", "-o", "pushmill.step=zzz", "-o", "else", "main")
    assert pushes.steps("choosy") == ["b"]
    assert 'there is no step "zzz"; there are: a, b, c' in said
    assert pushes.pushes("choosy")[0].options == ("pushmill.step=b", "pushmill.step=zzz", "else")


@pytest.mark.parametrize("message", ["work [skip ci]", "[CI SKIP]", "a\n\n[no ci]", "x [Skip Pushmill] y"])
def test_a_push_that_is_not_to_run_is_recorded_with_the_reason(
    pushes: PushServer, checkout: Checkout, message: str
) -> None:
    sha = checkout.commit({"valohai.yaml": step("a")}, message)
    pushes.push(checkout, "quiet")
    pushes.drain()
    assert pushes.steps("quiet") == []
    (push,) = pushes.pushes("quiet")
    assert push.outcome.startswith("skipped: [")
    assert pushes.commit("quiet", sha).config_state == "ok"


def test_ci_skip_as_a_push_option_runs_nothing(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a")})
    pushes.push(checkout, "optional", "-o", "ci.skip", "main")
    pushes.drain()
    assert (pushes.steps("optional"), pushes.pushes("optional")[0].outcome) == ([], "skipped: -o ci.skip")


def test_trailers_choose_steps_where_push_options_do_not_come_through(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a") + step("b")}, "work\n\nwhy\n\nPushmill-Step: b\nSigned-off-by: Ada")
    pushes.push(checkout, "trailed")
    pushes.drain()
    assert pushes.steps("trailed") == ["b"]


def test_a_tag_is_recorded_and_runs_only_what_options_name(pushes: PushServer, checkout: Checkout) -> None:
    sha = checkout.commit({"valohai.yaml": step("a") + step("b")})
    checkout.git("tag", "-a", "v1", "-m", "one")
    checkout.git("tag", "v2")
    with pushes.worker():
        pushes.push(checkout, "tagged", "v1")
        pushes.push(checkout, "tagged", "-o", "pushmill.step=b", "v2")
    assert pushes.steps("tagged") == ["b"]
    assert [push.outcome for push in pushes.pushes("tagged")] == ["tag recorded", "1 execution"]
    assert pushes.commit("tagged", sha).ref_names == ("v1", "v2")


def test_a_tag_of_no_commit_is_recorded_with_the_reason(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a")})
    checkout.git("tag", "blob", checkout.git("hash-object", "-w", "valohai.yaml").stdout.strip())
    pushes.push(checkout, "blobby", "blob")
    pushes.drain()
    assert "no such commit" in pushes.pushes("blobby")[0].outcome


def test_a_forced_push_keeps_the_commit_that_it_pushed_out(pushes: PushServer, checkout: Checkout) -> None:
    first = checkout.commit({"valohai.yaml": step("a")}, "first")
    with pushes.worker():
        pushes.push(checkout, "forced")
        checkout.git("commit", "-q", "--amend", "-m", "second")
        pushes.push(checkout, "forced", "--force", "main")
    assert len(pushes.steps("forced")) == 2
    assert first in [commit for path in pushes.config.git_dir.glob("*.git/refs/pushmill/*") for commit in [path.name]]


def test_moving_a_branch_there_and_back_and_there_again_is_a_push_each_time(
    pushes: PushServer, checkout: Checkout
) -> None:
    a = checkout.commit({"valohai.yaml": step("a")}, "A")
    b = checkout.commit({}, "B")
    with pushes.worker():
        for sha in (a, b, a, b):
            pushes.push(checkout, "moved", "--force", f"{sha}:refs/heads/main")
    assert [push.after for push in pushes.pushes("moved")] == [a, b, a, b]
    assert len(pushes.steps("moved")) == 4


def test_twelve_concurrent_first_pushes_make_one_project_and_lose_nothing(pushes: PushServer, tmp_path: Path) -> None:
    checkouts = [Checkout(tmp_path / f"person-{number}") for number in range(12)]
    shas = [c.commit({"valohai.yaml": step("a"), "who": str(number)}) for number, c in enumerate(checkouts)]
    with pushes.worker(), ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: pushes.push(checkouts[n], "busy", f"main:branch-{n}"), range(12)))
    pushes.drain()
    assert [project.name for project in projects.list_projects(pushes.db)] == ["busy"]
    assert sorted(push.after for push in pushes.pushes("busy")) == sorted(shas)
    assert [execution.counter for execution in pushes.executions("busy")] == list(range(1, 13))


def test_a_large_pack_passes_through_without_lying_in_memory(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    copy = Checkout(tmp_path / "copy")
    for person in (checkout, copy):  # noise is neither compressed nor compared
        person.git("config", "core.compression", "0")
        person.git("config", "core.bigFileThreshold", "1m")
    with Path("/dev/urandom").open("rb") as noise:
        for number in range(8):
            checkout.commit({f"weights-{number}": noise.read(8 * 1024**2)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pushes.push(checkout, "large")
    copy.git("fetch", "-q", pushes.git_url("large"), "main")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024  # KiB, for 64 MiB each way


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a" * 65, "..", "%2e%2e", "a%00"])
def test_bad_project_names_are_refused_and_make_nothing(pushes: PushServer, checkout: Checkout, name: str) -> None:
    checkout.commit({})
    failed = checkout.git("push", pushes.git_url(name), "main", check=False)
    assert failed.returncode != 0
    assert projects.list_projects(pushes.db) == []


def test_without_a_good_token_nothing_is_served_and_nothing_is_made(pushes: PushServer) -> None:
    for credentials in (None, ("admin", "pm_wrong"), ("admin", "")):
        answer = httpx.get(
            f"{pushes.url}/git/secret.git/info/refs?service=git-receive-pack", auth=credentials, trust_env=False
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert projects.list_projects(pushes.db) == []


@pytest.mark.parametrize(
    "path",
    [
        "missing.git/info/refs?service=git-upload-pack",
        "there.git/info/refs",
        "there.git/info/refs?service=git-upload-archive",
        "there.git/HEAD",
        "there.git/config",
        "there.git/objects/info/packs",
        "there.git/pushmill/ipad",
        "../pushmill.db",
        "there.git/../../secret.key",
    ],
)
def test_only_the_smart_endpoints_of_projects_are_there(pushes: PushServer, checkout: Checkout, path: str) -> None:
    checkout.commit({})
    pushes.push(checkout, "there")
    connection = http.client.HTTPConnection("127.0.0.1", pushes.config.server.port)
    basic = b64encode(f"admin:{pushes.token}".encode()).decode()
    connection.request("GET", f"/git/{path}", headers={"Authorization": f"Basic {basic}"})
    assert connection.getresponse().status == 404
    connection.close()


def test_a_first_request_with_a_body_is_answered_like_any_other(pushes: PushServer, checkout: Checkout) -> None:
    """`git http-backend` would wait for that body for ever, at full speed."""
    checkout.commit({})
    pushes.push(checkout, "there")
    connection = http.client.HTTPConnection("127.0.0.1", pushes.config.server.port, timeout=10)
    basic = b64encode(f"admin:{pushes.token}".encode()).decode()
    path = "/git/there.git/info/refs?service=git-upload-pack"
    connection.request("GET", path, body=b"0000", headers={"Authorization": f"Basic {basic}"})
    assert b"refs/heads/main" in connection.getresponse().read()
    connection.close()


def test_a_runner_may_only_read_and_only_while_it_runs_something_there(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    sha = checkout.commit({"valohai.yaml": step("a")})
    pushes.push(checkout, "held")
    pushes.push(checkout, "other")
    pushes.drain()
    token = users.make_token()
    runner_id = runners.add(pushes.db, "gpu-1", token, ["default"])
    copy = Checkout(tmp_path / "copy")

    def fetches(project: str) -> bool:
        return copy.git("fetch", "-q", pushes.git_url(project, token), sha, check=False).returncode == 0

    assert not fetches("held")
    (execution,) = pushes.executions("held")
    with transaction(pushes.db):
        execute(pushes.db, "UPDATE execution SET runner_id = ? WHERE id = ?", (runner_id, execution.id))
        executions.transition(pushes.db, executions.get(pushes.db, execution.id), State.STARTED)
    assert fetches("held")
    assert not fetches("other")
    for version in ("0", "2"):  # it sees no ref, so it knows of no other commit
        shown = copy.git("-c", f"protocol.version={version}", "ls-remote", pushes.git_url("held", token)).stdout
        assert shown == ""
    assert checkout.git("push", pushes.git_url("held", token), "main:x", check=False).returncode != 0


def test_a_body_that_nobody_reads_does_not_keep_git_waiting(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"data.txt": "committed\n"})
    pushes.push(checkout, "bodily")
    address, _, query = pushes.git_url("bodily").rpartition("@")[2].partition("/")
    credentials = b64encode(f"admin:{pushes.token}".encode()).decode()
    connection = http.client.HTTPConnection(address, timeout=10)
    headers = {"Authorization": f"Basic {credentials}"}
    connection.request("GET", f"/{query}/info/refs?service=git-upload-pack", b"12345678", headers)
    assert connection.getresponse().read().startswith(b"001e# service=git-upload-pack")
    connection.close()


def begun_pack(size: int) -> bytes:
    """The beginning of a push: a command, and a pack whose one object has more bytes than come."""
    command = f"{'0' * 40} {'a' * 40} refs/heads/new\0report-status".encode()
    blob = zlib.compressobj(0)
    pack = b"PACK" + struct.pack(">II", 2, 1) + bytes([0xB0, 0xFF, 0xFF, 0x7F])  # a blob of 33 MB
    return b"%04x%s0000%s" % (len(command) + 4, command, pack + blob.compress(os.urandom(size)))


def test_a_push_that_breaks_off_leaves_no_process_and_no_push(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a")})
    pushes.push(checkout, "broken")
    basic = b64encode(f"admin:{pushes.token}".encode()).decode()
    with socket.create_connection(("127.0.0.1", pushes.config.server.port)) as connection:
        head = (
            f"POST /git/broken.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 10000000\r\n\r\n"
        )
        connection.sendall(head.encode() + begun_pack(200_000))
        wait_for(_backends)
    wait_for(lambda: not _backends())
    pushes.drain()
    assert len(pushes.pushes("broken")) == 1


def test_refs_that_moved_while_the_server_was_killed_are_recorded_later(pushes: PushServer, checkout: Checkout) -> None:
    first = checkout.commit({"valohai.yaml": step("a")}, "first")
    pushes.push(checkout, "killed")
    pushes.drain()
    (repository,) = projects.list_repositories_for_forge(pushes.db, projects.HOSTED)
    path = hosting.get_repository_path(pushes.config, repository)
    (path / "hooks" / "post-receive").unlink()  # what a kill between the refs and the hook amounts to
    second = checkout.commit({}, "second")
    note = lost_pushes.mark_push_started(pushes.config, repository)
    checkout.git("push", "-q", str(path), "main", "main:new")
    pushes.drain()
    assert len(pushes.pushes("killed")) == 1  # a push that goes on is its own hook's
    note.close()
    pushes.drain()
    pushes.drain()
    assert [(push.before, push.after) for push in pushes.pushes("killed")[1:]] == [(first, second), ("0" * 40, second)]
    assert len(pushes.steps("killed")) == 3
    assert list((path / "pushmill").glob("begun.*")) == []


def test_a_push_that_was_lost_is_recorded_although_a_later_one_of_its_branch_was(
    pushes: PushServer, checkout: Checkout
) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    pushes.push(checkout, "killed")
    pushes.drain()
    (repository,) = projects.list_repositories_for_forge(pushes.db, projects.HOSTED)
    path = hosting.get_repository_path(pushes.config, repository)
    hook = path / "hooks" / "post-receive"
    kept = hook.read_bytes()
    hook.unlink()  # the server is killed before the hook runs
    lost = [checkout.commit({"valohai.yaml": step(name)}, name) for name in ("lost", "lost-too")]
    note = lost_pushes.mark_push_started(pushes.config, repository)
    for sha in lost:
        checkout.git("push", "-q", str(path), f"{sha}:refs/heads/main")
    note.close()
    hook.write_bytes(kept)
    hook.chmod(0o755)
    checkout.commit({"valohai.yaml": step("later")}, "later")
    running = lost_pushes.mark_push_started(pushes.config, repository)
    checkout.git("push", "-q", pushes.git_url("killed"), "HEAD:main")
    pushes.drain()
    assert sorted(pushes.steps("killed")) == ["later", "train"]  # a push is running, which may have moved refs
    running.close()
    for _ in range(3):
        pushes.drain()
    assert sorted(pushes.steps("killed")) == ["later", "lost", "lost-too", "train"]
    assert list((path / "pushmill").glob("begun.*")) == []


def test_pushes_that_were_recorded_earlier_in_the_second_of_a_kill_are_not_recorded_again(
    pushes: PushServer, checkout: Checkout
) -> None:
    for name in ("first", "second"):
        checkout.commit({"valohai.yaml": step(name)}, name)
        pushes.push(checkout, "killed")
        pushes.drain()
    (repository,) = projects.list_repositories_for_forge(pushes.db, projects.HOSTED)
    path = hosting.get_repository_path(pushes.config, repository)
    reflog, second = path / "logs" / "refs" / "heads" / "main", int(time.time())
    reflog.write_text(re.sub(r"(?m)^(.*>) [0-9]+ ", rf"\1 {second} ", reflog.read_text()))
    with transaction(pushes.db):
        recorded_at = clock.format_moment(datetime.fromtimestamp(second + 0.1, UTC))
        execute(pushes.db, "UPDATE push SET created_at = ?", (recorded_at,))
    with lost_pushes.mark_push_started(pushes.config, repository) as note:
        os.utime(note.name, (second + 0.9, second + 0.9))
    for _ in range(3):
        pushes.drain()
    assert pushes.steps("killed") == ["first", "second"]
    assert list((path / "pushmill").glob("begun.*")) == []


def lose_push(pushes: PushServer, checkout: Checkout, name: str, *refspecs: str) -> Path:
    """Push to an existing project as if the server were killed before the hook runs; the repository."""
    (repository,) = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, name).id)
    path = hosting.get_repository_path(pushes.config, repository)
    (path / "hooks" / "post-receive").unlink()
    with lost_pushes.mark_push_started(pushes.config, repository):
        checkout.git("push", "-q", str(path), *refspecs)
    return path


def test_a_lost_push_of_branches_and_tags_that_are_not_utf_8_is_recorded_once(
    pushes: PushServer, checkout: Checkout
) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    pushes.push(checkout, "odd")
    pushes.drain()
    checkout.commit({})
    tag = os.fsdecode(b"t\xff")
    checkout.git("tag", "-a", "-m", "annotated", tag)
    path = lose_push(pushes, checkout, "odd", os.fsdecode(b"main:refs/heads/z\xff"), f"refs/tags/{tag}")
    for _ in range(3):
        pushes.drain()
    refs = ["refs/heads/main", "refs/heads/z\ufffd", "refs/tags/t\ufffd"]
    assert sorted(push.ref for push in pushes.pushes("odd")) == refs
    assert pushes.steps("odd") == ["train", "train"]
    assert list((path / "pushmill").glob("begun.*")) == []


def test_a_repository_that_cannot_be_read_does_not_keep_lost_pushes_of_others_from_being_recorded(
    pushes: PushServer, checkout: Checkout
) -> None:
    checkout.commit({"valohai.yaml": step("train")})
    for name in ("damaged", "sound"):
        pushes.push(checkout, name)
    pushes.drain()
    checkout.commit({})
    (lose_push(pushes, checkout, "damaged", "main") / "HEAD").unlink()
    lose_push(pushes, checkout, "sound", "main")
    for _ in range(2):
        pushes.drain()
    assert [len(pushes.pushes(name)) for name in ("damaged", "sound")] == [1, 2]


def test_a_push_leaves_no_file_behind(pushes: PushServer, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": step("a")})
    with pushes.worker():
        pushes.push(checkout, "clean")
    folder = next(pushes.config.git_dir.glob("*.git/pushmill"))
    wait_for(lambda: sorted(path.name for path in folder.iterdir()) == ["ipad", "opad", "url"])


def _backends() -> list[psutil.Process]:
    """The http-backends of this process that run."""
    return [child for child in psutil.Process().children() if "http-backend" in " ".join(_words(child))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []

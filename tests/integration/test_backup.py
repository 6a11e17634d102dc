"""Backups: complete or absent, secret, and restored only into an empty directory."""

from __future__ import annotations

import io
import json
import signal
import stat
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from instance import Checkout, wait_for
from push_server import PushServer, step

from core import config as configuration
from core.errors import Conflict, InvalidInput
from web.services import backup
from web.services.executions import outputs

RUN = [sys.executable, "-P", "-m", "web.cli.main"]


@pytest.fixture
def pushed(pushes: PushServer, tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path / "checkout")
    checkout.commit({"valohai.yaml": step("train")})
    with pushes.worker():
        checkout.push(pushes.git_url("model"))
        wait_for(lambda: pushes.executions("model"))
    return checkout


def test_a_push_that_came_after_the_database_was_copied_is_run_by_the_restored_server(
    pushes: PushServer, pushed: Checkout, tmp_path: Path
) -> None:
    repository = next(pushes.config.git_dir.glob("*.git"))
    (repository / "hooks" / "post-receive").rename(repository / "hooks" / "away")
    later = pushed.commit({"valohai.yaml": step("evaluate")})
    pushed.git("push", "-q", str(repository), "main")
    backup.create(pushes.config, tmp_path / "made.tar", with_outputs=True, say=print)
    backup.restore(tmp_path / "made.tar", tmp_path / "restored", print)
    with closing(PushServer(tmp_path / "restored")) as restored:
        assert restored.steps("model") == ["train"]
        with restored.worker():
            wait_for(lambda: restored.steps("model") == ["train", "evaluate"])
        assert restored.pushes("model")[-1].after == later


def test_only_its_owner_may_read_a_backup_and_it_replaces_no_file(pushes: PushServer, tmp_path: Path) -> None:
    target = tmp_path / "made.tar"
    backup.create(pushes.config, target, with_outputs=True, say=print)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="already exists"):
        backup.create(pushes.config, target, with_outputs=True, say=print)


def test_a_backup_is_restored_into_an_empty_directory_only(pushes: PushServer, tmp_path: Path) -> None:
    backup.create(pushes.config, tmp_path / "made.tar", with_outputs=True, say=print)
    target = tmp_path / "target"
    target.mkdir()
    (target / "something").touch()
    with pytest.raises(InvalidInput, match="is not empty"):
        backup.restore(tmp_path / "made.tar", target, print)
    (target / "something").unlink()
    backup.restore(tmp_path / "made.tar", target, print)
    for name in ("secret.key", "admin-token", "runner/token"):
        assert (target / name).read_bytes() == (pushes.config.data / name).read_bytes()
        assert stat.S_IMODE((target / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", [0, 600, 0.5, 0.98, None])
def test_a_damaged_backup_restores_nothing(
    pushes: PushServer, pushed: Checkout, tmp_path: Path, kept: float | None
) -> None:
    backup.create(pushes.config, tmp_path / "made.tar", with_outputs=True, say=print)
    whole = (tmp_path / "made.tar").read_bytes()
    if kept is None:  # without its last member, which no other check notices
        with tarfile.open(tmp_path / "made.tar") as tar:
            kept = tar.getmember(backup.END).offset
    (tmp_path / "damaged.tar").write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(InvalidInput, match=r"damaged|not a backup"):
        backup.restore(tmp_path / "damaged.tar", tmp_path / "target", print)
    assert not list(tmp_path.glob("*target*"))


def test_an_archive_of_another_program_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    with pytest.raises(InvalidInput, match="is not a backup"):
        backup.restore(tmp_path / "other.tar", tmp_path / "target", print)
    assert not (tmp_path / "escaped").exists()


def test_a_backup_of_a_later_format_is_refused(tmp_path: Path) -> None:
    manifest = json.dumps({"format": backup.FORMAT + 1}).encode()
    with tarfile.open(tmp_path / "later.tar", "w") as tar:
        member = tarfile.TarInfo(backup.MANIFEST)
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    with pytest.raises(InvalidInput, match=f"format {backup.FORMAT + 1}.*upgrade pushmill"):
        backup.restore(tmp_path / "later.tar", tmp_path / "target", print)


@pytest.mark.parametrize("with_outputs", [True, False])
def test_outputs_are_in_a_backup_if_wanted_and_those_being_received_never(
    pushes: PushServer, tmp_path: Path, with_outputs: bool
) -> None:
    for name in (outputs.INCOMING, "aa"):
        (pushes.config.outputs_dir / name).mkdir(parents=True)
        (pushes.config.outputs_dir / name / "file").write_bytes(b"x")
    backup.create(pushes.config, tmp_path / "made.tar", with_outputs=with_outputs, say=print)
    with tarfile.open(tmp_path / "made.tar") as tar:
        found = [name for name in tar.getnames() if name.startswith("outputs/")]
    assert found == (["outputs/aa/file"] if with_outputs else [])


def test_a_member_that_leads_out_of_the_directory_is_refused(pushes: PushServer, tmp_path: Path) -> None:
    backup.create(pushes.config, tmp_path / "made.tar", with_outputs=True, say=print)
    with tarfile.open(tmp_path / "made.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
        tar.addfile(tarfile.TarInfo(backup.END), io.BytesIO())
    with pytest.raises(InvalidInput, match="nothing was restored"):
        backup.restore(tmp_path / "made.tar", tmp_path / "target", print)
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "target").exists()


def test_a_killed_backup_leaves_nothing_that_the_next_one_does_not_remove(
    pushes: PushServer, pushed: Checkout, tmp_path: Path
) -> None:
    big = pushes.config.logs_dir / "big.log"
    big.parent.mkdir(exist_ok=True)
    with big.open("wb") as file:
        file.truncate(2 * 1024**3)
    target = tmp_path / "made.tar"
    running = subprocess.Popen([*RUN, "backup", str(target), "--data", str(pushes.config.data)])
    wait_for(lambda: (tmp_path / ".made.tar.partial").exists())
    with pytest.raises(Conflict, match="another backup"):
        backup.create(pushes.config, tmp_path / "other.tar", with_outputs=True, say=print)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not target.exists()
    big.unlink()
    backup.create(pushes.config, target, with_outputs=True, say=print)
    assert not (tmp_path / ".made.tar.partial").exists()
    left = list(pushes.config.data.rglob(f"{backup.SCRATCH}*"))
    assert not left


def test_objects_that_git_packs_meanwhile_are_all_there(pushes: PushServer, pushed: Checkout, tmp_path: Path) -> None:
    repository = next(pushes.config.git_dir.glob("*.git"))
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        archive = backup._Archive(tar)
        listed = backup._linked(repository / "objects", tmp_path / "links")
        subprocess.run(["git", "-C", str(repository), "gc", "-q", "--prune=now"], check=True)
        archive.add_tree(listed, "objects")
    with tarfile.open(tmp_path / "made.tar") as tar:
        tar.extractall(tmp_path / "copy", filter="data")
    there = sum(1 for path in (tmp_path / "copy" / "objects").rglob("*") if path.is_file())
    assert there >= 3


def test_the_configuration_belongs_to_a_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "config.toml").write_text("[server]\nport = 9999\n")
    with closing(PushServer(data)) as server:
        backup.create(server.config, tmp_path / "made.tar", with_outputs=False, say=print)
    backup.restore(tmp_path / "made.tar", tmp_path / "restored", print)
    assert configuration.load(tmp_path / "restored").server.port == 9999

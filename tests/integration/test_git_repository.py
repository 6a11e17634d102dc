from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from made_repository import ENVIRONMENT, MadeRepository

from core import git
from core.errors import GitError

HOOK = "#!/bin/sh\necho hooked\n"


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    return MadeRepository(tmp_path / "made.git")


def config(path: Path, name: str) -> list[str]:
    command = ["git", f"--git-dir={path}", "config", "--get-all", name]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False).stdout.split("\n")[:-1]


def test_a_hosted_repository_can_be_pushed_to_and_tells_by_its_hook(tmp_path: Path, made: MadeRepository) -> None:
    hosted = tmp_path / "hosted.git"
    git.init_hosted(hosted, HOOK)
    sha = made.commit({"a": b"1"})
    push = ["git", f"--git-dir={made.path}", "push", "-o", "ci.skip", str(hosted), "main"]
    done = subprocess.run(push, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "remote: hooked" in done.stderr
    assert git.list_refs(hosted) == {"refs/heads/main": (sha,)}


def test_a_hosted_repository_takes_a_forced_push_and_hides_its_pins(tmp_path: Path, made: MadeRepository) -> None:
    hosted = tmp_path / "hosted.git"
    git.init_hosted(hosted, HOOK)
    old = made.commit({"a": b"1"})
    made.git("push", "-q", str(hosted), "main")
    git.find_commit(hosted, old, pin=True)
    new = made.commit({"a": b"2"})
    made.git("push", "-q", "--force", str(hosted), "main")
    assert made.git("ls-remote", str(hosted)).split() == [new, "HEAD", new, "refs/heads/main"]
    subprocess.run(["git", f"--git-dir={hosted}", "gc", "-q", "--prune=now"], env=ENVIRONMENT, check=True)
    assert git.resolve(hosted, old) == old
    with pytest.raises(subprocess.CalledProcessError):
        made.git("push", "-q", str(hosted), f"main:refs/pushmill/{new}")


def test_every_start_corrects_settings_and_hook_and_keeps_head(tmp_path: Path) -> None:
    hosted = tmp_path / "hosted.git"
    git.init_hosted(hosted, HOOK)
    with (hosted / "config").open("a") as file:
        file.write("[receive]\n\tfsckObjects = false\n\tfsckObjects = no\n[core]\n\thooksPath = /tmp/evil\n")
    (hosted / "hooks" / "post-receive").write_text("gone wrong")
    (hosted / "HEAD").write_text("ref: refs/heads/trunk\n")
    git.init_hosted(hosted, HOOK + "# new\n")
    assert config(hosted, "receive.fsckObjects") == ["true"]
    assert config(hosted, "core.hooksPath") == []
    assert config(hosted, "transfer.hideRefs") == ["refs/pushmill"]
    assert (hosted / "hooks" / "post-receive").read_text().endswith("# new\n")
    assert os.access(hosted / "hooks" / "post-receive", os.X_OK)
    assert [file.name for file in (hosted / "hooks").iterdir() if not file.name.startswith("README")] == [
        "post-receive"
    ]
    assert (hosted / "HEAD").read_text() == "ref: refs/heads/trunk\n"


@pytest.mark.parametrize(
    ("branches", "head"), [(["dev", "main"], "main"), (["dev", "master"], "master"), (["b", "a"], "a")]
)
def test_head_of_a_new_repository_follows_its_first_branch(tmp_path: Path, branches: list[str], head: str) -> None:
    hosted = tmp_path / "hosted.git"
    git.init_hosted(hosted, HOOK)
    git.set_head_to_first_branch(hosted)
    assert (hosted / "HEAD").read_text() == "ref: refs/heads/main\n"
    made = MadeRepository(hosted)
    for branch in branches:
        made.commit({"a": b"1"}, ref=f"refs/heads/{branch}")
    git.set_head_to_first_branch(hosted)
    assert (hosted / "HEAD").read_text() == f"ref: refs/heads/{head}\n"
    made.commit({"a": b"1"}, ref="refs/heads/main")
    git.set_head_to_first_branch(hosted)
    assert (hosted / "HEAD").read_text() == f"ref: refs/heads/{head}\n"


@pytest.mark.parametrize(("readable", "head"), [([], "main"), (["b"], "b")])
def test_head_of_a_new_repository_never_follows_a_branch_that_is_not_utf_8(
    tmp_path: Path, readable: list[str], head: str
) -> None:
    hosted = tmp_path / "hosted.git"
    git.init_hosted(hosted, HOOK)
    sha = MadeRepository(hosted).commit({"a": b"1"}, ref="refs/tags/first")
    for branch in (b"a\xff", *map(str.encode, readable)):
        subprocess.run(["git", f"--git-dir={hosted}", "update-ref", b"refs/heads/" + branch, sha], check=True)
    assert git.set_head_to_first_branch(hosted) == head
    assert (hosted / "HEAD").read_text() == f"ref: refs/heads/{head}\n"


def test_a_commit_is_described_in_utc_whatever_its_bytes(made: MadeRepository) -> None:
    first = made.commit({"a": b"1"})
    raw = (
        f"tree {made.git('rev-parse', first + '^{tree}')}\nparent {first}\n".encode()
        + b"author J\xf6rg <j@x> 1700000000 +0200\ncommitter J <j@x> 1700003600 +0200\n\nGr\xfc\xdfe\n"
    )
    second = made.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw)
    info = git.get_commit(made.path, second)
    assert (info.sha, info.parents) == (second, (first,))
    assert info.committed_at == "2023-11-14T23:13:20Z"
    assert (info.author, info.message) == ("J\ufffdrg", "Gr\ufffd\ufffde\n")


def test_a_name_is_a_sha_a_ref_a_branch_or_a_tag_and_never_an_expression(made: MadeRepository) -> None:
    first = made.commit({"a": b"1"})
    second = made.commit({"a": b"2"}, first, message="needle")
    made.git("tag", "-a", "-m", "annotated", "v1", first)
    for name in (second, "main", "refs/heads/main", "HEAD"):
        assert git.resolve(made.path, name) == second
    assert git.resolve(made.path, "v1") == first
    assert git.list_refs(made.path)["refs/tags/v1"] == (made.git("rev-parse", "v1"), first)
    tree = made.git("rev-parse", "main^{tree}")
    for name in (
        "HEAD~1",
        ":/needle",
        "main@{0}",
        second[:10],
        "",
        "--upload-pack=x",
        "../HEAD",
        "config",
        "a\0b",
        tree,
    ):
        assert git.resolve(made.path, name) is None
    for name in ("0" * 40, "0" * 64, "nothing"):
        with pytest.raises(GitError, match="has no commit"):
            git.get_commit(made.path, name)


def test_ancestry_is_false_for_siblings_and_for_what_is_not_here(made: MadeRepository) -> None:
    first = made.commit({"a": b"1"})
    second = made.commit({"a": b"2"}, first)
    sibling = made.commit({"a": b"3"}, first, ref="refs/heads/other")
    assert git.is_ancestor(made.path, first, second)
    assert git.is_ancestor(made.path, second, second)
    assert not git.is_ancestor(made.path, second, first)
    assert not git.is_ancestor(made.path, sibling, second)
    assert not git.is_ancestor(made.path, "0" * 40, second)


def test_a_file_is_read_from_the_objects_and_only_when_it_is_one(made: MadeRepository) -> None:
    text, link = made.blob(b"- step\n"), made.blob(b"/etc/passwd")
    inner = made.tree(("100644", b"valohai.yaml", text))
    tree = made.tree(
        ("40000", b"directory", inner),
        ("120000", b"link.yaml", link),
        ("120000", b"linked", link),
        ("160000", b"sub", "1" * 40),
    )
    sha = made.commit_tree(tree)
    assert git.read_file(made.path, sha, "directory/valohai.yaml", 100) == b"- step\n"
    assert git.read_file(made.path, sha, "valohai.yaml", 100) is None
    assert git.read_file(made.path, sha, "directory/valohai.yaml/x", 100) is None
    for name, why in {
        "link.yaml": "symbolic link",
        "linked/valohai.yaml": "symbolic link",
        "directory": "is a directory",
        "sub": "is a submodule",
        "../../etc/passwd": "not a path",
        "/etc/passwd": "not a path",
        "directory//valohai.yaml": "not a path",
        "a\0b": "not a path",
    }.items():
        with pytest.raises(GitError, match=why):
            git.read_file(made.path, sha, name, 100)
    with pytest.raises(GitError, match="7 bytes large; at most 6 are read"):
        git.read_file(made.path, sha, "directory/valohai.yaml", 6)


def test_a_huge_file_is_refused_without_being_read(made: MadeRepository) -> None:
    huge = made.blob(bytes(300_000_000))
    sha = made.commit_tree(made.tree(("100644", b"valohai.yaml", huge)))
    forget_peak_memory()
    before = peak_memory()
    with pytest.raises(GitError, match="300,000,000 bytes large"):
        git.read_file(made.path, sha, "valohai.yaml", 1_000_000)
    assert peak_memory() - before < 50_000


def forget_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Of this process since it was forgotten, in kB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)


def test_a_pin_is_idempotent_and_wants_a_commit(made: MadeRepository) -> None:
    sha = made.commit({"a": b"1"})
    git.find_commit(made.path, sha, pin=True)
    git.find_commit(made.path, sha, pin=True)
    assert made.git("rev-parse", f"refs/pushmill/{sha}") == sha
    assert "refs/pushmill" not in " ".join(git.list_refs(made.path))
    for wrong in ("0" * 40, "nothing", "-x"):
        assert git.find_commit(made.path, wrong, pin=True) is None


def test_what_is_no_repository_is_an_error_even_inside_one(made: MadeRepository) -> None:
    inside = made.path / "refs"
    for path in (inside, made.path / "absent"):
        with pytest.raises(GitError, match="cannot be used"):
            git.resolve(path, "main")

"""The differences between two commits, also with hostile trees."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_repository import ENVIRONMENT, MadeRepository

from core import git
from core.errors import GitError


@pytest.fixture
def made(tmp_path: Path) -> MadeRepository:
    return MadeRepository(tmp_path / "made.git")


FILES = st.dictionaries(
    st.sampled_from(["a", "b/a", "b/c/a", "b/c/d", "e/a", "é", "x y"]), st.sampled_from([b"1", b"2"]), min_size=1
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(FILES, FILES)
def test_the_changed_paths_are_those_that_git_names(
    made: MadeRepository, old: dict[str, bytes], new: dict[str, bytes]
) -> None:
    one, other = made.commit(old, ref=None), made.commit(new, ref=None)
    said = made.git("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other)
    assert git.list_changed_paths(made.path, one, other, 100) == sorted(filter(None, said.split("\0")))
    assert git.list_changed_paths(made.path, None, other, 100) == sorted(new)


def test_a_directory_that_became_a_file_and_a_mode_that_changed_are_changes(made: MadeRepository) -> None:
    blob = made.blob(b"1")
    one = made.commit({"a/b": b"1", "c": b"1"})
    other = made.commit_tree(made.tree(("100644", b"a", blob), ("100755", b"c", blob)))
    assert git.list_changed_paths(made.path, one, other, 100) == ["a", "a/b", "c"]


def test_over_the_limit_it_cannot_be_told(made: MadeRepository) -> None:
    one, other = made.commit({"a": b"1"}), made.commit({str(i): b"1" for i in range(5)})
    assert git.list_changed_paths(made.path, one, other, 6) is not None
    assert git.list_changed_paths(made.path, one, other, 5) is None


@pytest.mark.parametrize("with_files", [True, False])
def test_trees_that_name_each_other_billions_of_times_are_given_up_soon(made: MadeRepository, with_files: bool) -> None:
    tree = made.tree(("100644", b"f", made.blob(b"1"))) if with_files else made.tree()
    for _ in range(12):
        tree = made.tree(*[("40000", f"d{i}".encode(), tree) for i in range(10)])
    bomb, one = made.commit_tree(tree), made.commit({"a": b"1"})
    begun = time.process_time()
    assert git.list_changed_paths(made.path, one, bomb, 10_000) is None
    assert time.process_time() - begun < 20


def test_trees_that_are_nested_too_deeply_are_given_up(made: MadeRepository) -> None:
    tree = made.tree(("100644", b"f", made.blob(b"1")))
    for _ in range(210):
        tree = made.tree(("40000", b"d", tree))
    assert git.list_changed_paths(made.path, None, made.commit_tree(tree), 10_000) is None


def test_a_merge_base_is_the_newest_commit_of_both(made: MadeRepository) -> None:
    base = made.commit({"a": b"1"})
    one, other = made.commit({"a": b"2"}, base), made.commit({"a": b"3"}, base, ref="refs/heads/x")
    alone = made.commit({"a": b"4"}, ref=None)
    assert git.find_merge_base(made.path, one, "refs/heads/x") == base
    assert git.find_merge_base(made.path, one, alone) is None
    assert git.find_merge_base(made.path, "refs/heads/none", one) is None
    assert git.find_merge_base(made.path, "f" * 40, other) is None


def test_a_commit_that_is_not_here_is_an_error(made: MadeRepository) -> None:
    sha = made.commit({"a": b"1"})
    with pytest.raises(GitError, match="no commit"):
        git.list_changed_paths(made.path, "f" * 40, sha, 100)
    subprocess.run(["git", f"--git-dir={made.path}", "tag", "v1"], env=ENVIRONMENT, check=True)
    assert git.list_changed_paths(made.path, "refs/tags/v1", sha, 100) == []


def test_the_lines_of_a_change_are_counted_and_binary_files_have_none(made: MadeRepository) -> None:
    one = made.commit({"a": b"1\n2\n3\n", "b": b"x\n", "same": b"s\n"}, ref=None)
    other = made.commit({"a": b"1\n3\n4\n5\n", "c": b"\0" * 10, "same": b"s\n"}, ref=None)
    assert git.compute_diff_stat(made.path, one, other) == git.DiffStat(files=3, added=2, removed=2)
    assert git.compute_diff_stat(made.path, None, one) == git.DiffStat(files=3, added=5, removed=0)


def test_a_change_of_too_many_files_is_not_counted(made: MadeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    made_here = made.commit({f"file-{number}": b"1\n" for number in range(5)}, ref=None)
    monkeypatch.setattr("core.git.diff.STAT_FILES", 4)
    assert git.compute_diff_stat(made.path, None, made_here) is None


def test_the_commits_between_two_are_the_newest_of_those_that_only_one_has(made: MadeRepository) -> None:
    base = made.commit({"a": b"1"}, ref=None)
    one = made.commit({"a": b"2"}, base, ref=None)
    other = made.commit({"a": b"3"}, one, ref=None)
    side = made.commit({"a": b"4"}, base, ref=None)
    assert [sha for sha, _ in git.list_commits_between(made.path, base, other, 9) or ()] == [other, one]
    assert [sha for sha, _ in git.list_commits_between(made.path, base, other, 1) or ()] == [other]
    assert [sha for sha, _ in git.list_commits_between(made.path, side, one, 9) or ()] == [one]
    assert git.list_commits_between(made.path, other, base, 9) == []
    assert git.list_commits_between(made.path, "f" * 40, one, 9) is None

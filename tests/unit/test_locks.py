"""A file lock is free as soon as its holder releases it, also if another thread forks a child at that moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from core import locks
from runner import state_dir


@contextmanager
def open_in_a_child(file: Path) -> Iterator[None]:
    """Have the open file that a child process would have between its fork and the execution of its program."""
    [descriptor] = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == file]
    copy = os.dup(descriptor)
    try:
        yield
    finally:
        os.close(copy)


def test_a_lock_is_free_although_a_child_was_forked_while_it_was_held(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with locks.hold(tmp_path / "lock"):
            stack.enter_context(open_in_a_child(tmp_path / "lock"))
        with locks.hold(tmp_path / "lock", wait=False) as ours:
            assert ours


def test_an_execution_is_free_although_a_child_was_forked_while_it_was_held(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with state_dir.locked(tmp_path):
            stack.enter_context(open_in_a_child(tmp_path / "lock"))
        with state_dir.locked(tmp_path) as ours:
            assert ours

"""Verdicts on many pushes or commits, with one or two queries for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.model import Commit
from web.services.presentation import verdict
from web.services.presentation.verdict import Verdict
from web.store import approvals, launched, pushes
from web.store.db import Database
from web.store.launched import RunCount
from web.store.pushes import Push, PushResult


def map_by_push(db: Database, found: Sequence[Push], of: Mapping[int, Commit]) -> dict[int, Verdict]:
    """Return verdicts by push id; `of` has the commits of the pushes by id."""
    runs = launched.count_by_push(db, [push.id for push in found])
    asked = [push.id for push in found if push.result is PushResult.WAITING]
    waiting = approvals.filter_waiting(db, asked) if asked else set()
    return {
        push.id: verdict.judge_push(push, of.get(push.commit_id or 0), runs[push.id], waits=push.id in waiting)
        for push in found
    }


def map_by_commit(
    db: Database, found: Sequence[Commit], others: Mapping[int, Sequence[RunCount]]
) -> dict[int, Verdict]:
    """Return verdicts by commit id: on its newest push, or on the runs in `others` for a commit without one."""
    newest = pushes.map_newest_by_commit(db, [commit.id for commit in found])
    on_push = map_by_push(db, list(newest.values()), {commit.id: commit for commit in found})
    return {
        commit.id: on_push[push.id]
        if (push := newest.get(commit.id))
        else verdict.judge_commit(commit, others[commit.id])
        for commit in found
    }

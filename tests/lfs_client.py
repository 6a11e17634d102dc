"""A working copy whose large files go by the real git-lfs."""

from __future__ import annotations

from instance import Checkout


def track(checkout: Checkout, pattern: str = "*.bin") -> None:
    checkout.git("lfs", "install", "--local")
    checkout.git("config", "lfs.locksverify", "false")
    checkout.git("lfs", "track", pattern)

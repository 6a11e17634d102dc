"""A working copy whose large files are stored by the real git-lfs."""

from __future__ import annotations

from instance import Checkout


def track(checkout: Checkout, pattern: str = "*.bin") -> None:
    checkout.git("lfs", "install", "--local")
    checkout.git("config", "lfs.locksverify", "false")
    checkout.git("lfs", "track", pattern)

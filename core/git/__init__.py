"""Bare git repositories; `core.git.api` lists the functions.

They are imported on first use: pygit2 costs a tenth of a second of processor time, and many commands of the command
line need only `core.git.url`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.git.api import *  # noqa: F403

WITHOUT_PYGIT2 = ("command", "lfs", "url")  # submodules that are imported directly


def __getattr__(name: str) -> Any:
    if name.startswith("__") or name in WITHOUT_PYGIT2:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.api"), name)
    return found

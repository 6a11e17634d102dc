"""The server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoNumpyForSqliteUtils(MetaPathFinder):
    """While sqlite-utils is imported there is no numpy: it comes with optuna, and knowing its types would cost every
    process and command a tenth of a second and 12 MB."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        importing = sys.modules.get("sqlite_utils.db")
        if fullname == "numpy" and importing is not None and not hasattr(importing, "Database"):
            raise ModuleNotFoundError(fullname, name=fullname)


sys.meta_path.insert(0, _NoNumpyForSqliteUtils())

"""The database and the files of the server."""

import sys

# sqlite-utils would import numpy, which is installed for optuna, to know its types: 0.1 s and 12 MB in every process
sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
import sqlite_utils  # noqa: E402, F401

if sys.modules.get("numpy") is None:
    del sys.modules["numpy"]

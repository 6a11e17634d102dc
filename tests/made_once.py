"""What each server of a test would make anew, made once in a process: the database's schema, templates and URL rules."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

from core.config import Config
from web.services import setup
from web.services.setup import FirstStart
from web.store.db import connect
from web.store.schema import migrate


def prepare(config: Config) -> FirstStart:
    """`setup.prepare`, which finds a database of the newest schema, still without rows."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not config.database.exists():
        config.database.write_bytes(_migrated())
    return setup.prepare(config)


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "database"
        db = connect(path)
        migrate(db, path, lambda _: None)
        db.close()
        return path.read_bytes()


class _Templates(BytecodeCache):
    """Compiled templates by the hashes of their names and sources."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self._codes.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


class _Rule(Rule):
    """A URL rule; the functions that build its URLs depend on its text alone."""

    _builders: dict[tuple[str, bool], Callable[..., tuple[str, str]]] = {}  # noqa: RUF012  # shared on purpose

    def _compile_builder(self, append_unknown: bool = True) -> Any:
        if self.defaults or self.subdomain or self.host:
            return super()._compile_builder(append_unknown)
        key = (self.rule, append_unknown)
        if key not in self._builders:
            self._builders[key] = super()._compile_builder(append_unknown)
        return self._builders[key]


Flask.jinja_options = {"bytecode_cache": _Templates()}
Flask.url_rule_class = _Rule

"""What every test server needs, made once per process: the data directory, templates, URL maps, the static version."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Map, Rule, RuleFactory

from core.config import Config, build_config
from web.http import static_files
from web.services import setup


def prepare(config: Config) -> str | None:
    """`setup.prepare`, which copies what another first start has made: all servers of a process have the same keys."""
    if config.database.exists():
        return setup.prepare(config)
    token, files = _first_start(config.runner.name, config.runner.slots)
    for folder in (config.git_dir, config.logs_dir, config.outputs_dir, config.runner_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in files.items():
        with open(config.data / name, "xb", opener=partial(os.open, mode=0o600)) as file:
            file.write(content)
    return token


@functools.cache
def _first_start(name: str, slots: int) -> tuple[str | None, dict[str, bytes]]:
    """The admin's token, and the files of a data directory with a runner of this name."""
    with tempfile.TemporaryDirectory() as folder:
        config = build_config({"runner": {"name": name, "slots": slots}}, Path(folder))
        token = setup.prepare(config)
        files = [path for path in config.data.rglob("*") if path.is_file()]
        return token, {str(path.relative_to(config.data)): path.read_bytes() for path in files}


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
    """A URL rule; what it is compiled to depends on its text alone."""

    _compiled: dict[str, dict[str, Any]] = {}  # noqa: RUF012  # shared on purpose

    def compile(self) -> None:
        if self.defaults or self.subdomain or self.host:
            super().compile()
        elif compiled := self._compiled.get(self.rule):
            vars(self).update(compiled)
        else:
            super().compile()
            names = ("arguments", "_parts", "_trace", "_converters", "_build", "_build_unknown")
            self._compiled[self.rule] = {name: getattr(self, name) for name in names}


class _Map(Map):
    """A URL map, built when it is first used; it takes over what another with the same rules has built."""

    _built: dict[tuple[object, ...], _Map] = {}  # noqa: RUF012  # shared on purpose
    _building = threading.RLock()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._options, self._added = repr((arguments, options)), list[Rule]()

    def add(self, rulefactory: RuleFactory) -> None:
        assert not self._rules_by_endpoint, "the map is in use"
        self._added += rulefactory.get_rules(self)

    def update(self) -> None:
        with self._building:
            if self._added:
                self._build()
            super().update()

    def _build(self) -> None:
        named = [(rule.rule, rule.endpoint, frozenset(rule.methods or ()), repr(rule.defaults)) for rule in self._added]
        key = (self._options, *named)
        if key in self._built:
            vars(self).update({name: getattr(self._built[key], name) for name in ("_matcher", "_rules_by_endpoint")})
            self._remap = False
        else:
            for rule in self._added:
                super().add(rule)
            super().update()
            self._built[key] = self
        self._added = []


Flask.jinja_options = {"bytecode_cache": _Templates()}
Flask.url_rule_class = _Rule
Flask.url_map_class = _Map
static_files._version = functools.cache(static_files._version)

"""Webhooks that forges really sent, from the tests of other projects; `.ci/payloads` downloads them.

`tests/golden/<forge>.json` names each body by its place, the event it was sent as, the repository it tells of and what it
becomes. Those files are written by hand, from the bodies. No body of Gogs or Forgejo is to be had: Gitea's are sent with
their headers as well, and must be understood as theirs.
"""

from __future__ import annotations

import ast
import functools
import json
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hooks.forges.payload import Ignored

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / ".payloads"
GOLDEN = TESTS / "golden"


@dataclass(frozen=True)
class Sent:
    """`becomes` is a list of the moved refs, a pull request, or None when nothing comes of it."""

    forge: str
    place: str
    event: str
    repository: str | None
    becomes: Any

    @property
    def body(self) -> bytes:
        return body(self.place)

    def __str__(self) -> str:
        return f"{self.forge}: {self.place}"


def golden() -> list[Sent]:
    """Every body that has been read by a person; they need not be there."""
    return [
        Sent(file.stem, place, **said)
        for file in sorted(GOLDEN.glob("*.json"))
        for place, said in json.loads(file.read_text()).items()
    ]


def body(place: str) -> bytes:
    """`FILE`, or of a Python module `FILE#CONSTANT`, or of GitHub's examples `FILE#EVENT/NUMBER`."""
    name, _, part = place.partition("#")
    if name.endswith(".py"):
        return _constants(name)[part].encode()
    if not part:
        return (FOLDER / name).read_bytes()
    event, _, number = part.partition("/")
    return json.dumps(examples()[event][int(number)]).encode()


@functools.cache
def examples() -> dict[str, list[Any]]:
    """GitHub's examples by event."""
    return {event["name"]: event["examples"] for event in json.loads((FOLDER / "octokit.json").read_text())}


@functools.cache
def _constants(name: str) -> dict[str, str]:
    """The texts that a module gives names to; it is read, not run."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is older than some of Python's
        module = ast.parse((FOLDER / name).read_text())
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = node.value.value
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(value, str | bytes):
                    found[target.id] = value if isinstance(value, str) else value.decode()
    return found


def shown(found: Any) -> Any:
    """What a parser made of a body, as the golden files say it: without identities and without what is default."""
    if isinstance(found, Ignored):
        return None
    return [_fields(event) for event in found] if isinstance(found, list) else _fields(found)


def _fields(event: Any) -> dict[str, Any]:
    said = {field.name: getattr(event, field.name) for field in fields(event) if field.name != "identity"}
    default = {field.name: field.default for field in fields(event)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in said.items()
        if value != default[name]
    }

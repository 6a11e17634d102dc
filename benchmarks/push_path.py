"""Size of the code that one push runs through, from the webhook's request to an execution in state `created`.

Counts calls of our own functions (neither of libraries nor generated ones), the modules that have them, and the
switches from one module to another, in the thread that answers the webhook and in the one that ingests. The push is
the second one of its project and changes valohai.yaml. It is pushed to this server, or to GitHub, from where (a
directory) it is fetched. "Decisions" are the calls outside `core`, `web.config` and `web.store`. With `--calls` all
calls are printed.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from forge_deliveries import GitHub, Moved, encoded
from instance import Checkout

from core import config as configuration
from core.config import Config
from hooks import signatures
from web.http.app import create_app
from web.services import setup, vault
from web.services.context import Context
from web.services.deliveries import ingest
from web.services.repositories import hosting
from web.store import deliveries, executions, projects
from web.store.db import connect
from web.store.selection import Selection

YAML = "- step:\n    name: {name}\n    image: busybox\n    command: echo hello\n"
ZEROS = "0" * 40
LEAVES = ("core.", "web.config.", "web.store.")


@dataclass
class Recording:
    """Calls in order: depth, module and name."""

    calls: list[tuple[int, str, str]] = field(default_factory=list)
    depth: int = 0
    generators: set[FrameType] = field(default_factory=set)  # that have begun; each `yield` ends in another "call"

    @contextmanager
    def running(self) -> Iterator[None]:
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def show(self, what: str) -> None:
        modules = [module for _, module, _ in self.calls]
        switches = sum(one != other for one, other in itertools.pairwise(modules))
        print(f"  {what:<10} {len(set(modules)):4} modules {len(modules):5} calls {switches:5} switches")
        for depth, module, name in self.calls if "--calls" in sys.argv else ():
            print(f"    {'  ' * depth}{module}:{name}")

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        module, code = str(frame.f_globals.get("__name__")), frame.f_code
        if module.partition(".")[0] not in ("core", "hooks", "web") or code.co_name.startswith("<"):
            return
        if code.co_filename.startswith("<"):
            return  # generated, such as the initialiser of a dataclass
        if event == "call":
            if frame not in self.generators:
                self.calls.append((self.depth, module, code.co_qualname))
            if code.co_flags & inspect.CO_GENERATOR:
                self.generators.add(frame)
            self.depth += 1
        elif event == "return":
            self.depth -= 1


def delivery(forge: str, secret: str, before: str, after: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a webhook that reports a push to main."""
    if forge == "plain":
        lines = ["pushmill-push 2", f"id {secrets.token_hex(8)}", "pusher ada", f"ref {before} {after} refs/heads/main"]
        body = "\n".join([*lines, ""]).encode()
        headers = {"X-Pushmill-Signature-256": signatures.sign(body, secret.encode()), "Prefer": "respond-async"}
        return body, headers
    sender = GitHub()
    sender.secret = secret
    body = encoded(sender.push(Moved(before=before, after=after)))
    return body, sender.headers(body, secrets.token_hex(8))


def measure(config: Config, checkout: Checkout, forge: str) -> None:
    app, db = create_app(config), connect(config.database)
    context = Context(db=db, config=config, vault=vault.load(config.data / "secret.key"))
    hosted = forge == "plain"
    url = None if hosted else f"file://{checkout.folder}"
    made, secret = hosting.add_project(context, forge, 1, forge=projects.HOSTED if hosted else forge, url=url)
    repository = hosting.get_repository(db, made)
    path = hosting.prepare(context, made, repository) if hosted else None
    before = ZEROS
    for name in ("first", "second"):
        after = checkout.commit({"valohai.yaml": YAML.format(name=f"{forge}-{name}")})
        if path is not None:
            checkout.git("push", "-q", "--receive-pack=git -c core.hooksPath=/dev/null receive-pack", str(path), "main")
        body, headers = delivery(forge, secret, before, after)
        before, request, ingesting = after, Recording(), Recording()
        client = app.test_client()
        with request.running():
            answer = client.post(f"/hooks/{made.name}/{forge}", data=body, headers=headers)
        with ingesting.running():
            ingest.ingest_repository(context, repository.id)
        newest = executions.search(db, Selection(projects=[made.id]))[0]
        if answer.status_code != 202 or [one.step for one in newest[:1]] != [f"{forge}-{name}"]:
            (told,) = deliveries.list_deliveries(db, made.id, limit=1)
            raise RuntimeError(f"nothing was launched: {answer.get_data(as_text=True)} {told.message}")
    print(f"A push {'to this server' if hosted else f'to {forge}'}")
    request.show("request")
    ingesting.show("ingest")
    both = [*request.calls, *ingesting.calls]
    Recording(both).show("together")
    Recording([call for call in both if not call[1].startswith(LEAVES)]).show("decisions")
    db.close()


def main() -> None:
    logging.disable()  # Redis is away
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        config = configuration.load(top / "data", git__allow_local=True, redis__url="unix:///nonexistent")
        setup.prepare(config)
        for forge in ("plain", "github"):
            measure(config, Checkout(top / forge), forge)


if __name__ == "__main__":
    main()

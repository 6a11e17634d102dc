"""A server with a project whose repository is on a fake forge, from pushes to statuses."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from fake_forge import FakeForge
from forge_deliveries import GitHub, Request, encoded
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository

from core import clock
from core.model import Execution
from core.states import FailureReason, State
from web.services.forges import publisher, statuses
from web.services.forges.publisher import Publisher
from web.services.repositories import credentials
from web.store import deliveries, executions, metadata, projects
from web.store import outbox as lines
from web.store.db import execute, fetch_row, fetch_rows, transaction
from web.store.deliveries import Received
from web.store.outbox import OutboxKind

URL = "https://pushmill.example.org"
SHORT_GAPS = {OutboxKind.STATUS: 0.05, OutboxKind.COMMENT: 0.05}  # else each test would wait for a second
WAY = {  # how an execution comes to where it is moved
    State.QUEUED: [State.QUEUED],
    State.STARTED: [State.QUEUED, State.STARTED],
    State.STOPPED: [State.QUEUED, State.STARTED, State.STOPPED],
    State.COMPLETE: [State.QUEUED, State.STARTED, State.COMPLETE],
    State.ERROR: [State.QUEUED, State.STARTED, State.ERROR],
}


class ToldForge:
    """Git's part of the forge is a bare repository on the disk; its API is the fake's."""

    def __init__(self, root: Path, forge: FakeForge, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
        for kind, gap in SHORT_GAPS.items():
            monkeypatch.setitem(lines.GAP_S, kind, gap)
        monkeypatch.setattr(publisher, "FIRST_PAUSE_S", 0.05)
        self.forge, self.checkout = forge, checkout
        self.server = PushServer(root / "server", server__url=URL, git__allow_local=True)
        self.db = self.server.db
        self.path = bare_repository(root / "ada" / "model.git")
        self.server.add_project("model", forge.kind, str(self.path))
        self.teller = Publisher(self.server.config, self.server.vault)
        execute(self.db, "UPDATE repository SET full_name = ?", (forge.full_name,))
        credentials.set_api_url(self.db, self.repository, forge.api_url)
        self.set_token(forge.token)

    @property
    def repository(self) -> Any:
        return projects.list_repositories(self.db, projects.get_by_name(self.db, "model").id)[0]

    def set_token(self, token: str) -> None:
        credentials.set_token(self.server.context, self.repository, token)

    def close(self) -> None:
        self.forge.leaving.set()
        self.teller.close()
        self.server.close()

    def push(self, *steps: str, files: dict[str, str] | None = None, message: str = "work", ref: str = "main") -> str:
        """Commit and push these steps, ingest the forge's delivery, and return the commit."""
        text = "".join(
            f"- step:\n    name: {json.dumps(name, ensure_ascii=False)}\n    image: busybox\n    command: run\n"
            for name in steps
        )
        before = self.checkout.git("rev-parse", "-q", "--verify", "HEAD", check=False).stdout.strip() or "0" * 40
        sha = self.checkout.commit({"valohai.yaml": text} if files is None else files, message)
        self.checkout.git("push", "-q", "-f", str(self.path), f"HEAD:refs/heads/{ref}")
        self.deliver(before, sha, f"refs/heads/{ref}")
        return sha

    def deliver(self, before: str, after: str, ref: str) -> None:
        body = f"pushmill-push 1\nid {uuid.uuid4()}\nref {before} {after} {ref}\n".encode()
        deliveries.store(self.db, Received(self.repository.id, "poll", "push", body=body), str(uuid.uuid4()))
        self.server.drain()

    def ask(self, request: Request, action: str = "opened") -> str:
        """Ingest a delivery of GitHub about a pull request; return the outcome."""
        self.checkout.git("push", "-q", "-f", str(self.path), f"{request.sha}:refs/pull/{request.number}/head")
        event, said = GitHub().pull_request(request, action)
        body, name = encoded(said), str(uuid.uuid4())
        headers = GitHub().headers(body, name, event)
        headers = {key.lower(): value for key, value in headers.items()}
        deliveries.store(self.db, Received(self.repository.id, "github", event, headers, body), name)
        self.server.drain()
        return self.server.deliveries("model")[-1].message

    def execution(self, step: str) -> Execution:
        """Return the newest execution of a step."""
        return [execution for execution in self.server.executions("model") if execution.step == step][-1]

    def move(self, step: str, to: State, reason: FailureReason | None = None, **more: Any) -> Execution:
        """Move the newest execution of a step, as reports of a runner do."""
        execution = self.execution(step)
        states = [None, *WAY[to]]
        at = states.index(execution.state) + 1 if execution.state in states else 1
        for state in states[at:]:
            columns = more if state is to else {}
            if state is State.STARTED:
                columns = {"lease_expires_at": clock.add_to_now(3600)} | columns  # else a sweep takes it back
            with transaction(self.db):
                executions.transition(
                    self.db, execution, state, failure_reason=reason if state is to else None, columns=columns
                )
            execution = self.execution(step)
        return execution

    def printed(self, step: str, **values: Any) -> None:
        with transaction(self.db):
            metadata.add(self.db, self.execution(step).id, [(0, values)])

    def tell(self) -> None:
        """Tick until nothing is due."""
        wait_for(lambda: self.tick() and not self.due())

    def tick(self) -> bool:
        """Run one sweep; return whether no thread works after it."""
        self.teller.tick(self.db)
        return not self.teller._threads.busy()

    def due(self) -> int:
        return lines.count_waiting(self.db, self.repository.id)

    def shown(self, sha: str) -> dict[str, tuple[str, str]]:
        return self.forge.shown(sha)

    def states(self, sha: str) -> dict[str, str]:
        return {name: state for name, (state, _) in self.shown(sha).items()}

    def wanted(self, sha: str) -> dict[str, str]:
        """Return the statuses that the forge should show, in its own words."""
        api = credentials.load_access(self.server.context, self.repository)
        assert api is not None
        commit = self.server.commit("model", sha)
        found = statuses.list_wanted(self.server.context, self.repository, commit)
        return {one.context: api.api.STATES[one.state] for one in found}

    def line(self, sha: str) -> dict[str, Any]:
        found = fetch_row(self.db, "SELECT * FROM outbox WHERE subject = ?", (sha,))
        assert found is not None
        return found

    def problems(self) -> list[str]:
        sql = "SELECT context || ': ' || problem AS said FROM commit_status WHERE problem <> ''"
        return [found["said"] for found in fetch_rows(self.db, sql)]

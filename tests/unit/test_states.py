"""Whatever happens to executions in whatever order, states follow the table of transitions, and final ones stay."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from core import clock
from core.config import Config
from core.errors import Conflict, IllegalTransition
from core.model import Execution, Runner
from core.states import FINAL, UNFINISHED, FailureReason, State
from core.transitions import TRANSITIONS, check_transition
from core.wire import STREAMS, FinalReport, LogBatch
from web.services import setup, vault
from web.services.context import Context
from web.services.executions import lifecycle
from web.services.scheduling.dispatch import dispatch, hand_over_again
from web.services.scheduling.queues import Queues
from web.store import commits, executions, projects, runners, users
from web.store.commits import NewCommit
from web.store.db import Database, connect, execute, transaction

SLOTS = {"one": 2, "two": 1}
DEVICES = {"one": 1, "two": 2}
QUOTA = 4  # of the project
MANY = 6  # executions at most


@pytest.mark.parametrize("current", State)
@pytest.mark.parametrize("to", State)
def test_the_table_is_the_only_way_and_error_alone_has_a_reason(current: State, to: State) -> None:
    for reason in (None, FailureReason.INTERNAL):
        if (current, to) in TRANSITIONS and (to is State.ERROR) == (reason is not None):
            check_transition(current, to, failure_reason=reason)
        else:
            with pytest.raises(IllegalTransition, match=to):
                check_transition(current, to, failure_reason=reason)


def test_nothing_leads_out_of_an_end_and_one_way_leads_back() -> None:
    assert not [move for move in TRANSITIONS if move[0] in FINAL]
    assert {(a, b) for a, b in TRANSITIONS if (b, a) in TRANSITIONS} == {
        (State.QUEUED, State.STARTED), (State.STARTED, State.QUEUED)
    }  # fmt: skip
    check_transition(State.STARTED, State.QUEUED)
    with pytest.raises(IllegalTransition, match="container"):
        check_transition(State.STARTED, State.QUEUED, container_started=True)


def make_template(folder: Path) -> Config:
    """A data directory with two runners and a commit."""
    config = Config(data=folder)
    setup.prepare(config)
    db = connect(config.database)
    with transaction(db):
        admin = users.find_by_name(db, "admin")
        assert admin is not None
        project = projects.add(db, "demo", admin.id)
        repository = projects.add_repository(db, project.id, forge=projects.HOSTED, url=None, secret=b"")
        commits.upsert_commit(
            db,
            NewCommit(
                project_id=project.id,
                repository_id=repository.id,
                identifier=hashlib.sha1(b"").hexdigest(),
                ref="main",
                message="",
                author="",
                committed_at=clock.now(),
                yaml_path="valohai.yaml",
                config_state="ok",
                config=[],
                problems=[],
            ),
        )
        for name, slots in SLOTS.items():
            gpus = [{"uuid": f"GPU-{name}-{number}"} for number in range(DEVICES[name])]
            runners.record_heartbeat(db, runners.add(db, name, name, ["default"]), slots, {"gpus": gpus})
        execute(db, "UPDATE project SET max_executions = ?", (QUOTA,))
    db.close()
    return config


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "data"
    make_template(folder)
    return folder


WHO = st.sampled_from(["holder"] * 6 + sorted(SLOTS))
WHICH = st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5])  # of the executions, counted round
ATTEMPT = st.sampled_from([0] * 6 + [-1, 1])  # beside the present one
LATE_S = st.sampled_from([1.0, 50.0, 3 * 3600.0])
REPORT = st.sampled_from(
    [(State.COMPLETE, None, 0), (State.STOPPED, None, None)]
    + [(State.ERROR, reason, 1) for reason in (FailureReason.COMMAND_FAILED, FailureReason.RUNNER_LOST)]
)


class Executions(RuleBasedStateMachine):
    """Runners, people and the sweep do things in any order; some of them lie about who they are or come late."""

    folder: Path  # of the template

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp())
        shutil.copytree(self.folder, self.data, dirs_exist_ok=True)
        config = Config(data=self.data)
        self.db: Database = connect(config.database)
        self.context = Context(db=self.db, config=config, vault=vault.load(self.data / "secret.key"))
        self.queues = Queues(Redis.from_url("redis://127.0.0.1:1/0"))
        self.uuids: list[str] = []
        self.before: dict[str, Execution] = {}
        self.ended: dict[str, Any] = {}

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.data)

    @initialize()
    def begin(self) -> None:
        """Two are started, one is placed and one waits for a slot."""
        for _ in range(4):
            self.create()
        self.dispatch()
        self.claim_what_is_placed(0)
        self.claim_what_is_placed(1)

    @precondition(lambda self: len(self.uuids) < MANY)
    @rule(gpus=st.sampled_from([0, 0, 1, 2]), priority=st.integers(0, 1), autorestart=st.booleans())
    def create(self, gpus: int = 0, priority: int = 0, autorestart: bool = False) -> None:
        values = {
            "project_id": 1, "commit_id": 1, "step": "train", "image": "i", "commands": [], "parameters": {},
            "inputs": {}, "environment_variables": {}, "environment": "default", "creator_id": 1,
            "gpus": gpus, "priority": priority, "autorestart": autorestart,
        }  # fmt: skip
        with transaction(self.db):
            self.uuids.append(executions.add(self.db, values).uuid)

    @rule()
    def dispatch(self) -> None:
        dispatch(self.context, self.queues)

    @rule(late=st.booleans())
    def hand_over_again(self, late: bool) -> None:
        if late:
            with transaction(self.db):
                execute(self.db, "UPDATE execution SET placed_at = ? WHERE state = 'queued'", (in_seconds(-60),))
        hand_over_again(self.db, self.queues)

    @rule(who=st.sampled_from(sorted(SLOTS)), online=st.booleans())
    def fall_silent_or_come_back(self, who: str, online: bool) -> None:
        with transaction(self.db):
            sql = "UPDATE runner SET last_seen_at = ? WHERE name = ?"
            execute(self.db, sql, (in_seconds(0 if online else -3600), who))

    @rule(who=WHO, which=WHICH, beside=ATTEMPT, resume=st.booleans())
    def claim(self, who: str, which: int, beside: int, resume: bool) -> None:
        execution, attempt, runner = self._aim(which, beside, who)
        held = self._holds(runner, execution, attempt)
        placed = execution.state is State.QUEUED and (execution.runner_id, execution.attempt) == (
            runner.id, attempt
        )  # fmt: skip
        allowed = held if resume else placed
        try:
            lifecycle.claim(self.context, runner, execution.uuid, attempt, resume=resume)
        except Conflict:
            assert not allowed
        else:
            assert allowed

    @rule(which=WHICH)
    def claim_what_is_placed(self, which: int) -> None:
        execution, attempt, runner = self._aim(which, 0, "holder")
        if execution.state is State.QUEUED and execution.runner_id is not None:
            lifecycle.claim(self.context, runner, execution.uuid, attempt, resume=False)

    @rule(who=WHO, which=WHICH, beside=ATTEMPT)
    def start_container(self, who: str, which: int, beside: int) -> None:
        execution, attempt, runner = self._aim(which, beside, who)
        with self._refused_unless_held(runner, execution, attempt):
            lifecycle.record_container(
                self.db, runner, execution.uuid, attempt, lifecycle.StartedContainer(id="container", image_digest=None)
            )

    @rule(who=WHO, which=WHICH, beside=ATTEMPT)
    def heartbeat(self, who: str, which: int, beside: int) -> None:
        execution, attempt, runner = self._aim(which, beside, who)
        with self._refused_unless_held(runner, execution, attempt):
            lifecycle.extend(self.db, runner, execution.uuid, attempt)

    @rule(who=WHO, which=WHICH, beside=ATTEMPT, start=st.integers(0, 6), stream=st.sampled_from(STREAMS))
    def log(self, who: str, which: int, beside: int, start: int, stream: str) -> None:
        execution, attempt, runner = self._aim(which, beside, who)
        batch = LogBatch(attempt=attempt, stream=stream, start=start, end=start + 2, first_us=0, last_us=0)
        with self._refused_unless_held(runner, execution, attempt):
            lifecycle.append_log(self.context, runner, execution.uuid, batch, b"x\n")

    @rule(who=WHO, which=WHICH, beside=ATTEMPT, report=REPORT, start=st.integers(0, 6))
    def finish(
        self, who: str, which: int, beside: int, report: tuple[State, FailureReason | None, int | None], start: int
    ) -> None:
        execution, attempt, runner = self._aim(which, beside, who)
        state, reason, exit_code = report
        status = [start, start + 2, 0, 0, "x\n"] if start else []
        message = FinalReport(attempt=attempt, state=state, failure_reason=reason, exit_code=exit_code, status=status)
        again = (execution.state, execution.failure_reason, execution.exit_code) == report and (
            execution.runner_id, execution.attempt
        ) == (runner.id, attempt)  # fmt: skip
        try:
            lifecycle.finish(self.context, runner, execution.uuid, message)
        except Conflict:
            assert not again
            assert not self._holds(runner, execution, attempt)
        else:
            assert again or self._holds(runner, execution, attempt)

    @rule(which=WHICH)
    def stop(self, which: int) -> None:
        execution = self._execution(which)
        found = lifecycle.request_stop(self.context, execution.uuid, "admin")
        assert found.state in FINAL or found.status == "stopping"

    @rule(which=WHICH, late_s=LATE_S, swept=st.booleans())
    def let_the_lease_run_out(self, which: int, late_s: float, swept: bool) -> None:
        execution = self._execution(which)
        with transaction(self.db):
            sql = "UPDATE execution SET lease_expires_at = ? WHERE uuid = ? AND state = 'started'"
            execute(self.db, sql, (in_seconds(-late_s), execution.uuid))
        if swept:
            self.recover()

    @rule()
    def recover(self) -> None:
        lifecycle.recover(self.context)
        for execution in executions.list_in_states(self.db, State.STARTED):
            lasts = (execution.lease_expires_at or "") > clock.now()
            assert lasts or execution.container_id is not None

    @rule(who=st.sampled_from(sorted(SLOTS)), knows=st.sets(st.integers(0, MANY - 1)))
    def come_back_with(self, who: str, knows: set[int]) -> None:
        runner = runners.find_by_name(self.db, who)
        assert runner is not None
        present = {self._execution(which).uuid for which in knows}
        lifecycle.reconcile_runner(self.context, runner, present)
        for execution in executions.list_started_on(self.db, runner.id):
            assert execution.uuid in present or (execution.lease_expires_at or "") > clock.now()

    @rule(which=WHICH, luck=st.integers(0, 4))
    def fail(self, which: int, luck: int) -> None:
        execution = self._execution(which)
        if luck == 0 and execution.state in UNFINISHED:
            with transaction(self.db):
                lifecycle.fail(self.context, execution, FailureReason.INTERNAL, "our fault")

    @invariant()
    def history_is_a_chain_of_legal_moves_that_ends_in_the_present(self) -> None:
        for uuid in self.uuids:
            execution = executions.get_by_uuid(self.db, uuid)
            changes = executions.list_state_changes(self.db, execution.id)
            assert (changes[0].from_state, changes[0].to_state) == (None, State.CREATED)
            for earlier, later in pairwise(changes):
                assert later.from_state is earlier.to_state
                assert (later.from_state, later.to_state) in TRANSITIONS
            assert changes[-1].to_state is execution.state

    @invariant()
    def ends_are_kept_and_numbers_only_grow(self) -> None:
        for uuid in self.uuids:
            now, before = executions.get_by_uuid(self.db, uuid), self.before.get(uuid)
            if before is not None and before.state in FINAL:
                assert now == before
            if before is not None:
                assert now.attempt >= before.attempt
                assert now.stop_count >= before.stop_count
                assert before.container_id is None or now.container_id == before.container_id
            self.before[uuid] = now

    @invariant()
    def every_row_is_one_that_its_state_allows(self) -> None:
        for execution in (executions.get_by_uuid(self.db, uuid) for uuid in self.uuids):
            final = execution.state in FINAL
            assert (execution.ended_at is not None) == final
            assert (execution.failure_reason is not None) == (execution.state is State.ERROR)
            assert (execution.lease_expires_at is not None) == (execution.state is State.STARTED)
            if execution.state is State.STARTED:
                assert execution.runner_id is not None
                assert execution.started_at is not None
                assert execution.attempt > 0
            if execution.state in (State.CREATED, State.QUEUED):
                assert execution.stop_requested_at is None
                assert execution.container_id is None

    @invariant()
    def no_runner_has_more_than_its_slots_and_devices(self) -> None:
        load = runners.map_load(self.db)
        for runner in runners.list_runners(self.db):
            taken = load.get(runner.id, runners.NO_LOAD)
            assert taken.slots <= runner.slots
            assert taken.devices <= DEVICES.get(runner.name, 0)

    @invariant()
    def no_more_are_queued_or_started_than_the_quota_allows(self) -> None:
        assert len(executions.list_in_states(self.db, State.QUEUED, State.STARTED)) <= QUOTA

    def _execution(self, which: int) -> Execution:
        return executions.get_by_uuid(self.db, self.uuids[which % len(self.uuids)])

    def _aim(self, which: int, beside: int, who: str) -> tuple[Execution, int, Runner]:
        """Who reports for what, on which attempt."""
        execution = self._execution(which)
        return execution, execution.attempt + beside, self._runner(who, execution)

    def _runner(self, who: str, execution: Execution) -> Runner:
        """The runner of that name; `holder` is the one that the execution was placed on."""
        found = runners.find_by_name(self.db, "one" if who == "holder" else who)
        if who == "holder" and execution.runner_id is not None:
            found = runners.get(self.db, execution.runner_id)
        assert found is not None
        return found

    def _holds(self, runner: Runner, execution: Execution, attempt: int) -> bool:
        return (execution.state, execution.runner_id, execution.attempt) == (State.STARTED, runner.id, attempt)

    def _refused_unless_held(self, runner: Runner, execution: Execution, attempt: int) -> Any:
        return nullcontext() if self._holds(runner, execution, attempt) else pytest.raises(Conflict)


def in_seconds(seconds: float) -> str:
    return clock.format_moment(datetime.now(UTC) + timedelta(seconds=seconds))


def test_any_order_of_events_keeps_the_promises(template: Path) -> None:
    Executions.folder = template
    bounded = settings(max_examples=100, stateful_step_count=50, report_multiple_bugs=False)
    run_state_machine_as_test(Executions, settings=bounded)

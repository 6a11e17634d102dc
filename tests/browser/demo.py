"""Fill a data directory like a team's server after some weeks, through the functions that the server uses.

PYTHONPATH=tests python tests/browser/demo.py DIRECTORY       then: pushmill up --data DIRECTORY
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import by_hand
import demo_files
import demo_groups
import demo_history
import orjson

from core import clock
from core.config import Config, build_config
from core.groups import Pipeline, Task
from core.model import Commit, EventKind, Execution, Project, PullRequestEvent, PushEvent, Runner, User
from core.wire import FinalReport, LogBatch
from web.config.steps.parse import parse
from web.config.steps.resolve import resolve
from web.services import setup, vault
from web.services.context import Context
from web.services.executions import environments, lifecycle
from web.services.repositories import hosting
from web.store import approvals, commits, data, deliveries, logs, projects, pull_requests, pushes, runners, usage, users
from web.store import executions as execution_rows
from web.store.commits import NewCommit
from web.store.db import Database, connect, execute, transaction
from web.store.deliveries import DeliveryState, Received
from web.store.pull_requests import PullRequest
from web.store.pushes import NewPush, PushOutcome, PushResult

YAML = b"""
- step:
    name: train
    description: Fit the segmentation model
    category: Models
    image: pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime
    command:
      - pip install -r requirements.txt
      - python train.py {parameters}
    parameters:
      - {name: learning_rate, type: float, default: 0.001, min: 0, max: 1, description: "After the warm-up of two epochs"}
      - {name: batch_size, type: integer, default: 64, min: 1}
      - {name: epochs, type: integer, default: 40}
      - {name: optimizer, type: string, default: adamw, choices: [adamw, lion, sgd]}
      - {name: augment, type: flag, default: true, category: Augmentation, description: Rotate and deform tiles}
      - {name: scales, type: float, multiple: separate, optional: true, category: Augmentation}
    inputs:
      - {name: dataset, default: ["https://data.example.org/cells.tar", "https://data.example.org/labels.csv"]}
      - {name: weights, optional: true}
    environment-variables:
      - {name: OMP_NUM_THREADS, default: "8"}
    time-limit: 6h
- step:
    name: preprocess
    image: python:3.12-slim
    command: python preprocess.py {parameters}
    parameters:
      - {name: size, type: integer, default: 224}
- step:
    name: evaluate
    image: python:3.12-slim
    command: python evaluate.py {parameters}
    parameters:
      - {name: threshold, type: float, default: 0.5}
"""
YAML += demo_groups.YAML
RULES = """\
[[rule]]
name = "main"
branches = ["main", "release/*"]
paths = ["src/**", "valohai.yaml", "!**/*.md"]
steps = ["train", "evaluate"]
environment = "rtx"
priority = 10
parameters = { epochs = 80, optimizer = "lion" }
cancel_older = true

[[rule]]
name = "quick look"
branches = ["*", "!docs"]
steps = ["preprocess"]

[[rule]]
name = "nightly"
schedule = "0 3 * * *"
timezone = "Europe/Helsinki"
steps = ["train"]
parameters = { epochs = 400 }
"""
MESSAGES = (
    "Warm up the learning rate over two epochs",
    "Fix the validation split\n\nThe seed was not passed on, so two workers saw the same cells.",
    "Mixed precision", "Augment with elastic deformation", "Larger batches, cosine decay", "Read labels in one go",
    "Drop the second head", "Weight the loss by class frequency", "Evaluate on the held-out plates", "Tidy up",
    "Log gradient norms", "Pin the data version", "Smaller stem for 64 px tiles", "Early stopping on recall",
)  # fmt: skip
PEOPLE = ("Ada Lovelace", "Tim Menzies", "Noor Aziz")
PLAIN_LINES = 100_000
PROBLEM = "line 4: unknown key 'comand', did you mean 'command'?"
TRACE = (
    "Traceback (most recent call last):",
    '  File "preprocess.py", line 41, in <module>',
    "    tile = read(path)",
    "\x1b[31mFileNotFoundError\x1b[0m: plate-17/0041.tif",
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What tests look for: `long` has 100,000 lines and five keys of 600 points, `live` runs on, held by `runner`.

    The `task` and the `pipeline` go on too; a node of it waits for approval.
    """

    config: Config
    token: str
    project: Project
    long: Execution
    live: Execution
    failed: Execution
    queued: Execution
    broken: Commit
    foreign: Commit
    runner: Runner
    delivery: int
    task: Task
    pipeline: Pipeline


class Filling:
    def __init__(self, directory: Path, executions: int = 200, **sections: Any) -> None:
        settings = {"redis": {"url": "redis://127.0.0.1:1/0"}} | sections
        self.config = build_config(settings, directory)
        self.token = setup.prepare(self.config) or (directory / "admin-token").read_text().strip()
        self.db: Database = connect(self.config.database)
        self.key = vault.load(directory / "secret.key")
        self.context = Context(db=self.db, config=self.config, vault=self.key)
        admin = users.find_by_name(self.db, "admin")
        assert admin is not None
        self.admin: User = admin
        self.random = random.Random(7)
        self.executions = executions
        self.now = datetime.now(UTC)

    def fill(self) -> Demo:
        runner = self._runners()
        project = self._project("cells", "Segmentation of fluorescence microscopy tiles")
        before, after, renamed = self._rules(project)
        self._project("spirals", "The example of the first start")
        self._elsewhere("attic-models")
        found = self._weeks(project, runner, before)
        broken = self._commit(project, "Rename steps", 0.02, state="broken", problems=(PROBLEM,), identifier=renamed)
        with transaction(self.db):
            push = self._push(project, broken, "refs/heads/rename")
            pushes.finish_push(self.db, push, PushOutcome(commit_id=broken.id, text="", result=PushResult.NOTHING))
        foreign = self._foreign(project)
        commit = self._commit(project, MESSAGES[0], 0.01, identifier=after)
        with transaction(self.db):
            push = self._push(project, commit, "refs/heads/main")
            skipped = [("evaluate", "input model has no default and is not optional")]
            pushes.finish_push(self.db, push, PushOutcome(commit_id=commit.id, text="3 executions", skipped=skipped))
        long = self._long(project, commit, runner, push)
        failed = self._failed(commit, runner, push)
        live = self._live(commit, runner, push)
        queued = self._launch(commit, "train", {"learning_rate": 0.0003}, push)
        with transaction(self.db):
            execute(self.db, "UPDATE execution SET environment = 'a100' WHERE id = ?", (queued.id,))
            logs.log_status(self.db, self.config.logs_dir, queued, "Waiting for a runner of a100")
        delivery = self._deliveries(project, commit, push)
        groups = demo_groups.Groups(
            db=self.db, context=self.context, project=project, commit=commit, push=push, runner=runner, admin=self.admin,
            start=self.start, now=self.now,
        )  # fmt: skip
        task, pipeline = groups.task(), groups.pipeline()
        assert len(found) <= self.executions
        self.db.close()
        return Demo(
            config=self.config, token=self.token, project=project, long=long, live=live, failed=failed, queued=queued,
            broken=broken, foreign=foreign, runner=runner, delivery=delivery, task=task, pipeline=pipeline,
        )  # fmt: skip

    def _rules(self, project: Project) -> list[str]:
        """Rules with a schedule, and a real repository for the dry run: see demo_history."""
        environments.change(self.db, "rtx", {"gpus": 1})
        projects.set_rules(self.db, project.id, RULES)
        path = hosting.get_repository_path(self.config, projects.list_repositories(self.db, project.id)[0])
        return demo_history.make(path, YAML, (self._message(self._past_commits - 1), MESSAGES[0]))

    def _runners(self) -> Runner:
        """Runners: one with many GPUs, one that drains and has a problem, one offline, one that never connected."""
        machine = {"version": "0.1.0", "docker_version": "27.5.1", "cpu_count": 32, "memory_bytes": 256 * 2**30}
        here: dict[str, Any] = machine | {"load": 11.42, "free_disk_bytes": 812 * 2**30, "driver_version": "570.86.15"}
        a100 = [
            {"uuid": f"GPU-{uuid.UUID(int=n + 1)}", "name": "NVIDIA A100-SXM4-80GB", "memory_bytes": 80 * 2**30}
            for n in range(8)
        ]
        rtx = [{"uuid": "GPU-8", "name": "NVIDIA GeForce RTX 4090", "memory_bytes": 24 * 2**30}]
        problem = "GPU 1 fell off the bus: restart this machine"
        fleet: dict[str, tuple[list[str], dict[str, Any]]] = {
            "gpu-1": (["default", "rtx"], here | {"gpus": a100}),
            "gpu-2": (["default"], here | {"gpus": rtx, "clock_off_s": -75.0, "problems": [problem]}),
            "attic": (["default"], here),
            "old-box": (["legacy"], {}),
        }
        with transaction(self.db):
            for name, (environments, info) in fleet.items():
                known = runners.find_by_name(self.db, name)
                row = known.id if known else runners.add(self.db, name, f"pm_demo_{name}", environments)
                if info:
                    runners.record_heartbeat(self.db, row, 4, info)
                runners.set_draining(self.db, row, name == "gpu-2")
            lost_at = clock.format_moment(self.now - timedelta(hours=3))
            execute(self.db, "UPDATE runner SET last_seen_at = ? WHERE name = 'attic'", (lost_at,))
        runner = runners.find_by_name(self.db, "gpu-1")
        assert runner is not None
        return runner

    def _project(self, name: str, description: str) -> Project:
        with transaction(self.db):
            project = projects.add(self.db, name, self.admin.id, description)
            secret = self.key.encrypt(b"demo")
            projects.add_repository(self.db, project.id, forge=projects.HOSTED, url=None, secret=secret)
            projects.set_badge_public(self.db, project.id, True)
        return project

    def _elsewhere(self, name: str) -> None:
        """A project that is fetched over ssh, whose fetch fails at the moment."""
        url = "git@git.an-organisation-with-a-long-name.example.org:research/attic-models.git"
        project, _ = hosting.add_project(self.context, name, self.admin.id, forge="gitlab", url=url)
        repository = projects.list_repositories(self.db, project.id)[0]
        projects.set_polled(self.db, repository.id)
        projects.set_fetch_problem(self.db, repository.id, f"{url}: git: Permission denied (publickey).")

    def _commit(
        self,
        project: Project,
        message: str,
        days_ago: float,
        *,
        state: str = "ok",
        problems: tuple[str, ...] = (),
        identifier: str = "",
    ) -> Commit:
        parsed = parse(YAML)
        at = clock.format_moment(self.now - timedelta(days=days_ago))
        with transaction(self.db):
            commit = commits.upsert_commit(
                self.db,
                NewCommit(
                    project_id=project.id,
                    repository_id=projects.list_repositories(self.db, project.id)[0].id,
                    identifier=identifier or hashlib.sha1(f"{message}{days_ago}".encode()).hexdigest(),
                    ref="main" if state == "ok" else "rename",
                    message=message,
                    author=self.random.choice(PEOPLE),
                    committed_at=at,
                    yaml_path="valohai.yaml",
                    config_state=state,
                    config=parsed.config if state == "ok" else None,
                    problems=problems or parsed.problems,
                ),
            )
            execute(self.db, "UPDATE git_commit SET created_at = ? WHERE id = ?", (at, commit.id))
        return commit

    def _foreign(self, project: Project) -> Commit:
        """The head of a fork's pull request, which waits for approval."""
        commit = self._commit(project, "Train on the plates of our lab, too", 0.03)
        repository = projects.list_repositories(self.db, project.id)[0]
        request = PullRequestEvent(
            number=31, sha=commit.identifier, title="Plates of another lab " * 8, author="somebody-else",
            url="https://forge.example.org/ada/cells/pull/31", head_branch="plates/" + "x" * 90, base_branch="main",
            from_fork=True,
        )  # fmt: skip
        with transaction(self.db):
            kept = pull_requests.save(self.db, repository.id, request, commit.identifier, commit.committed_at)
            push = self._push(project, commit, "refs/pull/31/head", kept)
            waits = PushOutcome(commit_id=commit.id, text=approvals.WAITS, result=PushResult.WAITING)
            pushes.finish_push(self.db, push, waits)
        return commit

    def _push(self, project: Project, commit: Commit, ref: str, request: PullRequest | None = None) -> int:
        repository = projects.list_repositories(self.db, project.id)[0]
        event = PushEvent(
            kind=EventKind.PULL_REQUEST if request else EventKind.PUSH,
            ref=ref,
            before="0" * 40,
            after=commit.identifier,
            pusher="ada",
            message=commit.message,
            identity=str(uuid.uuid4()),
        )
        push = pushes.add_push(
            self.db,
            NewPush(
                repository_id=repository.id,
                event=event,
                pull_request_id=request.id if request else None,
            ),
        )
        assert push is not None
        execute(self.db, "UPDATE push SET created_at = ? WHERE id = ?", (commit.committed_at, push))
        return push

    def _launch(self, commit: Commit, step: str, parameters: dict[str, Any], push: int | None) -> Execution:
        with transaction(self.db):
            project = projects.get(self.db, commit.project_id)
            resolved = resolve(commit.config, step, parameters=parameters)
            execution = by_hand.execution(self.context, project, commit, resolved, self.admin, push_id=push)
            lifecycle.queue(self.db, execution)
        return execution_rows.get(self.db, execution.id)

    def start(self, execution: Execution, runner: Runner, gpus: int = 0) -> None:
        with transaction(self.db):
            sql = "UPDATE execution SET runner_id = ?, attempt = 1, placed_at = ? WHERE id = ?"
            execute(self.db, sql, (runner.id, clock.now(), execution.id))
        lifecycle.claim(self.context, runner, execution.uuid, 1, resume=False)
        digest = "sha256:" + hashlib.sha256(execution.image.encode()).hexdigest()
        devices = [f"GPU-{uuid.UUID(int=number + 1)}" for number in range(gpus)]
        lifecycle.record_container(
            self.db,
            runner,
            execution.uuid,
            1,
            lifecycle.StartedContainer(id="c0ffee", image_digest=digest, devices=devices),
        )

    def _use(self, execution: Execution, runner: Runner, began_s: float, lasted_s: float, gpus: int) -> None:
        """Add samples of resource usage, as a runner takes them, from `began_s` ago on."""
        first_us = int((self.now.timestamp() - began_s) * 1e6)
        for number in range(int(lasted_s / 10)):
            busy = self.random.uniform(0.9, 1) if number % 40 > 1 else 0.1  # between epochs it waits for data
            values = {"cpu": 6 * busy, "memory": 2**30 * (9 + 5 * (1 - math.exp(-number / 30)))}
            for gpu in range(gpus):
                values[f"gpu:{gpu}"] = round(100 * busy * (1 - gpu / 40))
                values[f"gpu_memory:{gpu}"] = 2**30 * (61 + gpu + busy)
            at = first_us + (2 + 10 * number) * 1_000_000
            samples = [usage.Sample(time_us=at, series=series, value=value) for series, value in values.items()]
            lifecycle.add_usage(self.db, runner, execution.uuid, 1, samples)

    @property
    def _past_commits(self) -> int:
        return -(-(self.executions - 4) // 6)

    def _message(self, number: int) -> str:
        """The message of a commit of the past."""
        return MESSAGES[(number + 1) % len(MESSAGES)]

    def _weeks(self, project: Project, runner: Runner, newest: str) -> list[Execution]:
        """The past: commits with their executions, newest last; `newest` is the name of the last commit."""
        found: list[Execution] = []
        wanted = self.executions - 4
        for i in range(wanted):
            if i % 6 == 0:
                days = 21 * (1 - i / wanted) + 0.1
                identifier = newest if i // 6 == self._past_commits - 1 else ""
                commit = self._commit(project, self._message(i // 6), days, identifier=identifier)
                with transaction(self.db):
                    push = self._push(project, commit, "refs/heads/main")
                    pushes.finish_push(self.db, push, PushOutcome(commit_id=commit.id, text="6 executions"))
            days -= 0.004
            found.append(
                self._past(commit, runner, push, days, "train" if i % 3 else ("preprocess", "evaluate")[i % 2])
            )
        return found

    def _past(self, commit: Commit, runner: Runner, push: int, days: float, step: str) -> Execution:
        rate = self.random.choice((0.003, 0.001, 0.0003, 0.0001))
        parameters = {"train": {"learning_rate": rate, "batch_size": self.random.choice((32, 64, 128))}}.get(step, {})
        execution = self._launch(commit, step, parameters, push)
        ending = self.random.choices(("complete", "error", "stopped"), (84, 11, 5))[0]
        if ending == "stopped" and self.random.random() < 0.3:
            lifecycle.request_stop(self.context, execution.uuid, "ada")
        else:
            self.start(execution, runner)
            if step == "train":
                self._print(execution, runner, "stdout", [self._metadata(epoch, rate) for epoch in range(40)])
            lines = ["epoch 40 done in 11.8 s", "saved /valohai/outputs/model.pt"]
            self._print(execution, runner, "stderr", lines)
            reason = self.random.choice(("command_failed", "out_of_memory")) if ending == "error" else None
            said = {
                "command_failed": "Command 2 of 2 exited with 1: `python train.py`",
                "out_of_memory": "Killed at its limit of 16 GiB",
            }
            self._finish(execution, runner, ending, reason, said.get(reason or ""))
        self._age(execution, days, self.random.uniform(40, 9000))
        return execution

    def _finish(
        self, execution: Execution, runner: Runner, state: str, reason: str | None = None, said: str | None = None
    ) -> None:
        code = 0 if state == "complete" else 1
        report = FinalReport(attempt=1, state=state, failure_reason=reason, message=said, exit_code=code)
        lifecycle.finish(self.context, runner, execution.uuid, report)

    def _metadata(self, epoch: int, rate: float) -> bytes:
        t = epoch / 40
        loss = 0.9 * math.exp(-3 * t * (1 + 400 * rate)) + 0.05 + self.random.gauss(0, 0.01)
        values = {"epoch": epoch, "loss": loss, "accuracy": 1 - loss / 2, "recall": 0.95 - loss / 3}
        return orjson.dumps({key: round(value, 4) for key, value in values.items()})

    def _age(self, execution: Execution, days: float, lasted_s: float) -> None:
        created = self.now - timedelta(days=days)
        started = created + timedelta(seconds=2)
        ended = min(started + timedelta(seconds=lasted_s), self.now)
        sql = (
            "UPDATE execution SET created_at = ?, queued_at = ?, started_at = CASE WHEN started_at IS NULL THEN NULL ELSE ? END,"
            " ended_at = ?, stages = ? WHERE id = ?"
        )
        times = [clock.format_moment(moment) for moment in (created, created, started, ended)]
        with transaction(self.db):
            execute(self.db, sql, (*times, _stages(started, upload=min(lasted_s, 9) / 3), execution.id))

    def _print(self, execution: Execution, runner: Runner, stream: str, lines: list[bytes] | list[str]) -> None:
        encoded = [line.encode() if isinstance(line, str) else line for line in lines]
        say(self.context, execution, runner, stream, b"".join(line + b"\n" for line in encoded))

    def _long(self, project: Project, commit: Commit, runner: Runner, push: int) -> Execution:
        """100,000 lines of output with colours, progress bars, a few oddities, outputs and dense metadata."""
        execution = self._launch(commit, "train", {"learning_rate": 0.001}, push)
        self.start(execution, runner, gpus=8)
        self._use(execution, runner, 0.12 * 86400 - 2, 7623, gpus=8)
        self._print(execution, runner, "status", ["Command 1 of 2: pip install -r requirements.txt"])
        self._print(execution, runner, "stdout", ["Collecting torch==2.6.0", "Successfully installed torch-2.6.0"])
        self._print(
            execution, runner, "status", ["Command 2 of 2: python train.py --learning_rate=0.001 --batch_size=64"]
        )
        for block in range(PLAIN_LINES // 500):
            self._print(execution, runner, "stdout", list(self._training(block)))
            if block % 10 == 9:
                warning = f"\x1b[33mwarning\x1b[0m: worker {block % 8} was late by {self.random.randint(20, 900)} ms"
                self._print(execution, runner, "stderr", [warning])
        self._print(
            execution, runner, "stdout", ["saved \x1b[36m/valohai/outputs/model.pt\x1b[0m", "\x1b[1;32mdone\x1b[0m"]
        )
        self._output(execution, "model.pt", b"weights", 97_400_000)
        self._output(execution, "confusion.png", demo_files.picture())
        self._output(execution, "predictions/held-out.csv", demo_files.table())
        self._output(execution, "sonar.wav", demo_files.sound())
        self._output(execution, "report.html", b"<h1>Report</h1><script>alert(1)</script>\n")
        self._output(execution, "settings.json", b'{"size": 224, "scales": [0.5, 1, 2]}')
        self._finish(execution, runner, "complete")
        self._age(execution, 0.12, 7623)
        return execution

    def _training(self, block: int) -> list[str]:
        lines = []
        for i in range(500):
            batch = block * 500 + i
            if i % 166 == 165:
                t = batch / PLAIN_LINES
                lines.append(orjson.dumps(self._dense(batch, t)).decode())
            elif i % 50 == 0:
                lines.append(f"  1%|\r 50%|#####     |\r100%|##########| {batch}/{PLAIN_LINES} [00:12<00:00]")
            else:
                colour = 32 if i % 3 else 90
                speed = f"loss {self.random.random():.4f}  {self.random.uniform(190, 240):.1f} tiles/s"
                lines.append(f"\x1b[{colour}mbatch {batch:>6}\x1b[0m  {speed}")
        return lines

    def _dense(self, batch: int, t: float) -> dict[str, Any]:
        noise = self.random.gauss
        loss = 0.85 * math.exp(-4 * t) + 0.08 + abs(noise(0, 0.015))
        val_loss = 0.9 * math.exp(-3.4 * t) + 0.12 + 0.05 * t + abs(noise(0, 0.02))
        grad_norm = 2 * math.exp(-2 * t) + abs(noise(0, 0.2)) + (9 if self.random.random() < 0.006 else 0)
        return {
            "step": batch, "loss": loss, "val_loss": val_loss, "accuracy": 1 - loss * 0.8 + noise(0, 0.004),
            "recall": 0.97 - 0.6 * math.exp(-5 * t) + noise(0, 0.008), "grad_norm": grad_norm,
        }  # fmt: skip

    def _output(self, execution: Execution, name: str, content: bytes, size: int = 0) -> None:
        """Add an output; `size` fills its content up with zeros."""
        size = size or len(content)
        datum = str(uuid.uuid4())
        path = data.get_path(self.config.outputs_dir, datum)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.truncate(size)
        digest = hashlib.sha256(f"{name}{size}".encode()).hexdigest()
        with transaction(self.db):
            data.add(
                self.db,
                execution.project_id,
                execution.id,
                {"uuid": datum, "name": name, "size": size, "sha256": digest, "sha1": "", "md5": ""},
            )

    def _failed(self, commit: Commit, runner: Runner, push: int) -> Execution:
        execution = self._launch(commit, "preprocess", {"size": 512}, push)
        self.start(execution, runner)
        self._print(execution, runner, "stderr", list(TRACE))
        said = "Command 1 of 1 exited with 1: `python preprocess.py --size=512`"
        self._finish(execution, runner, "error", "command_failed", said)
        self._age(execution, 0.01, 14)
        return execution

    def _live(self, commit: Commit, runner: Runner, push: int) -> Execution:
        execution = self._launch(commit, "train", {"learning_rate": 0.003, "batch_size": 128}, push)
        self.start(execution, runner, gpus=2)
        self._use(execution, runner, 205, 205, gpus=2)
        lifecycle.set_detail(self.db, runner, execution.uuid, 1, "Epoch 17 of 40, learning rate 0.003")
        self._print(execution, runner, "status", ["Command 1 of 2: pip install -r requirements.txt"])
        self._print(execution, runner, "stdout", ["Successfully installed torch-2.6.0 torchvision-0.21.0"])
        self._print(
            execution, runner, "status", ["Command 2 of 2: python train.py --learning_rate=0.003 --batch_size=128"]
        )
        for epoch in range(17):
            seconds = f"{self.random.uniform(11, 13):.1f} s"
            self._print(execution, runner, "stdout", [f"\x1b[1mepoch {epoch + 1}/40\x1b[0m  \x1b[32m{seconds}\x1b[0m"])
            self._print(execution, runner, "stdout", [self._metadata(epoch, 0.003)])
            if epoch % 7 == 6:
                late = f"\x1b[33mwarning\x1b[0m: worker {epoch % 8} was late by {self.random.randint(20, 900)} ms"
                self._print(execution, runner, "stderr", [late])
        self._output(execution, "confusion.png", demo_files.picture(2.5))
        sql = "UPDATE execution SET created_at = ?, queued_at = ?, started_at = ?, stages = ? WHERE id = ?"
        times = [clock.format_moment(self.now - timedelta(seconds=seconds)) for seconds in (207, 207, 205)]
        with transaction(self.db):
            execute(self.db, sql, (*times, _stages(self.now - timedelta(seconds=205)), execution.id))
        return execution

    def _deliveries(self, project: Project, commit: Commit, push: int) -> int:
        """Add a delivery of every kind, the newest last; return the row of the one that reported `push`."""
        broken = (DeliveryState.FAILED, f"the repository has no such commit as {'5' * 40}")
        self._delivery(project, "ping", DeliveryState.IGNORED, "ping: the webhook works")
        self._delivery(
            project,
            "push",
            DeliveryState.DONE,
            "refs/heads/rename: configuration is not valid",
            after=commit.identifier,
        )
        self._delivery(project, "push", *broken)
        done = self._delivery(
            project, "push", DeliveryState.DONE, "refs/heads/main: 3 executions", after=commit.identifier
        )
        waits = self._delivery(project, "push", DeliveryState.STORED, "", after=commit.identifier)
        with transaction(self.db):
            execute(self.db, "UPDATE push SET delivery_id = ? WHERE id = ?", (done, push))
            deliveries.store_again(self.db, waits - 2)
            message = "The signature is not valid: the webhook has another secret than this project."
            headers = {
                "x-github-event": "push",
                "x-hub-signature-256": "(removed)",
                "user-agent": "GitHub-Hookshot/044aadd",
            }
            repository = projects.list_repositories(self.db, project.id)[0]
            deliveries.refuse(self.db, project.id, Received(repository.id, "github", "push", headers), "wrong", message)
        delivery = deliveries.get(self.db, waits)
        assert delivery is not None
        deliveries.postpone(
            self.db, delivery, "cannot fetch: https://github.com/ada/cells.git: git: connection timed out"
        )
        return done

    def _delivery(self, project: Project, event: str, state: DeliveryState, message: str, after: str = "5" * 40) -> int:
        payload = {
            "ref": "refs/heads/main", "before": "4" * 40, "after": after, "pusher": {"name": "ada", "email": "ada@example.org"},
            "repository": {"full_name": "ada/cells", "clone_url": "https://ada:word@github.com/ada/cells.git"},
            "hook": {"config": {"content_type": "json", "secret": "********"}},
            "head_commit": {"id": after, "message": MESSAGES[0], "modified": ["train.py", "valohai.yaml"]},
        }  # fmt: skip
        headers = {
            "content-type": "application/json", "user-agent": "GitHub-Hookshot/044aadd", "x-github-event": event,
            "x-github-delivery": str(uuid.uuid4()), "x-hub-signature-256": "(removed)",
        }  # fmt: skip
        (repository,) = projects.list_repositories(self.db, project.id)
        received = Received(repository.id, "github", event, headers, orjson.dumps(payload))
        row, _ = deliveries.store(self.db, received, headers["x-github-delivery"])
        if state is not DeliveryState.STORED:
            deliveries.finish(self.db, row, state, message)
        return row


def say(context: Context, execution: Execution, runner: Runner, stream: str, text: bytes) -> None:
    """Send lines of one stream as the runner of the live execution would."""
    start = logs.get_length(context.db, execution).acknowledged[stream]
    now = time.time_ns() // 1000
    batch = LogBatch(attempt=1, stream=stream, start=start, end=start + len(text), first_us=now, last_us=now + 1)
    lifecycle.append_log(context, runner, execution.uuid, batch, text)


def _stages(started: datetime, **more: float) -> str:
    """The seconds of each stage: the image was cached, and the inputs took longest."""
    run_at = clock.format_moment(started + timedelta(seconds=4.2))
    return orjson.dumps({"pull": 0.6, "checkout": 0.2, "inputs": 4.1, "run_at": run_at, **more}).decode()


def fill(directory: Path, executions: int = 200, **sections: Any) -> Demo:
    return Filling(directory, executions, **sections).fill()


if __name__ == "__main__":
    demo = fill(Path(sys.argv[1]).absolute())
    print(f"log in as admin with {demo.token}; #{demo.long.counter} is long, #{demo.live.counter} runs")

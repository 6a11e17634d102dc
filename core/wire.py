"""Messages between the server and a runner over HTTP, below `/api/runner/`: JSON except for log and output bytes.

Every call carries `Authorization: Token <runner token>`; calls about one execution also carry its attempt, so that a
runner that has lost the lease gets 409 and lets go. Unknown keys are ignored, missing ones are an error.

A claim takes a queued execution; with `resume` true it returns the spec of a started one to its holder again. A preview
is an unfinished line, which the next one replaces. `stage_s` are the seconds that each of PREPARING took; they run at
the same time.

    POST heartbeat                           RunnerReport            → RunnerOrders
    POST executions/<uuid>/claim             {attempt, resume}       → ExecutionSpec | 409
    POST executions/<uuid>/heartbeat         {attempt}               → LeaseOrders | 409
    POST executions/<uuid>/container         {attempt, container_id, image_digest, devices, stage_s} → {} | 409
    POST executions/<uuid>/usage             {attempt, samples: [[time_us, series, value], …]} → {} | 409
    POST executions/<uuid>/detail            {attempt, status_detail} → {} | 409
    POST executions/<uuid>/log?LogBatch      lines                   → {"acknowledged": spool bytes} | 409 with the same
    POST executions/<uuid>/preview           {attempt, stream, start, text} → {} | 409
    POST executions/<uuid>/sources           {attempt}               → SourcesReport | 409
    GET  executions/<uuid>/lfs/<oid>?attempt= (Range)                → bytes | 409; a Git LFS object of its repository
    GET  executions/<uuid>/data/<uuid>?attempt=  (Range)             → bytes | 409; an output used as input
    PUT  executions/<uuid>/outputs/<uuid>?attempt=&name=  bytes      → {"sha256": hex} | 409
    POST executions/<uuid>/final             FinalReport             → {} | 409
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from core.errors import InvalidInput

# delimit what a step's script writes to its output streams between two commands (web.config.steps.shell_script)
MARK_BEGIN, MARK_END = "\x02pushmill ", "\x03\n"
JOB = "runner.jobs.execute"  # the only function that a runner's queue may name; arguments: execution uuid, attempt
STREAMS = ("stdout", "stderr", "status")
PREPARING = ("pull", "checkout", "inputs")  # stages before the container starts


Amount = TypeVar("Amount", int, float)


def choose_stricter_limit(one: Amount, other: Amount) -> Amount:
    """Return the smaller of two limits; 0 means no limit."""
    return min(one, other) if one and other else one or other


class Message:
    """Base class of the messages: `to_dict` for JSON, `from_dict` whose errors name missing keys."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        if not isinstance(data, Mapping):
            raise InvalidInput(f"{cls.__name__}: expected a JSON object, got {type(data).__name__}")
        try:
            return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})  # type: ignore[arg-type]
        except TypeError as error:
            raise InvalidInput(f"{cls.__name__}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class InputSpec(Message):
    """One declared input: `urls` in order; an empty list means an empty directory."""

    name: str
    urls: list[str]
    filename: str | None = None
    keep_directories: str = "none"
    on_demand: bool = False


@dataclass(frozen=True, kw_only=True)
class DatumSpec(Message):
    """An output of an earlier execution used as an input of this one; `name` is its path below /valohai/outputs."""

    uuid: str
    name: str
    size: int
    md5: str
    sha1: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ExecutionSpec(Message):
    """Everything that a runner needs to run one execution.

    `script` is the shell script that runs the step's commands; `commands` are the same commands after interpolation,
    for the status lines. `config` is the content of execution.json. `log_bytes` is the size stored per stream, half of
    it from the beginning. `data` are the outputs that `datum://` URLs of the inputs name, as far as the execution may
    read them. `memory` (bytes) and `cpus` are the limits of step and environment, 0 for none; `gpus` is a number of
    whole devices. `secrets` names the environment variables whose values must not be shown. `mounts` are those that the
    environment allows, each {source, destination, readonly}. `network` is "open" or "none", `pull` "missing" or
    "always". `server_us` is the server's clock.
    """

    uuid: str
    counter: int
    attempt: int
    project_uuid: str
    project_name: str
    commit_identifier: str
    step: str
    image: str
    script: str
    commands: list[str]
    parameters: dict[str, Any]
    inputs: list[dict[str, Any]]
    environment_variables: dict[str, str] = field(repr=False)
    config: dict[str, Any]
    time_limit_s: float | None
    no_output_limit_s: float | None
    log_bytes: int
    output_bytes: int
    output_count: int
    stop_grace_s: float
    memory: int = 0
    cpus: float = 0.0
    gpus: int = 0
    secrets: list[str] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    network: str = "open"
    pull: str = "missing"
    data: list[dict[str, Any]] = field(default_factory=list)
    server_us: int = 0

    def secret_values(self) -> list[str]:
        return [self.environment_variables[name] for name in self.secrets if name in self.environment_variables]

    def input_specs(self) -> list[InputSpec]:
        return [InputSpec.from_dict(item) for item in self.inputs]

    def datum_specs(self) -> dict[str, DatumSpec]:
        """Return the data by uuid."""
        found = [DatumSpec.from_dict(item) for item in self.data]
        return {datum.uuid: datum for datum in found}


@dataclass(frozen=True, kw_only=True)
class LeaseOrders(Message):
    """Response to an execution's heartbeat. `stop` is "" | "stop" | "kill"; the lease lasts `lease_s` from now.

    `acknowledged` is the number of spool bytes that the server has stored, per stream. `server_us` is the server's
    clock.
    """

    stop: str
    lease_s: float
    acknowledged: dict[str, int]
    server_us: int = 0


@dataclass(frozen=True, kw_only=True)
class SourcesReport(Message):
    """Submodules and Git LFS objects of an execution's commit: `state` is "wanted", "ready" or "failed".

    `message` is the progress of the fetch. `missing` and `skipped` are lists of [path, reason]; skipped submodules stay
    empty directories and skipped Git LFS files stay pointers.
    """

    state: str
    message: str = ""
    missing: list[list[str]] = field(default_factory=list)
    skipped: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LogBatch(Message):
    """Whole lines of one stream, from spool bytes `start` to `end`, printed between `first_us` and `last_us`.

    `skipped` bytes before `start` are omitted: beyond the first half of a stream's limit, only the newest part is sent
    if the stream is too fast.
    """

    attempt: int
    stream: str
    start: int
    end: int
    first_us: int
    last_us: int
    skipped: int = 0


@dataclass(frozen=True, kw_only=True)
class FinalReport(Message):
    """Result of an execution. `state` is a final state; `failure_reason` is set exactly when it is `error`.

    `upload_s` are the seconds between the end of its container and this report. `status` are the last status lines of
    the log as [start, end, first_us, last_us, text], as in a LogBatch; empty if there are none.
    """

    attempt: int
    state: str
    failure_reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    upload_s: float | None = None
    status: list[Any] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RunnerReport(Message):
    """A runner's own heartbeat.

    `executions` are those in its directory; an execution that it holds by lease but does not list is lost. `clock_us`
    is its clock. `info` is for people: version, docker_version, driver_version, cpu_count, memory_bytes, load,
    free_disk_bytes, gpus: [{uuid, name, memory_bytes}], problems: [sentence].
    """

    slots: int
    info: dict[str, Any]
    executions: list[str] = field(default_factory=list)
    clock_us: int = 0


@dataclass(frozen=True, kw_only=True)
class RunnerOrders(Message):
    """Response to a runner's heartbeat: a `draining` runner finishes its executions and gets no new ones.

    `heartbeat_s` is the time until the next heartbeat is due; it grows with the number of runners.
    """

    draining: bool = False
    heartbeat_s: float = 5.0

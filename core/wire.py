"""What the server and a runner say to each other over HTTP, below `/api/runner/`. JSON but for log and output bytes.

Every call carries `Authorization: Token <runner token>`; calls about one execution also name its attempt, so that a
runner whose lease was given away gets 409 and lets go. Unknown keys are ignored, missing ones are an error.

    A claim takes a queued execution; with `resume` true it answers the spec of a started one again to its holder.

    POST heartbeat                           RunnerReport            → RunnerOrders
    POST executions/<uuid>/claim             {attempt, resume}       → ExecutionSpec | 409
    POST executions/<uuid>/heartbeat         {attempt}               → LeaseOrders | 409
    POST executions/<uuid>/container         {attempt, container_id, image_digest, devices} → {} | 409
    POST executions/<uuid>/usage             {attempt, samples: [[time_us, series, value], …]} → {} | 409
    POST executions/<uuid>/detail            {attempt, status_detail} → {} | 409
    POST executions/<uuid>/log?LogBatch      lines                   → {"acknowledged": spool bytes} | 409 with the same
    POST executions/<uuid>/preview           {attempt, stream, start, text} → {} | 409; an unfinished line, replaced by the next
    POST executions/<uuid>/sources           {attempt}               → SourcesReport | 409
    GET  executions/<uuid>/lfs/<oid>?attempt= (Range)                → bytes | 409; a Git LFS object of its repository
    GET  executions/<uuid>/data/<uuid>?attempt=  (Range)             → bytes | 409; an output that an input of it names
    PUT  executions/<uuid>/outputs/<uuid>?attempt=&name=  bytes      → {"sha256": hex} | 409
    POST executions/<uuid>/final             FinalReport             → {} | 409
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from core.errors import InvalidInput

# around what a step's script writes into its output streams between two commands (web.config.steps.script)
MARK_BEGIN, MARK_END = "\x02pushmill ", "\x03\n"
JOB = "runner.jobs.execute"  # the one function that a runner's queue may name; arguments: execution uuid, attempt
STREAMS = ("stdout", "stderr", "status")


Amount = TypeVar("Amount", int, float)


def tighter(one: Amount, other: Amount) -> Amount:
    """The smaller of two limits; 0 is no limit."""
    return min(one, other) if one and other else one or other


class Message:
    """Shared shape of the messages: `to_dict` for JSON, `from_dict` that names what is missing."""

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
    """An output of an earlier execution that is an input of this one: `name` is where it lay below /valohai/outputs."""

    uuid: str
    name: str
    size: int
    md5: str
    sha1: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ExecutionSpec(Message):
    """All that a runner needs to run one execution.

    `script` is the shell script that runs the step's commands; `commands` are the same commands after interpolation,
    for the status lines. `config` is the content of execution.json. `log_bytes` is what is kept of each stream, half
    of it of its beginning.
    `data` are the outputs that `datum://` URLs of the inputs name, as far as it may read them.
    `memory` (bytes) and `cpus` are the limits of step and environment, 0 for none; `gpus` is a number of whole devices.
    `secrets` names those environment variables whose values must not be shown. `mounts` are those that the environment
    allows, each {source, destination, readonly}. `network` is "open" or "none", `pull` "missing" or "always".
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

    def secret_values(self) -> list[str]:
        return [self.environment_variables[name] for name in self.secrets if name in self.environment_variables]

    def input_specs(self) -> list[InputSpec]:
        return [InputSpec.from_dict(item) for item in self.inputs]

    def datum_specs(self) -> dict[str, DatumSpec]:
        """By uuid."""
        found = [DatumSpec.from_dict(item) for item in self.data]
        return {datum.uuid: datum for datum in found}


@dataclass(frozen=True, kw_only=True)
class LeaseOrders(Message):
    """The answer to an execution's heartbeat. `stop` is "" | "stop" | "kill"; the lease lasts `lease_s` from now.

    `acknowledged` gives, per stream, how many spool bytes the server has stored. `server_us` is the server's clock.
    """

    stop: str
    lease_s: float
    acknowledged: dict[str, int]
    server_us: int = 0


@dataclass(frozen=True, kw_only=True)
class SourcesReport(Message):
    """Submodules and Git LFS objects of an execution's commit: `state` is "wanted", "ready" or "failed".

    `message` says how far fetching is. `missing` and `skipped` are lists of [path, reason]; what was skipped stays an empty
    directory or a pointer.
    """

    state: str
    message: str = ""
    missing: list[list[str]] = field(default_factory=list)
    skipped: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LogBatch(Message):
    """Whole lines of one stream. They came from spool bytes `start` to `end` and were printed between `first_us` and `last_us`.

    `skipped` bytes before `start` are left out: of a stream past the first half of its limit only the newest part is sent when it
    comes too fast.
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
    """How an execution ended. `state` is a final state; `failure_reason` is set exactly when it is `error`."""

    attempt: int
    state: str
    failure_reason: str | None = None
    message: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunnerReport(Message):
    """A runner's own heartbeat.

    `executions` are those that its directory has; one that it holds by lease and does not name is lost. `clock_us` is
    its clock. `info` is for people: version, docker_version, driver_version, cpu_count, memory_bytes, load,
    free_disk_bytes, gpus: [{uuid, name, memory_bytes}], problems: [sentence].
    """

    slots: int
    info: dict[str, Any]
    executions: list[str] = field(default_factory=list)
    clock_us: int = 0


@dataclass(frozen=True, kw_only=True)
class RunnerOrders(Message):
    """The answer to a runner's heartbeat: with `draining` it finishes what it has and gets nothing new.

    `heartbeat_s` is when the next one is due: the more runners there are, the later.
    """

    draining: bool = False
    heartbeat_s: float = 5.0

"""The objects that API v0 returns, which `serialize` makes: type checks compare both, `openapi` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from core.model import Origin
from core.states import FailureReason, State

Time = Annotated[str, Meta(description="UTC, such as 2026-11-22T23:39:11.095815Z.")]
Uuid = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Status = Annotated[str, Meta(extra_json_schema={"enum": [*State, "stopping"]})]
Numbered = Annotated[int, Meta(description="Number within the project, from 1.")]


class User(TypedDict):
    """A user."""

    id: int
    username: str
    email: str
    first_name: str
    last_name: str


class UserName(TypedDict):
    """A user, by id and name."""

    id: int
    username: str


class Urls(TypedDict):
    """Addresses of an object: `display` is its page."""

    display: str
    stop: NotRequired[str]
    display_repository: NotRequired[str]


class Name(TypedDict):
    """A run, by id and number."""

    id: Uuid
    counter: Numbered


class Project(TypedDict):
    """A project."""

    id: Uuid
    name: str
    description: str
    owner: UserName
    ctime: Time
    mtime: Time
    url: str
    urls: Urls
    yaml_path: str


class Variable(TypedDict):
    """A variable of a project; `value` is null if it is secret."""

    value: str | None
    secret: bool


class Where(TypedDict):
    """The address of a repository, and its default branch."""

    url: str
    ref: str


class ProjectDetail(Project):
    """A project with its variables, and the number of its executions by state."""

    read_only: bool
    tags: list[str]
    default_environment: str
    default_store: None
    upload_store_id: None
    repository: Where | None
    environment_variables: dict[str, Variable]
    execution_summary: dict[str, int]
    execution_count: int
    running_execution_count: int
    queued_execution_count: int
    enabled_endpoint_count: int


class ProjectName(TypedDict):
    """A project, by id and name."""

    id: Uuid
    name: str


class Repository(Where):
    """Where the commits of a project come from."""

    id: int
    project: ProjectName


class Commit(TypedDict):
    """A commit of a project. The identifier of ad-hoc code is `~` and the SHA-256 of its package."""

    identifier: str
    ref: str
    ref_names: list[str]
    adhoc: bool
    commit_time: str
    ctime: Time
    description: str
    repository: int
    project_id: Uuid
    yaml_path: str
    has_config: bool
    url: str
    urls: Urls
    config: NotRequired[Annotated[Any, Meta(description="The content of valohai.yaml, with `include=config`.")]]


class CommitLine(TypedDict):
    """A commit as a line of a table."""

    identifier: str
    ref: str
    commit_time: str
    description: str
    adhoc: bool


class Environment(TypedDict):
    """A kind of machine. `id` is null if it was removed since."""

    id: Uuid | None
    name: str
    slug: str
    enabled: bool
    description: NotRequired[str]
    owner: NotRequired[None]
    gpu_spec: NotRequired[str]
    has_gpu: NotRequired[bool]
    per_hour_price_usd: NotRequired[str]
    per_user_queue_quota: NotRequired[int]
    unfinished_job_count: NotRequired[int]
    type: NotRequired[str]
    provider: NotRequired[None]
    supports_priority: NotRequired[bool]
    url: NotRequired[str]


class Change(TypedDict):
    """A value that was given instead of that of valohai.yaml; "" means that there is none."""

    name: str
    before: str
    after: str


class Execution(TypedDict):
    """One run of one step."""

    id: Uuid
    counter: Numbered
    status: Status
    status_detail: str | None
    failure_reason: FailureReason | None
    failure_message: str | None
    exit_code: int | None
    title: str
    step: str
    origin: Origin
    client: Annotated[str, Meta(description="The program that launched it, such as `vh`.")]
    changed: list[Change]
    task: Name | None
    pipeline: Name | None
    tags: NotRequired[list[str]]
    deleted: bool
    priority: int
    ctime: Time
    mtime: Time
    end_time: Time | None
    duration: Annotated[float | None, Meta(description="Seconds from its start to its end, or to now.")]
    image: str
    project: Project
    commit: Commit
    environment: Environment
    creator_id: str
    creator_name: str
    parameters: Mapping[str, Any]
    cumulative_metadata: NotRequired[
        Annotated[Mapping[str, Any], Meta(description="The latest value of each metadata key.")]
    ]
    n_outputs: int
    url: str
    urls: Urls


class Input(TypedDict):
    """An input of an execution with its files."""

    id: Uuid
    name: str
    urls: list[str]


class Datum(TypedDict):
    """A file: an output of an execution, or an upload."""

    id: Uuid
    name: str
    size: Annotated[int, Meta(description="Bytes.")]
    ctime: Time
    file_ctime: Time
    file_mtime: Time
    uri: None
    purged: Annotated[bool, Meta(description="Whether the content was deleted.")]
    md5: str
    sha1: str
    sha256: str
    store: None
    tags: list[str]
    metadata: dict[str, Any]
    project: Uuid
    output_execution: Name | None
    aliases: list[str]


class RuntimeConfig(TypedDict):
    """How an execution runs."""

    autorestart: bool


class ExecutionDetail(Execution):
    """One run of one step, with its inputs and outputs. `exclude` leaves out fields that are not required."""

    command: str
    interpolated_command: str
    inputs: NotRequired[list[Input]]
    environment_variables: NotRequired[dict[str, str]]
    runtime_config: RuntimeConfig
    outputs: NotRequired[list[Datum]]
    metadata: NotRequired[list[Any]]
    events: NotRequired[list[Any]]


class Group(TypedDict):
    """What tasks and pipelines have in common."""

    id: Uuid
    counter: Numbered
    status: Status
    title: str
    name: str
    origin: Origin
    client: str
    changed: list[Change]
    message: str
    project: Uuid
    commit: str
    creator: UserName
    tags: list[str]
    deleted: bool
    priority: int
    ctime: Time
    mtime: Time
    end_time: Time | None
    url: str
    urls: Urls


class Task(Group):
    """A search: executions of one step with varied parameters."""

    type: str
    step: str
    pipeline: Name | None
    status_summary: dict[str, int]
    n_executions: int


class Pipeline(Group):
    """A graph of executions and tasks."""


class Node(TypedDict):
    """A node of a pipeline with its current run."""

    id: Uuid
    name: str
    type: str
    status: State
    message: str
    execution: Name | None
    task: Name | None


class PipelineDetail(Pipeline):
    """A graph of executions and tasks, with its nodes."""

    parameters: dict[str, Any]
    nodes: list[Node]


class Alias(TypedDict):
    """A name for a file, which can be moved to another one."""

    id: Uuid
    name: str
    datum: Datum
    ctime: Time
    mtime: Time
    project: Uuid

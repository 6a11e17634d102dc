"""The model of the server, which the forges know too, as frozen dataclasses. `id` is a row number, `uuid` the public id.

A runner knows executions only by `core.wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from core.states import MACHINE_LOST, FailureReason, State

ZERO_SHA_CHARS = {"0"}


def is_zero(sha: str) -> bool:
    """Return True for git's "no such object" name of any hash length, which stands for a created or deleted ref."""
    return set(sha) == ZERO_SHA_CHARS


def shorten_ref(ref: str) -> str:
    """Return the short form of a full ref: `main` for a branch or a tag, otherwise everything after refs/."""
    folder = next((folder for folder in ("refs/heads/", "refs/tags/", "refs/") if ref.startswith(folder)), "")
    return ref.removeprefix(folder)


@dataclass(frozen=True, kw_only=True)
class User:
    """A user. `disabled_at` is the time since when the user's tokens do not work; None while they do."""

    id: int
    username: str
    email: str
    is_admin: bool
    disabled_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project and its settings.

    `environment` is the slug of the default environment, for steps that name no existing one. `environments` are the
    slugs that its executions may use; empty means all. `max_executions` 0 means no limit. Unless `badge_public` is set,
    a badge requires its token. `rules` is the TOML text of the trigger rules, "" for the default. `comments` turns on
    pull request comments.
    """

    id: int
    uuid: str
    name: str
    description: str
    owner_id: int
    owner: str
    yaml_path: str
    environment: str
    environments: tuple[str, ...]
    max_executions: int
    badge_public: bool
    rules: str
    rules_changed_at: str | None
    comments: bool
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A kind of machine that executions ask for. Zero means no limit; `gpus` is for steps that do not set it.

    `images` are glob patterns of allowed images, empty for any; `pull` is "missing" or "always". `network` is "open" or
    "none". `mounts` are host directories that steps may mount, read-only unless they end in `:rw`; the runner's own
    list must contain them too. `max_executions` limits the executions that are queued or started.
    """

    id: int
    uuid: str
    slug: str
    description: str
    images: tuple[str, ...]
    pull: str
    gpus: int
    memory: int
    cpus: float
    network: str
    mounts: tuple[str, ...]
    max_executions: int
    autorestart: bool
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A git remote of a project. `url` is None if this server hosts the repository.

    `deploy_key` is the public half of its SSH key. `has_login` says whether its URL was given with a user or a
    password, which are stored separately. `api_url` is the URL of the forge's API, "" for the forge's usual one;
    `has_token` says whether there is a token for it. `api_problem` is why nothing is posted to the forge until a person
    fixes it. No API calls are made before `api_retry_at`, and no fetches before `fetch_retry_at`. `fetch_problem` is
    the error of the last fetch or poll, "" if it succeeded.
    """

    id: int
    project_id: int
    forge: str
    url: str | None
    full_name: str
    default_branch: str
    deploy_key: str
    has_login: bool
    status_context: str
    api_url: str
    has_token: bool
    api_problem: str
    api_retry_at: str | None
    fetch_retry_at: str | None
    polled_at: str | None
    fetch_problem: str
    created_at: str


class EventKind(StrEnum):
    """Source of an event. A moved tag is a push too."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"


@dataclass(frozen=True, kw_only=True)
class PushEvent:
    """One ref update from any source, the head of a pull request, or a branch whose schedule is due.

    `before` and `after` are commit names, all zeros if the ref does not exist. `options` are git push options as typed.
    `identity` makes ingesting idempotent: events of a repository with the same identity are one push.
    """

    kind: EventKind = EventKind.PUSH
    ref: str
    before: str
    after: str
    pusher: str = ""
    message: str = ""
    options: tuple[str, ...] = ()
    identity: str = ""

    @cached_property
    def branch(self) -> str | None:
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

    @cached_property
    def deleted(self) -> bool:
        return is_zero(self.after)


@dataclass(frozen=True, kw_only=True)
class PullRequestEvent:
    """An opened, changed or closed pull request (merge request in GitLab).

    `sha` is its head, of which Bitbucket sends only the first digits; `head_branch` is the source branch. `fetch_ref`
    is the repository's own ref for the head. A forge without such refs (Bitbucket) gives "" there and, for a fork, the
    fork's URL as `fetch_url`. `url` is its page. `from_fork` is also true if the fork was deleted.
    """

    number: int
    sha: str
    title: str
    author: str
    url: str
    head_branch: str
    base_branch: str
    from_fork: bool
    closed: bool = False
    fetch_ref: str = ""
    fetch_url: str = ""


class Origin(StrEnum):
    """Why an execution, task or pipeline was launched."""

    PUSH = "push"  # a push, pull request or approval, chosen by a rule
    SCHEDULE = "schedule"
    PAGE = "page"
    API = "api"
    NODE = "node"  # of a pipeline
    TRIAL = "trial"  # of a task
    RERUN = "rerun"
    RESTART = "restart"  # automatic, after its machine was lost


@dataclass(frozen=True, kw_only=True)
class Change:
    """A launched value that differs from valohai.yaml, such as ("epochs", "10", "50"). "" means that there is none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit of a project with its configuration, or the reasons why it has none that can run.

    `config_state` is `ok`, `missing` or `broken`. `config` is valohai.yaml as plain JSON values. `problems` are lint
    messages; on an `ok` commit they are warnings. `config_key` identifies the content and the parser that gave this
    result; None if nothing was parsed. Ad-hoc code has an `identifier` of `~` and the SHA-256 of the package, and is
    the commit `git_sha` in the repository.
    """

    id: int
    project_id: int
    repository_id: int
    identifier: str
    ref: str
    ref_names: tuple[str, ...]
    message: str
    author: str
    committed_at: str
    created_at: str
    yaml_path: str
    config_state: str
    config: Any
    problems: tuple[str, ...]
    config_key: str | None = None
    git_sha: str | None = None

    @property
    def adhoc(self) -> bool:
        """Whether it was uploaded as a package and is on no branch."""
        return self.identifier.startswith("~")

    @property
    def sha(self) -> str:
        """The name of the commit in the repository."""
        return self.git_sha or self.identifier


@dataclass(frozen=True, kw_only=True)
class ListedExecution:
    """The fields of an execution that the API lists, of thousands at once. Times are text as in `core.clock`.

    A higher `priority` goes first. `client` is the program that launched it, such as "vh", "" for none; `changed` are
    the values that were given instead of those of valohai.yaml.
    """

    id: int
    uuid: str
    project_id: int
    counter: int
    commit_id: int
    step: str
    title: str
    image: str
    parameters: Mapping[str, Any]
    environment: str
    tags: tuple[str, ...]
    priority: int
    task_id: int | None
    pipeline_node_id: int | None
    creator_id: int
    creator: str
    state: State
    failure_reason: FailureReason | None
    failure_message: str | None
    exit_code: int | None
    status_detail: str | None
    stop_requested_at: str | None
    created_at: str
    queued_at: str | None
    started_at: str | None
    ended_at: str | None
    deleted_at: str | None
    origin: Origin = Origin.PUSH
    client: str = ""
    changed: tuple[Change, ...] = ()

    @property
    def status(self) -> str:
        """State as shown by the API: `stopping` while a started execution has a stop request."""
        return "stopping" if self.state is State.STARTED and self.stop_requested_at else str(self.state)


@dataclass(frozen=True, kw_only=True)
class Execution(ListedExecution):
    """One run of one step. Durations are seconds; sizes are bytes.

    `gpus` is the number of devices it gets, `devices` are their UUIDs. `retry_of` is the id of the execution that this
    one re-runs. `trial` is the index in the search of its task, from 0; the newest of several executions with the same
    index counts, as for a node of a pipeline. `stages` are the seconds of each stage that is over, by its name, and the
    time `run_at` at which the container started.
    """

    commit_identifier: str
    push_id: int | None
    image_digest: str | None
    commands: tuple[str, ...]
    inputs: Mapping[str, Any]
    environment_variables: Mapping[str, str]
    memory: int
    cpus: float
    gpus: int
    devices: tuple[str, ...]
    mounts: tuple[Mapping[str, Any], ...]
    autorestart: bool
    retry_of: int | None
    trial: int | None
    time_limit_s: float | None
    no_output_limit_s: float | None
    stop_count: int
    attempt: int
    runner_id: int | None
    placed_at: str | None
    lease_expires_at: str | None
    container_id: str | None
    stages: Mapping[str, Any] = field(default_factory=dict)

    @property
    def restarts(self) -> bool:
        """Whether it is restarted automatically: autorestart is on, its machine was lost, and no stop was requested."""
        return self.autorestart and self.failure_reason in MACHINE_LOST and self.stop_requested_at is None


class TargetKind(StrEnum):
    """Kind of a target that valohai.yaml declares."""

    STEP = "step"
    TASK = "task"
    PIPELINE = "pipeline"

    @property
    def sign(self) -> str:
        """Prefix of a number of this kind: `#3` is an execution of a step, `!3` a task, `=3` a pipeline."""
        return {"step": "#", "task": "!", "pipeline": "="}[self]


@dataclass(frozen=True, kw_only=True, order=True)
class Target:
    """A step, task or pipeline that can be run, by name, as rules choose it and forges show it."""

    kind: TargetKind = TargetKind.STEP
    name: str

    @property
    def label(self) -> str:
        """Display name: a step's plain name, `task NAME` or `pipeline NAME`."""
        return self.name if self.kind is TargetKind.STEP else f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A machine that runs containers.

    `slots` is the number of concurrent executions without a GPU; those with GPUs are limited only by its devices. A
    `draining` runner finishes its executions and gets no new ones. `most_slots` is the maximum of slots that it may
    report. `projects` are the names of the projects whose executions it gets; empty means all.
    """

    id: int
    uuid: str
    name: str
    environments: tuple[str, ...]
    slots: int
    most_slots: int
    projects: tuple[str, ...]
    draining: bool
    last_seen_at: str | None
    info: Mapping[str, Any]

    def takes(self, project: str) -> bool:
        return not self.projects or project in self.projects

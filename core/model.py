"""The nouns that all sides share, as frozen values. Ids named `id` are row numbers; `uuid` is what the outside sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.states import MACHINE_LOST, FailureReason, State

ZERO_SHA_CHARS = {"0"}


def is_zero(sha: str) -> bool:
    """True for git's "no such object" name of any hash length: a created or deleted ref."""
    return set(sha) == ZERO_SHA_CHARS


def short_ref(ref: str) -> str:
    """A full ref as git shows it: `main` for a branch or a tag, else all that is below refs/."""
    folder = next((folder for folder in ("refs/heads/", "refs/tags/", "refs/") if ref.startswith(folder)), "")
    return ref.removeprefix(folder)


@dataclass(frozen=True, kw_only=True)
class User:
    """`disabled_at` is since when no token of the user works; None while they do."""

    id: int
    username: str
    email: str
    is_admin: bool
    disabled_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Project:
    """`environment` is the slug of the one for steps that name none that there is; `max_executions` 0 is no limit.
    `environments` are the slugs of those that its executions may use, none for all.

    Who wants to see a badge that is not `badge_public` needs its token. `rules` is the TOML text that says what events
    run, "" for the default; `comments` whether pull requests get one.
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
    """A kind of machine that executions ask for. Zeros are "no limit"; `gpus` is for steps that do not ask.

    `images` are glob patterns of the images that may run, none for any; `pull` is "missing" or "always". `network` is
    "open" or "none". `mounts` are host directories that steps may mount, read-only unless they end in `:rw`; the
    runner's own list must have them too. `max_executions` may be queued or started at once.
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
    """A git remote of a project. `url` is None when this server itself hosts it and is pushed to.

    `deploy_key` is the public half of its ssh key. `has_login` is whether its URL was given with a user or a password, which
    are stored apart from it. `api_url` is where its forge's API is, "" for where the forge usually
    has it; `has_token` whether there is a token for it. `api_problem` is why the forge is told nothing any more, until a
    person has mended it; before `api_retry_at` it is asked nothing, before `fetch_retry_at` nothing is fetched.
    `fetch_problem` is why fetching or polling failed the last time, "" when it did not.
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


class PushResult(StrEnum):
    """What came of a push event. Statuses go by this; its outcome is a text for people."""

    NONE = ""  # it leads to no commit, or nothing more is known of it
    LAUNCHED = "launched"
    NOTHING = "nothing"  # there was nothing to run
    SKIPPED = "skipped"  # on purpose
    WAITING = "waiting"  # for approval
    DELETED = "deleted"  # it takes away the configuration that its base has


class EventKind(StrEnum):
    """What made an event. A moved tag is a push too."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"


@dataclass(frozen=True, kw_only=True)
class PushEvent:
    """One moved ref, whatever told us of it; or the head of a pull request, or a branch whose time has come.

    `before` and `after` are commit names, all zeros for "did not exist". `options` are git push options as typed.
    `identity` makes ingesting idempotent: two events of a repository with the same identity are one push.
    """

    kind: EventKind = EventKind.PUSH
    ref: str
    before: str
    after: str
    pusher: str = ""
    message: str = ""
    options: tuple[str, ...] = ()
    identity: str = ""

    @property
    def branch(self) -> str | None:
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

    @property
    def deleted(self) -> bool:
        return is_zero(self.after)


@dataclass(frozen=True, kw_only=True)
class PullRequestEvent:
    """A pull request, which GitLab calls a merge request, that was opened, changed or closed.

    `sha` is its head, of which Bitbucket tells only the first digits; `head_branch` is where it comes from. `fetch_ref` is
    the repository's own ref for the head. A forge that has none for it (Bitbucket) gives "" there and, for a fork, the
    fork's address as `fetch_url`. `url` is its page. `from_fork` is true as well when the fork is gone.
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


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """What is known of a pull request; `sha` is its head. `comment_id` is the forge's name of our comment, "" without one.

    `fetch_url` is the fork's address where the repository has no ref for the head.
    """

    id: int
    repository_id: int
    number: int
    sha: str
    title: str
    author: str
    url: str
    head_branch: str
    base_branch: str
    from_fork: bool
    closed: bool
    comment_id: str
    changed_at: str
    fetch_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit of a project with its configuration, or the reasons why it has none that can run.

    `config_state` is `ok`, `missing` or `broken`. `config` is valohai.yaml as plain JSON values.
    `problems` are lint messages; on an `ok` commit they are advice. `config_key` names the content and the parser that this
    is the result of; None when nothing was parsed.
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


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One run of one step. Times are text of core.clock; durations seconds; sizes bytes.

    `gpus` is how many devices it gets, `devices` the UUIDs of those it got. Higher `priority` goes first. `retry_of` is
    the id of the execution that this one runs again. One of a task has its place in the search as `trial`, from 0; of
    several with the same place the newest counts, as for a node of a pipeline.
    """

    id: int
    uuid: str
    project_id: int
    counter: int
    commit_id: int
    commit_identifier: str
    push_id: int | None
    step: str
    title: str
    image: str
    image_digest: str | None
    commands: tuple[str, ...]
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    environment_variables: Mapping[str, str]
    environment: str
    tags: tuple[str, ...]
    memory: int
    cpus: float
    gpus: int
    devices: tuple[str, ...]
    mounts: tuple[Mapping[str, Any], ...]
    priority: int
    autorestart: bool
    retry_of: int | None
    task_id: int | None
    trial: int | None
    pipeline_node_id: int | None
    time_limit_s: float | None
    no_output_limit_s: float | None
    creator_id: int
    creator: str
    state: State
    failure_reason: FailureReason | None
    failure_message: str | None
    exit_code: int | None
    status_detail: str | None
    stop_requested_at: str | None
    stop_count: int
    attempt: int
    runner_id: int | None
    placed_at: str | None
    lease_expires_at: str | None
    container_id: str | None
    created_at: str
    queued_at: str | None
    started_at: str | None
    ended_at: str | None

    @property
    def status(self) -> str:
        """The state as the API shows it: `stopping` while a started execution has been asked to stop."""
        return "stopping" if self.state is State.STARTED and self.stop_requested_at else str(self.state)

    @property
    def restarts(self) -> bool:
        """Whether it is run again by itself: lost with its machine, as it asked for, and nobody wanted it to stop."""
        return self.autorestart and self.failure_reason in MACHINE_LOST and self.stop_requested_at is None


class TargetKind(StrEnum):
    """What a valohai.yaml declares that can run."""

    STEP = "step"
    TASK = "task"
    PIPELINE = "pipeline"

    @property
    def sign(self) -> str:
        """Before a number of its kind: `#3` is an execution of a step, `!3` a task, `=3` a pipeline."""
        return {"step": "#", "task": "!", "pipeline": "="}[self]


@dataclass(frozen=True, kw_only=True, order=True)
class Target:
    """One thing that can run, as rules choose it and forges show it: a step, a task or a pipeline, by name."""

    kind: TargetKind = TargetKind.STEP
    name: str

    @property
    def label(self) -> str:
        """For people: a step's plain name, `task NAME` or `pipeline NAME`."""
        return self.name if self.kind is TargetKind.STEP else f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Datum:
    """One output file. `name` is the path below /valohai/outputs and is data, never a path here."""

    id: int
    uuid: str
    execution_id: int
    project_id: int
    name: str
    size: int
    sha256: str
    sha1: str
    md5: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A machine that runs containers. `slots` is how many executions without a GPU it takes at once; those with GPUs
    are limited by its devices alone. A `draining` one finishes what it has and gets nothing new.

    `most_slots` is how many slots it may report. `projects` are the names of those whose executions it gets, none for all.
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


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """History and outbox of everything that reacts to an execution."""

    id: int
    execution_id: int
    from_state: State | None
    to_state: State
    at: str
    reason: str

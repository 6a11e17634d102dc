"""Every exception that pushmill raises on purpose.

PushmillError
├── ConfigError          config.toml or a command line value is wrong
├── CannotStart          something is in the way of a start: a port, a disk, Docker
├── IllegalMove          a state change that the table does not allow
├── Conflict             somebody else was faster, or the lease is not yours
├── NotFound             no such thing, or not for you
├── Denied               the credentials are missing or wrong
├── InvalidInput         a value from outside that cannot be used
│   ├── InvalidYaml      valohai.yaml cannot be read
│   ├── CannotRun        a step, task or pipeline lacks something, or has what does not fit
│   └── InvalidDelivery  a webhook body that cannot be parsed
├── DiskFull             the server has too little free disk to store something
├── ForgeError           a forge's API refuses, or does not answer
├── GitError             a repository cannot be read or fetched
│   └── GitDenied        the remote wants other credentials
└── ExecutionFailed      one execution ends in `error`; carries the failure reason
"""

from __future__ import annotations

from collections.abc import Sequence

from core.states import FailureReason, State


class PushmillError(Exception):
    """The root: its text is one sentence for a person."""


class ConfigError(PushmillError):
    """Raised when the configuration cannot be used; the text names the key, the value and the way out."""


class CannotStart(PushmillError):
    """Raised when something is in the way of a start; the text names it and the way out."""


class IllegalMove(PushmillError):
    """Raised when an execution is asked to go where its state does not lead."""

    def __init__(self, current: State, to: State, why: str) -> None:
        super().__init__(f"an execution cannot go from {current} to {to}: {why}")
        self.current, self.to = current, to


class Conflict(PushmillError):
    """Raised when a conditional update changed no row: the record is no longer as the caller believed. HTTP 409."""


class NotFound(PushmillError):
    """Raised when a thing does not exist or the asker may not know of it. HTTP 404."""


class Denied(PushmillError):
    """Raised when credentials are missing, wrong or not enough. HTTP 401 or 403."""


class InvalidInput(PushmillError):
    """Raised when a value from outside cannot be used. HTTP 400."""


class CannotRun(InvalidInput):
    """Raised when `what`, such as 'task "x"', cannot run with the values given; `problems` has a sentence for each reason."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        super().__init__(f"{what} cannot run: {'; '.join(problems)}")
        self.problems = list(problems)


class InvalidYaml(InvalidInput):
    """Raised when valohai.yaml cannot be read; `problems` are sentences for the commit's page."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems)[:2000])
        self.problems = problems


class UnreadYaml(InvalidYaml):
    """Raised when reading valohai.yaml took too long or ended early: the same file may be read another time."""


class InvalidDelivery(InvalidInput):
    """Raised when a verified webhook body has not the shape its forge documents."""


class DiskFull(PushmillError):
    """Raised when the server has too little free disk to store something. HTTP 507: trying again later may succeed."""


class ForgeError(PushmillError):
    """Raised when the API of a forge refuses a call or does not answer; `advice` is the way out, and the end of the text."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem}: {advice}")
        self.problem, self.advice = problem, advice


class GitError(PushmillError):
    """Raised when a git repository cannot be read, fetched or made."""


class GitDenied(GitError):
    """Raised when a remote asks for credentials, refuses those it was given, or hides the repository from them."""


class ExecutionFailed(PushmillError):
    """Raised inside the runner to end one execution in `error`."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

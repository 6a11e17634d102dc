"""Every exception that pushmill raises on purpose.

PushmillError
├── ConfigError          invalid config.toml or command line value
├── CannotStart          a process cannot start because of a port, a disk or Docker
├── IllegalTransition    state transition that the table does not allow
├── Conflict             the record has changed meanwhile, or the lease is held by another runner
├── NotFound             does not exist, or is not visible to the user
├── Denied               missing or wrong credentials
├── TooMany              too many failed logins
├── InvalidInput         unusable value from outside
│   ├── InvalidYaml      valohai.yaml cannot be read
│   ├── InvalidFields    fields of a request, each with its problems
│   ├── InputTooLarge    a file that exceeds a limit
│   ├── CannotRun        step, task or pipeline with missing or unsuitable values
│   └── InvalidDelivery  webhook body that cannot be parsed
├── DiskFull             the server has too little free disk to store something
├── ForgeError           a forge's API refuses a call or does not answer
├── GitError             a repository cannot be read or fetched
│   └── GitDenied        the remote requires other credentials
└── ExecutionFailed      one execution ends in `error`; carries the failure reason
"""

from __future__ import annotations

from collections.abc import Sequence

from core.states import FailureReason, State


class PushmillError(Exception):
    """Base class; the message is one sentence for people."""


class ConfigError(PushmillError):
    """Raised when the configuration is invalid; the message names the key, the value and the fix."""


class CannotStart(PushmillError):
    """Raised when a process cannot start; the message names the obstacle and the fix."""


class IllegalTransition(PushmillError):
    """Raised when a state transition is not allowed."""

    def __init__(self, current: State, to: State, why: str) -> None:
        super().__init__(f"an execution cannot go from {current} to {to}: {why}")
        self.current, self.to = current, to


class Conflict(PushmillError):
    """Raised when a conditional update changed no row because the record has changed meanwhile. HTTP 409."""


class NotFound(PushmillError):
    """Raised when something does not exist or is not visible to the user. HTTP 404."""


class Denied(PushmillError):
    """Raised when credentials are missing, wrong or insufficient. HTTP 401 or 403."""


class TooMany(PushmillError):
    """Raised when a login must wait because too many failed. HTTP 429."""


class Problem(str):
    """A sentence about one field of a request: `field` as in the API, such as "parameters", and `name` within it.

    `code` is for programs. It is the sentence as a str, for code that does not care about fields.
    """

    field: str
    name: str
    code: str

    def __new__(cls, text: str, field: str = "", name: str = "", code: str = "invalid") -> Problem:
        made = super().__new__(cls, text)
        made.field, made.name, made.code = field, name, code
        return made

    def cut(self, characters: int) -> Problem:
        """Return the problem with at most this many characters."""
        return Problem(self[:characters], self.field, self.name, self.code)


class InvalidInput(PushmillError):
    """Raised when a value from outside is invalid. HTTP 400.

    `field` is the field of the form or body with that value, if it is one field; `code` is the kind of problem.
    """

    def __init__(self, message: str, *, field: str = "", code: str = "invalid") -> None:
        super().__init__(message)
        self.field, self.code = field, code


class InvalidFields(InvalidInput):
    """Raised for a request with unusable fields, with all problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class InputTooLarge(InvalidInput):
    """Raised for a file from outside that exceeds a limit. HTTP 413."""


class CannotRun(InvalidInput):
    """Raised when `what`, such as 'task "x"', cannot run with the given values; `problems` are sentences."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        super().__init__(f"{what} cannot run: {'; '.join(problems)}")
        self.problems = list(problems)


class InvalidYaml(InvalidInput):
    """Raised when valohai.yaml cannot be read; `problems` are sentences for the commit page."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems)[:2000])
        self.problems = problems


class UnreadYaml(InvalidYaml):
    """Raised when reading valohai.yaml timed out or was cut short; a retry with the same file may succeed."""


class InvalidDelivery(InvalidInput):
    """Raised when a verified webhook body does not have the structure that its forge documents."""


class DiskFull(PushmillError):
    """Raised when the server has too little free disk to store something. HTTP 507: a retry may succeed."""


class ForgeError(PushmillError):
    """Raised when a forge's API refuses a call or does not answer; `advice` is the fix, at the end of the message."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem}: {advice}")
        self.problem, self.advice = problem, advice


class GitError(PushmillError):
    """Raised when a git repository cannot be read, fetched or created."""


class GitDenied(GitError):
    """Raised when a remote requires credentials, rejects the given ones, or hides the repository from them."""


class ExecutionFailed(PushmillError):
    """Raised inside the runner to end one execution in `error`."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

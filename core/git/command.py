"""Run the git binary isolated from its surroundings: only our configuration, no hooks, no helpers, no prompts."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from core.errors import GitError
from core.text import make_printable

KEPT_OF_STDERR = 16_384  # a remote may send "remote: …" lines without end
TERM_GRACE_S = 5.0  # git removes its lock files on SIGTERM, not on SIGKILL
PASSED_ON = ("PATH", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR")  # the operator's certificate authorities
COMPLAINTS = ("fatal:", "error:", "ERROR:", "remote:", "ssh:")
OF_SSH = ("Permission denied (", "Host key verification failed")  # errors of ssh; git adds only that it could not read
OPTIONS = {
    "core.askPass": "",
    "core.bigFileThreshold": "64m",  # larger blobs are streamed, not held in memory
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",  # a redirect would take the credentials elsewhere
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "protocol.ext.allow": "never",
}


class TooSlow(GitError):
    """Raised when git exceeds its time limit."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Descriptors of a process's standard input and output. Of a pipe, at most `limit` bytes are read."""

    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    limit: int = 0


NO_STREAMS = Streams()


def capture_output(limit: int) -> Streams:
    """Return streams that capture the output, of at most `limit` bytes."""
    return Streams(stdout=subprocess.PIPE, limit=limit)


def allow_transport(protocol: str) -> dict[str, str]:
    """Return environment variables that allow git this transport, and no other."""
    return {"GIT_ALLOW_PROTOCOL": protocol}


def run(
    arguments: Sequence[str],
    *,
    repository: Path,
    time_limit_s: float,
    environment: Mapping[str, str] = MappingProxyType({}),
    streams: Streams = NO_STREAMS,
    file_limit: int | None = None,
) -> bytes:
    """Run `git <arguments>` in a bare `repository` and return its output if that is captured.

    It may use no transport unless `environment` allows one. Raises GitError with git's message, TooSlow after
    `time_limit_s`, and GitError if it printed more than it may; all its processes are ended then. A process that writes
    a file of more than `file_limit` bytes is killed, about which git reports little.
    """
    options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
    command = [
        "git",
        f"--git-dir={repository}",
        *options,
        "-c",
        f"safe.directory={os.path.realpath(repository)}",
        *arguments,
    ]
    if file_limit is not None:
        # git has no such option, but the kernel does: a shell sets the limit, in POSIX's blocks of 512 bytes, before
        # git starts
        command = ["sh", "-c", 'ulimit -f "$0" && exec "$@"', str(max(1, file_limit // 512)), *command]
    return _run(command, f"git {arguments[0]}", _environment() | dict(environment), time_limit_s, streams)


def run_ssh(
    place: Sequence[str], words: str, *, environment: Mapping[str, str], time_limit_s: float, limit: int
) -> bytes:
    """Run the command `words` over ssh and return at most `limit` bytes of output.

    `place` are ssh arguments that name the host; `environment` is that of `ssh_environment`.
    """
    command = [*shlex.split(environment["GIT_SSH_COMMAND"]), *place, words]
    return _run(command, "ssh", _environment(), time_limit_s, capture_output(limit))


def _run(
    command: Sequence[str], name: str, environment: Mapping[str, str], time_limit_s: float, streams: Streams
) -> bytes:
    try:
        process = subprocess.Popen(
            _end_with_us(command, time_limit_s),
            env=environment,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise GitError(f"{name} cannot be started: {error}; is it installed?") from None
    with process, _ended_with_its_children(process):
        output = _read_output(process, time.monotonic() + time_limit_s, streams.limit)
    if output is None:
        raise TooSlow(f"{name} took longer than {time_limit_s:g} s and was ended")
    printed, errors = output
    if len(printed) > streams.limit:
        raise GitError(f"{name} printed more than {streams.limit:,} bytes and was ended")
    if process.returncode != 0:
        raise GitError(_reason(errors) or f"{name} ended with code {process.returncode}")
    return printed


def _end_with_us(command: Sequence[str], time_limit_s: float) -> list[str]:
    """Return a command that runs `command`, and ends it and its children when the thread that starts it ends.

    Without this, a killed worker leaves a git behind that still writes to the repository, for ever if its remote sends
    a byte now and then. The kernel informs only the process that was started: `timeout` ends the group.
    """
    guard = ["setpriv", "--pdeathsig", "TERM", "timeout", f"--kill-after={TERM_GRACE_S:g}"]
    return [*guard, f"{time_limit_s + 2 * TERM_GRACE_S:g}", *command] if _works((*guard, "9")) else list(command)


@functools.cache
def _works(guard: tuple[str, ...]) -> bool:
    """Return whether a command can be run behind `guard`; setpriv and timeout may be missing or too old."""
    try:
        return subprocess.run([*guard, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def make_basic_auth(username: str, password: str) -> dict[str, str]:
    """Return environment variables for basic authentication: unlike arguments, other users cannot see them."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
    }


@contextlib.contextmanager
def ssh_environment(key: bytes | None, known_hosts: Path) -> Iterator[dict[str, str]]:
    """Environment that makes git use only `key`, or without one the keys of the account that runs us.

    A host's key is stored in `known_hosts` when first seen and must stay the same from then on.
    """
    known = str(known_hosts).replace("%", "%%")
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=accept-new",
        f'UserKnownHostsFile="{known}"',
        "ConnectTimeout=20",
    ]
    with tempfile.TemporaryDirectory(prefix="pushmill-ssh-") as directory:  # created with mode 0700
        command = ["ssh"]
        if key is not None:
            file = Path(directory) / "key"
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                opened.write(key.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n")  # ssh requires the final newline
            command += ["-i", str(file)]
            options += ["IdentitiesOnly=yes", "IdentityAgent=none"]
        command += [part for option in options for part in ("-o", option)]
        yield {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        **allow_transport("none"),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/nonexistent",  # else curl reads ~/.netrc
        "LC_ALL": "C",
    }


def _read_output(process: subprocess.Popen[bytes], deadline: float, limit: int) -> tuple[bytes, bytes] | None:
    """Return output and the end of the error output once the process has ended; None if the deadline passes first.

    Output is read up to slightly more than `limit`.
    """
    pipes = [pipe.fileno() for pipe in (process.stdout, process.stderr) if pipe]
    output = dict.fromkeys(pipes, b"")
    printed, errors = pipes[0] if process.stdout else None, pipes[-1]
    poll = select.poll()
    for descriptor in pipes:
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while pipes:
        left = deadline - time.monotonic()
        ready = poll.poll(left * 1000) if left > 0 else []
        if not ready:
            return None
        for descriptor, _ in ready:
            chunk = os.read(descriptor, 65_536)
            output[descriptor] += chunk
            if not chunk:
                poll.unregister(descriptor)
                pipes.remove(descriptor)
        output[errors] = output[errors][-KEPT_OF_STDERR:]
        if printed is not None and len(output[printed]) > limit:
            return output[printed], output[errors]
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    return (output[printed] if printed is not None else b""), output[errors]


@contextlib.contextmanager
def _ended_with_its_children(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the whole process group on exit, whatever happened inside."""
    try:
        yield
    finally:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TERM_GRACE_S)
            _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _reason(errors: bytes) -> str:
    """Return git's own error message, without progress and without characters that could move a terminal's cursor."""
    lines = [make_printable(line, " ").strip() for line in re.split(r"[\r\n]+", errors.decode("utf-8", "replace"))]
    complaints = [line for line in lines if line.startswith(COMPLAINTS) or any(phrase in line for phrase in OF_SSH)]
    return "; ".join((complaints or [line for line in lines if line])[-3:])[:500]

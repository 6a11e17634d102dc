"""Parse an untrusted valohai.yaml in a forked child with limits on memory, processor time and wall clock.

A fork and not a fresh interpreter, because the child has the libraries imported already, which saves about 100 ms.
"""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import resource
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from core.errors import InvalidYaml, UnreadYaml
from web.config.steps.parse import ITEMS, Configuration, parse

MEMORY = 512 * 1024**2  # the largest file within the limits needs less than a tenth
SECONDS = 10.0
ANSWER_BYTES = 32 * 1024**2  # far above what the limits of parse() allow
OUT_OF_MEMORY = 2  # exit code of the child
HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
WARM_UP = b"""
- step: {name: a, image: b, command: c, inputs: [{name: d}], parameters: [{name: e, type: integer, default: 1}],
         environment-variables: [{name: F}], stop-condition: a > 1}
- task: {name: g, step: a, parameters: [{name: e, style: multiple, rules: {items: [1]}}]}
- endpoint: {name: hh, image: b, wsgi: i}
- pipeline: {name: j, nodes: [{name: k, type: execution, step: a, override: {inputs: [{name: d}]},
             actions: [{when: node-complete, if: metadata.m > 1, then: noop}]}, {name: l, type: execution, step: a}],
             edges: [[k.output.*, l.input.d]]}
"""

_fork_lock = threading.Lock()


def parse_limited(data: bytes, *, items: int = ITEMS, seconds: float = SECONDS, memory: int = MEMORY) -> Configuration:
    """Run `parse(data, items)` in a child process. May be called from any thread.

    `seconds` limits the child's wall clock and processor time, `memory` (bytes) its memory beyond this process's
    present size. Raises InvalidYaml; UnreadYaml if the child runs out of time or memory or dies.
    """
    warm_up()
    deadline = time.monotonic() + seconds
    pid, reader = _start(lambda: _answer(data, items), seconds, memory)
    try:
        answer = _read(reader, deadline)
        if answer is None:
            os.kill(pid, signal.SIGKILL)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        status = _reap(pid)
    if answer is None:
        raise UnreadYaml([_too_slow(seconds)])
    return _decode_answer(answer, status, seconds)


@functools.cache
def warm_up() -> None:
    """Make the libraries fill their caches and finish their lazy imports here, not again in every child."""
    parse(WARM_UP)


def _start(work: Callable[[], dict[str, Any]], seconds: float, memory: int) -> tuple[int, int]:
    """Fork the child; return its process id and the read end of the pipe with its answer."""
    # Handlers of this process must not run in the child, so the child starts with these signals blocked and keeps them
    # blocked.
    with _fork_lock:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        try:
            reader, writer = os.pipe()
            try:
                pid = _fork()
            except BaseException:
                os.close(reader)
                os.close(writer)
                raise
            if pid == 0:
                _child(work, writer, seconds, memory)
            os.close(writer)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid, reader


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of fork() in a process with threads, since locks held by other threads stay locked in the
        # child. This child takes none: it runs pure computation on imported modules, writes to one pipe and leaves by
        # os._exit. If it hangs anyway, the deadline kills it.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
        return os.fork()


def _child(work: Callable[[], dict[str, Any]], writer: int, seconds: float, memory: int) -> NoReturn:
    """Parse, answer and exit: no handler, clean-up or frame of the parent runs in this process."""
    code = 1
    try:
        gc.disable()
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        _limit(seconds, memory)
        _write(writer, json.dumps(work(), allow_nan=False).encode())
        code = 0
    except MemoryError:
        code = OUT_OF_MEMORY
    finally:
        os._exit(code)


def _limit(seconds: float, memory: int) -> None:
    with open("/proc/self/statm") as statm:
        present = int(statm.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, present + memory, present + memory)
    _lower(resource.RLIMIT_CPU, math.ceil(seconds), math.ceil(seconds) + 1)  # SIGXCPU, then SIGKILL
    _lower(resource.RLIMIT_CORE, 0, 0)


def _lower(limit: int, soft: int, hard: int) -> None:
    """Set a limit, unless the present one is lower already."""
    present = resource.getrlimit(limit)[1]
    hard = hard if present == resource.RLIM_INFINITY else min(hard, present)
    resource.setrlimit(limit, (min(soft, hard), hard))


def _answer(data: bytes, items: int) -> dict[str, Any]:
    try:
        found = parse(data, items)
    except InvalidYaml as error:
        return {"invalid": error.problems}
    return {"config": found.config, "problems": found.problems, "steps": found.steps}


def _write(writer: int, answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        view = view[os.write(writer, view) :]


def _read(reader: int, deadline: float) -> bytes | None:
    """Return everything that the child writes until it closes the pipe, or None if the deadline passes first."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    answer = bytearray()
    while len(answer) <= ANSWER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        if not (chunk := os.read(reader, 1 << 16)):
            break
        answer += chunk
    return bytes(answer)


def _reap(pid: int) -> int:
    """Return the child's exit code, negative for the signal that ended it; 0 if other code has reaped it."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


def _decode_answer(answer: bytes, status: int, seconds: float) -> Configuration:
    try:
        found = json.loads(answer)
    except ValueError:
        raise UnreadYaml([_death(status, seconds)]) from None
    if "invalid" in found:
        raise InvalidYaml(found["invalid"])
    return Configuration(found["config"], tuple(found["problems"]), tuple(found["steps"]))


def _death(status: int, seconds: float) -> str:
    if status == -signal.SIGXCPU:
        return _too_slow(seconds)
    if status < 0:
        return f"reading valohai.yaml was ended by the signal {signal.Signals(-status).name}; is the file well-formed?"
    if status == OUT_OF_MEMORY:
        return "reading valohai.yaml needs more memory than allowed"
    return f"reading valohai.yaml failed (exit code {status})"


def _too_slow(seconds: float) -> str:
    return f"valohai.yaml takes longer than {seconds:g} s to read"

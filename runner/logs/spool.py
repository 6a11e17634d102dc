"""The spool: the files that a container's output goes to, and a reader of one of them.

Only the runner can access the directory (0700). Individual files of it are mounted into the container, which can write
and truncate but not replace them.

    main script               programs of the container
    pipe.stdout pipe.stderr   pipes that the script prints into
    stdout stderr             output of the script
    commands                  progress of the commands: `start N`, `exit N CODE`, `end CODE`
    alive                     pipe that PID 1 has open until it exits
    status                    status lines of the runner; not mounted
    seen                      its mtime is the time of the runner's last poll; not mounted

In the container stdout and stderr are FIFOs; an in-container `cat` for each appends to a bind-mounted file. So no log
byte passes through the Docker daemon or depends on a process of the runner. They are FIFOs rather than anonymous pipes,
because a program that has changed its user can open `/dev/stderr` by name only on a FIFO with permissions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from core import trees
from core.wire import MARK_BEGIN, MARK_END, STREAMS
from runner.logs.line_assembler import MAX_LINE, LineAssembler, Lines
from runner.logs.masking import Masker

ALIVE = "alive"
SUCCESS = b"\nend 0\n"  # end of the file commands after a success
PIPES = ("pipe.stdout", "pipe.stderr", ALIVE)
PROGRAMS = ("main", "script")
FILES = ("stdout", "stderr", "commands")
MOUNTED = (*PROGRAMS, *PIPES, *FILES)
READ_SIZE = 6 * 1024 * 1024  # bytes read at once; with an unfinished line it stays below the server's limit of a batch
PUNCH_STEP = 1024 * 1024  # acknowledged bytes whose disk blocks are freed together
BLOCK = 4096
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2  # linux/falloc.h
STATUS_LINE = 4096  # most bytes of a status line
NO_LIMIT = 2**62
MARK_START = MARK_BEGIN.encode()
MARK = re.compile(re.escape(MARK_START) + rb"(?:start|exit)[ 0-9]{2,12}" + re.escape(MARK_END.encode()))
MARK_BYTES = 32  # maximum length of a mark
BEGUN_MARK = re.compile(rb"\x02(?:p|pu|pus|push|pushm|pushmi|pushmil|pushmill|pushmill [ a-z0-9]*\x03?)?\Z")

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def make(directory: Path, script: str, offsets: Mapping[str, int]) -> None:
    """Create the spool of one execution, all of it or nothing; `directory` must not exist.

    `offsets` is the number of bytes per stream that the server has from an earlier attempt: the streams start there.
    """
    draft = directory.with_name(f"{directory.name}.new")
    trees.remove(draft)  # of a killed process
    draft.mkdir(mode=0o700)
    main = resources.files("runner").joinpath("main.sh").read_bytes()
    for name, content, mode in (("main", main, 0o755), ("script", script.encode(), 0o755)):
        _new_file(draft / name, content, mode)
    for name, mode in (*((name, 0o666) for name in FILES), ("status", 0o600), ("seen", 0o600)):
        _new_file(draft / name, b"", mode)
        os.truncate(draft / name, offsets.get(name, 0))
    make_pipes(draft)
    draft.rename(directory)


def make_pipes(directory: Path) -> None:
    """Create the pipes that are missing. A spool that an earlier version made, for a container yet to come, has fewer."""
    for name in PIPES:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(directory / name)
        (directory / name).chmod(0o666)  # regardless of the umask


def _new_file(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)


def open_file(directory: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a spool file and return its descriptor. Raises OSError unless it is a regular file."""
    descriptor = os.open(directory / name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{directory / name} is not a regular file")
    return descriptor


def open_alive(directory: Path) -> int | None:
    """Open the pipe whose end `poll` reports when PID 1 exits; it must be opened before that.

    Returns None if the container was created by an earlier version.
    """
    try:
        return os.open(directory / ALIVE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def has_succeeded(directory: Path) -> bool:
    """Whether the last thing that PID 1 wrote is that the script has exited with 0."""
    descriptor = open_file(directory, "commands")
    try:
        return os.pread(descriptor, len(SUCCESS), max(0, os.fstat(descriptor).st_size - len(SUCCESS))) == SUCCESS
    finally:
        os.close(descriptor)


def no_marks(mark: bytes) -> bool:  # noqa: ARG001
    return False


class StatusWriter:
    """Appends status lines; each call is one line and one write, so threads may share it."""

    def __init__(self, directory: Path, masker: Masker) -> None:
        self._descriptor = open_file(directory, "status", os.O_WRONLY | os.O_APPEND)
        self._masker = masker

    def __call__(self, text: str) -> None:
        masked = self._masker.mask(text.encode(errors="replace"))  # before truncation: half a secret is not recognised
        line = masked.replace(b"\n", b" ").replace(b"\r", b" ")[:STATUS_LINE]
        with contextlib.suppress(OSError):  # an abandoned thread may write after close()
            os.write(self._descriptor, line + b"\n")

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class Tail:
    """Reads one stream from spool byte `offset` on and frees the disk blocks of acknowledged bytes.

    The first half of `limit`, the head, is read completely. After it, the newest half of `limit`, the window, is kept
    for the reader; older bytes that were not read in time are skipped.
    """

    def __init__(self, directory: Path, stream: str, offset: int, limit: int, masker: Masker) -> None:
        if stream not in STREAMS:
            raise ValueError(f"there is no log stream {stream!r}")
        self.stream = stream
        limit = limit or NO_LIMIT
        self._head, self._window = limit // 2, limit - limit // 2
        self._hold = masker.hold
        self._reader = open_file(directory, stream)
        self._puncher = open_file(directory, stream, os.O_WRONLY)
        self._stored, self._outrun = 0, -(-self._head // BLOCK) * BLOCK  # the blocks before these offsets are freed
        self.rewind(offset)

    def rewind(self, offset: int) -> None:
        """Continue at spool byte `offset`."""
        self._lines = LineAssembler(offset, hold=self._hold)
        self._read = offset
        self.mark = b""  # the mark that is next in the file: nothing is read beyond it until `pass_mark`

    @property
    def size(self) -> int:
        return os.fstat(self._reader).st_size

    @property
    def modified(self) -> float:
        """The time of the last write, in Unix seconds."""
        return os.fstat(self._reader).st_mtime

    @property
    def unread(self) -> int:
        return 0 if self.mark else max(0, self.size - self._read)

    @property
    def past_head(self) -> bool:
        """Whether the whole head was read. Of the rest only the newest part is kept."""
        return self._read >= self._head

    @property
    def position(self) -> int:
        """The spool offset up to which the stream was read."""
        return self._read

    @property
    def is_flood(self) -> bool:
        """Whether more than twice the limit was read, so that most of it cannot be kept."""
        return self._read >= 2 * (self._head + self._window)

    @property
    def unfinished(self) -> bool:
        return self._lines.unfinished

    def preview(self) -> tuple[int, bytes]:
        """The spool offset of the unfinished line, and the part of it that may be shown already."""
        return self._lines.consumed, self._lines.preview()

    def read(self, is_mark: Callable[[bytes], bool] = no_marks, *, quiet: bool = False) -> Lines | None:
        """Return the whole lines among the next READ_SIZE bytes, or None.

        Stops at the first mark, which also ends an unfinished line. Bytes at the end that may be the beginning of a
        mark are held back unless the stream is `quiet`.
        """
        within = self._head - self._read  # blocks after the head may be freed already
        data = os.pread(self._reader, min(READ_SIZE, within) if within > 0 else READ_SIZE, self._read)
        marked = MARK_START[:1] in data and MARK_START in data  # one byte is found six times as fast as nine
        found = next((m for m in MARK.finditer(data) if is_mark(m[0])), None) if marked else None
        if found:
            self.mark, data = found[0], data[: found.start()]
        elif not quiet and (begun := BEGUN_MARK.search(data, max(0, len(data) - MARK_BYTES))):
            data = data[: begun.start()]
        self._read += len(data)
        lines = self._lines.feed(data)
        rest = self._lines.flush() if self.mark else None
        if lines and rest:
            return Lines(lines.text + rest.text, lines.start, rest.end)
        return lines or rest

    def pass_mark(self) -> None:
        """Continue after the mark."""
        self._read += len(self.mark)
        self._lines.skip(len(self.mark))
        self.mark = b""

    def flush(self) -> Lines | None:
        """Return the unfinished line as a line of its own, or None."""
        return self._lines.flush()

    def skip(self) -> None:
        """Skip output that arrives faster than it is read: after the head, at most the window may be unread."""
        if self._read < self._head or self.size - self._read <= self._window:
            return
        at = self.size - self._window * 3 // 4
        line_end = os.pread(self._reader, MAX_LINE, at - 1).find(b"\n")
        self.rewind(at + max(0, line_end))

    def release(self, acknowledged: int) -> None:
        """Free the disk blocks of bytes that the server has acknowledged, and of bytes that will be skipped."""
        self._stored = self._punch(self._stored, min(acknowledged, self.size))
        self._outrun = self._punch(self._outrun, self.size - self._window)

    def _punch(self, start: int, end: int) -> int:
        """Free the blocks from `start` to `end` if there are at least PUNCH_STEP bytes; returns the new `start`."""
        end = end // BLOCK * BLOCK
        if end - start < PUNCH_STEP:
            return start
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        _fallocate(self._puncher, mode, start, end - start)  # if it fails, the space is freed at the end
        return end

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._puncher)

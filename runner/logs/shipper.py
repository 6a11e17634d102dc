"""Ships the log of one execution: one thread tails the spool's three streams and sends new lines to the server.

Whole lines are sent with their spool offsets, each batch once the server has answered the one before. Of a backlog,
the next batch is read meanwhile. The acknowledged offset stays before a mark until its status line is in the spool, so
the next process that adopts the container finds the mark again.

Beyond twice `[limits] log` a stream is sent at a bounded rate. When more than half of the limit is unread, reading
continues at the newest three eighths of the limit, and the next batch contains the number of `skipped` bytes; their
disk blocks are freed, so a spool is bounded while the server is unavailable. All of this follows from offsets and
sizes, so an adopting process does the same.

An unfinished line is sent every two seconds as a preview: at most 4 KiB, masked, without a tail that may begin a
secret. Previews are not acknowledged; any process that holds the container sends them again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.errors import Conflict, PushmillError
from core.units import format_size
from core.wire import ExecutionSpec, LogBatch
from runner.clock import ServerClock, get_uptime
from runner.logs.line_assembler import Lines
from runner.logs.masking import Masker
from runner.logs.posting import Posting
from runner.logs.progress import CommandProgress
from runner.logs.spool import StatusWriter, Tail, no_marks
from runner.logs.watch import Watch
from runner.server_client import Reporter

log = logging.getLogger(__name__)

ORDER = ("status", "stdout", "stderr")  # within one poll: "Command 1 of 2: …" before the command's output
LOOK_S, BLIND_LOOK_S = 0.25, 0.02  # pauses between two looks at a quiet stream; the second without inotify
MARK_LOOK_S = 0.05  # while a mark is on its way
STATUS_S, STATUS_BYTES = 0.1, 16 * 1024  # status lines wait this long for more, unless there is output to send
BATCH_INTERVAL_S, BATCH_BYTES = 0.05, 256 * 1024  # send at this interval, or sooner when this much is unread
FLOOD_INTERVAL_S = 0.5  # interval of a stream beyond twice its limit, 4 MiB each time
PREVIEW_S = 2.0  # interval at which an unfinished line is shown, if it has changed
TRACE_INTERVAL_S = 1.0
MARK_DELAY_BYTES = 4 * 1024 * 1024  # upper bound of other output before an announced mark arrives in the file
GRACE_S = 1.0  # time for a mark to pass through the pipe after the script wrote it


@dataclass(frozen=True, slots=True)
class Boundary:
    """A status line about a command, to be written when both streams are at `mark`.

    `latest` maps each stream to the spool offset beyond which the mark is no longer waited for.
    """

    mark: bytes
    sentence: str
    seen_at: float
    latest: Mapping[str, int]


class Stream:
    """A tail and its timestamps. All unread bytes were printed between `seen_at` and the file's last change.

    Times are of `get_uptime()`, except for the times of output: `seen_at`, and `changed_at` of the unfinished line, which
    are Unix seconds.
    """

    def __init__(self, tail: Tail, acknowledged: int, seen_at: float) -> None:
        self.tail = tail
        self.acknowledged = acknowledged
        self.seen_at = seen_at
        self.size = tail.size
        self.changed_at = tail.modified
        self.grew_at = get_uptime() - max(0.0, time.time() - tail.modified)
        self.read_at = 0.0
        self.waits_since = 0.0  # the oldest unread byte was noticed
        self.posted_at = get_uptime()
        self.told_full = False
        self.previewed: tuple[int, bytes] | None = None
        self.passed = -1  # the number of the last mark that was passed

    def notice(self, now: float) -> None:
        """Check the file's size and update the timestamps."""
        size = self.tail.size
        if size != self.size:
            if self.tail.position >= self.size:
                self.waits_since = get_uptime()
            self.size, self.changed_at, self.grew_at = size, now, get_uptime()
        elif not self.tail.unread:
            self.seen_at = now

    def due(self, now: float, ended: bool) -> bool:
        """Whether unread output is to be sent. At the end all output is, but status lines may go with the report."""
        return self.tail.unread > 0 and ((ended and self.tail.stream != "status") or self.due_in(now) <= 0)

    def due_in(self, now: float) -> float:
        """Seconds until unread output is to be sent; it is due at 0 and below."""
        if self.tail.stream == "status":
            return 0.0 if self.tail.unread >= STATUS_BYTES else self.waits_since + STATUS_S - now
        if self.tail.is_flood:
            return self.read_at + FLOOD_INTERVAL_S - now
        return 0.0 if self.tail.unread >= BATCH_BYTES else self.read_at + BATCH_INTERVAL_S - now

    @property
    def is_behind(self) -> bool:
        """Whether so much is unread that the next batch is due at once."""
        return self.tail.unread >= BATCH_BYTES and not self.tail.is_flood

    def unfinished_due(self, ended: bool) -> bool:
        """Whether the unfinished line counts as complete because the stream has ended."""
        return ended and self.tail.unfinished and not self.tail.unread

    def preview_due(self) -> bool:
        return self.tail.unfinished and self.tail.stream != "status" and get_uptime() - self.posted_at >= PREVIEW_S

    def read(self, now: float, is_mark: Callable[[bytes], bool], ended: bool) -> tuple[Lines | None, float, float]:
        """Return the next whole lines, and the times between which they were printed (Unix seconds)."""
        unread, first = self.tail.unread, self.seen_at
        lines = self.tail.read(is_mark, quiet=ended or get_uptime() - self.grew_at >= GRACE_S)
        share = (unread - self.tail.unread) / unread
        printed_at = max(first, min(now, self.tail.modified))
        self.seen_at = first + (printed_at - first) * min(1.0, max(0.0, share))
        self.read_at = get_uptime()
        return lines, first, self.seen_at


@dataclass(frozen=True, kw_only=True)
class LogSource:
    """The log of one execution on this machine: its spool, and how to read and extend it."""

    spool: Path
    progress: CommandProgress
    status: StatusWriter
    masker: Masker
    clock: ServerClock


class Shipper:
    """Ships the streams of one execution from `offsets` until closed.

    It stores the time of its last poll in the spool, so that its successor can date the output printed in between.
    """

    def __init__(self, source: LogSource, reporter: Reporter, spec: ExecutionSpec, offsets: Mapping[str, int]) -> None:
        self.error: PushmillError | None = None  # why the log can no longer be stored
        self._reporter, self._execution, self._attempt = reporter, spec.uuid, spec.attempt
        self._progress, self._status, self._limit = source.progress, source.status, spec.log_bytes
        self._clock = source.clock
        spool, limit, masker = source.spool, spec.log_bytes, source.masker
        self._seen = spool / "seen"
        self._touched_at = seen_at = self._seen.stat().st_mtime
        at = {name: offsets.get(name, 0) for name in ORDER}
        self._streams = [
            Stream(Tail(spool, name, at[name], 0 if name == "status" else limit, masker), at[name], seen_at)
            for name in ORDER
        ]
        self._status_stream = self._streams[ORDER.index("status")]
        self._printed = [stream for stream in self._streams if stream.tail.stream != "status"]
        self._marks: dict[bytes, int] = {}  # all announced marks → their ordinal number
        self._boundaries: deque[Boundary] = deque()  # whose status lines are not written yet
        self._posting: Posting[Stream] | None = None
        self._told = set((spool / "status").read_text(errors="replace").splitlines())
        self._ended, self._closing = threading.Event(), threading.Event()
        self._drained, self._watch = threading.Event(), Watch(spool / name for name in (*ORDER, "commands"))
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def last_output(self) -> float:
        """When stdout or stderr last grew, in seconds of `get_uptime()`."""
        return max(stream.grew_at for stream in self._streams if stream.tail.stream != "status")

    def drain(self) -> None:
        """Wait until all output is stored, or storing has failed. Call this after the container has ended."""
        self._ended.set()
        self._watch.wake()
        self._drained.wait()

    def settle(self) -> tuple[LogBatch, bytes] | None:
        """Wait until all output is stored, or storing has failed; then stop, and return the last status lines, if any.

        They are stored together with the final report.
        """
        self._closing.set()
        self._ended.set()
        self._watch.wake()
        self._thread.join()
        if self.error is not None or not self._status_stream.tail.unread:
            return None
        lines, first, last = self._status_stream.read(time.time(), no_marks, ended=True)
        return (self._batch(self._status_stream, lines, first, last), lines.text) if lines else None

    def close(self) -> None:
        self.settle()
        self._watch.close()
        for stream in self._streams:
            stream.tail.close()

    def _run(self) -> None:
        try:
            self._ship_all()
        except Conflict as conflict:
            log.warning("the log of execution %s is no longer ours: %s", self._execution, conflict)
        except PushmillError as error:
            log.error("the log of execution %s cannot be stored: %s", self._execution, error)
            self.error = error
        finally:
            self._drained.set()

    def _ship_all(self) -> None:
        while True:
            closing, ended = self._closing.is_set(), self._ended.is_set()
            if not self._poll(ended) and ended:
                self._drained.set()
                if closing:
                    return
            self._pause()

    def _pause(self) -> None:
        """Wait until something is printed or, if something is unread, until it is due."""
        if self._ended.is_set() and not self._drained.is_set():
            return
        now = get_uptime()
        if due_in := [stream.due_in(now) for stream in self._printed if stream.tail.unread]:
            self._watch.pause(max(0.0, min(due_in)))
        elif self._status_stream.tail.unread:
            self._watch.wait(max(0.0, min(self._look_s(), self._status_stream.due_in(now))))
        elif self._watch.wait(self._look_s()):
            now = time.time()
            for stream in self._streams:  # nothing was printed before this moment
                stream.seen_at = max(stream.seen_at, min(now, stream.tail.modified))

    def _look_s(self) -> float:
        if self._boundaries:
            return MARK_LOOK_S
        return LOOK_S if self._watch.sees_writes else BLIND_LOOK_S

    def _poll(self, ended: bool) -> bool:
        """Ship what is due; returns False if nothing was."""
        self._leave_trace()
        self._take_events()
        shipped = [self._ship(stream, ended) for stream in self._streams]
        while self._pass_marks(ended):
            shipped += [True, *(self._ship(stream, ended) for stream in self._streams)]
        if not any(stream.is_behind for stream in self._streams):
            self._finish()
        return any(shipped)

    def _leave_trace(self) -> None:
        if abs((now := time.time()) - self._touched_at) >= TRACE_INTERVAL_S:
            self._touched_at = now
            os.utime(self._seen, (now, now))

    def _take_events(self) -> None:
        for event in self._progress.poll():
            if event.kind not in ("start", "exit"):
                continue
            first = not self._marks
            self._marks.setdefault(event.mark, len(self._marks))
            sentence = self._progress.sentence(event)
            if sentence and first:  # there is no earlier output to wait for
                self._say_once(sentence)
            elif sentence and sentence not in self._told:
                latest = {stream.tail.stream: stream.tail.size + MARK_DELAY_BYTES for stream in self._printed}
                self._boundaries.append(Boundary(event.mark, sentence, get_uptime(), latest))

    def _is_mark(self, stream: Stream, mark: bytes) -> bool:
        """Whether the script wrote `mark`: any program can print such bytes, and without an event they are output."""
        if mark not in self._marks:
            self._take_events()
        return self._marks.get(mark, -1) > stream.passed

    def _pass_marks(self, ended: bool) -> bool:
        """Write the status lines of reached boundaries and let the streams continue after their marks.

        Returns False if there was nothing to do.
        """
        before = len(self._boundaries)
        if before:
            self._finish()
        while self._boundaries and self._reached(self._boundaries[0], ended):
            self._say_once(self._boundaries.popleft().sentence)
        waiting = {boundary.mark for boundary in self._boundaries}
        passing = [stream for stream in self._printed if stream.tail.mark and stream.tail.mark not in waiting]
        for stream in passing:
            stream.passed = self._marks[stream.tail.mark]
            stream.tail.pass_mark()
            stream.read_at = 0.0  # the output after the mark is due immediately
        return bool(passing) or len(self._boundaries) < before

    def _reached(self, boundary: Boundary, ended: bool) -> bool:
        """Whether all output before a boundary is shipped. The wait for a mark that never arrives is limited."""
        number, over = self._marks[boundary.mark], ended or get_uptime() - boundary.seen_at >= GRACE_S

        def reached(stream: Stream) -> bool:
            tail = stream.tail
            if tail.mark:
                return self._marks[tail.mark] >= number
            return (over and not tail.unread) or tail.position > boundary.latest[tail.stream]

        return all(reached(stream) for stream in self._printed)

    def _say_once(self, sentence: str) -> None:
        """Write a status line unless an earlier process has written it."""
        if sentence not in self._told:
            self._status(sentence)

    def _ship(self, stream: Stream, ended: bool) -> bool:
        clock, now = time.time(), get_uptime()
        stream.notice(clock)
        stream.tail.skip()
        if stream.due(now, ended):
            lines, first, last = stream.read(clock, lambda mark: self._is_mark(stream, mark), ended)
        elif stream.unfinished_due(ended):
            lines, first, last = stream.tail.flush(), stream.changed_at, stream.changed_at
        else:
            if stream.preview_due():
                self._preview(stream)
            self._release(stream)
            return False
        if lines is not None:
            self._post(stream, lines, first, last)
        self._release(stream)
        return True

    def _post_status(self) -> None:
        lines, first, last = self._status_stream.read(time.time(), no_marks, ended=False)
        if lines is not None:
            self._post(self._status_stream, lines, first, last)

    def _batch(self, stream: Stream, lines: Lines, first: float, last: float) -> LogBatch:
        return LogBatch(
            attempt=self._attempt,
            stream=stream.tail.stream,
            start=lines.start,
            end=lines.end,
            first_us=self._clock.us(first),
            last_us=self._clock.us(last),
            skipped=lines.start - stream.acknowledged,
        )

    def _post(self, stream: Stream, lines: Lines, first: float, last: float) -> None:
        masked = self._reporter.mask(lines.text)  # while the batch before is stored
        if self._finish() is stream:
            return  # it continues elsewhere
        if stream is not self._status_stream and self._status_stream.tail.unread:
            self._post_status()  # before any later output
        batch = self._batch(stream, lines, first, last)
        send = partial(self._reporter.log, self._execution, batch, masked)
        if stream.is_behind:
            self._posting = Posting(stream, lines.end, send)
        else:
            self._acknowledge(stream, lines.end, send())

    def _finish(self) -> Stream | None:
        """Wait until the batch on its way is stored; return its stream if that continues elsewhere."""
        posting, self._posting = self._posting, None
        if posting is None or self._acknowledge(posting.stream, posting.end, posting.acknowledged()):
            return None
        return posting.stream

    def _acknowledge(self, stream: Stream, end: int, acknowledged: int) -> bool:
        """Record what the server has; continue there and return False if it is not what was sent."""
        stream.acknowledged, stream.posted_at = acknowledged, get_uptime()
        if acknowledged > stream.tail.size:
            raise PushmillError(f"the server has {acknowledged} bytes of {stream.tail.stream}, more than there are")
        if acknowledged != end:
            stream.tail.rewind(acknowledged)
            stream.passed = -1
        return acknowledged == end

    def _preview(self, stream: Stream) -> None:
        """Show an unfinished line. The next preview or the whole line replaces it; only whole lines are stored."""
        stream.posted_at = get_uptime()
        if (preview := stream.tail.preview()) != stream.previewed:
            stream.previewed = preview
            with contextlib.suppress(PushmillError):  # the next line raises Conflict again
                self._reporter.preview(self._execution, self._attempt, stream.tail.stream, *preview)

    def _release(self, stream: Stream) -> None:
        if stream.tail.stream == "status":
            return
        stream.tail.release(stream.acknowledged)
        if stream.tail.past_head and not stream.told_full:
            stream.told_full = True
            limit, rest = format_size(self._limit), format_size(self._limit - self._limit // 2)
            self._say_once(
                f"{stream.tail.stream} is longer than half of the log's limit of {limit}: "
                f"of what follows the newest {rest} are kept"
            )

"""Bytes of one stream → whole lines; pure.

The bytes are read as by this machine, one at a time: `\\n` ends the line; `\\r` says that the next other byte overwrites
it; a line that outgrows `max_line` is cut there, or a little before, so that no secret is cut in two. So any chunking
of the same bytes gives the same lines, and so does starting anew at the `end` of anything that was returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """`text` is whole lines, each ending in `\\n`; they came from the spool bytes `start` to `end`."""

    text: bytes
    start: int
    end: int


def hold_nothing(line: bytes) -> int:  # noqa: ARG001
    return 0


class LineAssembler:
    """Splits one stream into lines. `offset` is the spool offset of the first byte that will be fed.

    `hold` says how many bytes at the end of an unfinished line may not be shown apart from what follows them.
    """

    def __init__(self, offset: int = 0, max_line: int = MAX_LINE, hold: Callable[[bytes], int] = hold_nothing) -> None:
        self.consumed = offset  # everything before was returned
        self.pending = b""  # the unfinished line as it stands
        self._skipped = 0  # bytes between what was returned and what was fed that belong to no line
        self._hold = hold
        self._position = offset  # everything before was fed
        self._returned = False  # a carriage return came last: the next byte overwrites
        self._max_line = max_line

    @property
    def unfinished(self) -> bool:
        """Bytes of a line were fed and not returned."""
        return self._position - self._skipped > self.consumed

    def skip(self, size: int) -> None:
        """Count so many bytes of the stream that belong to no line. There must be no unfinished line."""
        self._position += size
        self._skipped += size

    def feed(self, data: bytes) -> Lines | None:
        """The lines that `data` finishes, or None."""
        start, last = self.consumed, data.rfind(b"\n")
        text = self._whole_chunk(data, last) if last >= 0 else None
        if text is None:
            text = self._byte_rules(data)
        else:
            self.pending = data[last + 1 :]
            self.consumed = self._position + last + 1
            self._position += len(data)
        if not text:
            return None
        self._skipped = 0
        return Lines(text, start, self.consumed)

    def preview(self) -> bytes:
        """The unfinished line as far as it may be shown before the rest has come."""
        held = 0 if self._returned else self._hold(self.pending)
        return self.pending[: len(self.pending) - held]

    def flush(self) -> Lines | None:
        """The unfinished line as a line of its own, since nothing follows; None when there is none."""
        if not self.unfinished:
            return None
        shown, start, self.consumed = self.pending, self.consumed, self._position
        self.pending, self._returned, self._skipped = b"", False, 0
        return Lines(shown + b"\n", start, self.consumed)

    def _whole_chunk(self, data: bytes, last: int) -> bytes | None:
        """The finished lines without a look at each, or None where the chunk needs one."""
        if self._returned or len(self.pending) + data.find(b"\n") > self._max_line or self._may_need_cuts(data, last):
            return None
        if b"\r" not in data:
            return self.pending + data[: last + 1]
        text = data[: last + 1].replace(b"\r\n", b"\n")
        return None if b"\r" in text or data.find(b"\r", last) >= 0 else self.pending + text

    def _may_need_cuts(self, data: bytes, last: int) -> bool:
        """False when every half of `max_line` up to the last newline holds one: no line there can be too long."""
        if len(data) <= self._max_line:
            return False
        half = max(1, self._max_line // 2)
        if len(data) - last > self._max_line:
            return True
        return any(data.find(b"\n", at, at + half) < 0 for at in range(0, last, half))

    def _byte_rules(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for number, line in enumerate(data.split(b"\n")):
            if number:
                out.append(self.pending + b"\n")
                self._position += 1
                self.consumed = self._position
                self.pending, self._returned = b"", False
            self._extend(line, out)
        return b"".join(out)

    def _extend(self, line: bytes, out: list[bytes]) -> None:
        for number, segment in enumerate(line.split(b"\r")):
            if number:
                self._returned = True
                self._position += 1
            if not segment:
                continue
            self.pending = segment if self._returned else self.pending + segment
            self._returned = False
            self._position += len(segment)
            self._cut(out)

    def _cut(self, out: list[bytes]) -> None:
        while len(self.pending) > self._max_line:
            line = self.pending[: self._max_line]
            end = self._max_line - self._hold(line)
            if end <= 0:  # it is one secret after the other: there is no better place
                end = self._max_line
            out.append(line[:end] + b"\n")
            self.pending = self.pending[end:]
            self.consumed = self._position - len(self.pending)

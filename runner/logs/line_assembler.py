"""Splits the bytes of one stream into whole lines; no I/O.

The rules apply to one byte at a time: `\\n` ends the line; after `\\r` the next other byte overwrites the line; a line
longer than `max_line` is cut there, or slightly before, so that no secret is split. Therefore any chunking of the same
bytes gives the same lines, and so does a restart at the `end` of any returned Lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """`text` is whole lines, each ending in `\\n`, from the spool bytes `start` to `end`."""

    text: bytes
    start: int
    end: int


def hold_nothing(line: bytes) -> int:  # noqa: ARG001
    return 0


class LineAssembler:
    """Splits one stream into lines. `offset` is the spool offset of the first byte that will be fed.

    `hold` returns how many bytes at the end of an unfinished line must not be shown before the bytes that follow them.
    """

    def __init__(self, offset: int = 0, max_line: int = MAX_LINE, hold: Callable[[bytes], int] = hold_nothing) -> None:
        self.consumed = offset  # everything before was returned
        self.pending = b""  # the unfinished line as it stands
        self._skipped = 0  # bytes between `consumed` and `_position` that belong to no line
        self._hold = hold
        self._position = offset  # everything before was fed
        self._returned = False  # the last byte was a carriage return: the next byte overwrites the line
        self._max_line = max_line

    @property
    def unfinished(self) -> bool:
        """Whether bytes of a line have been fed but not returned."""
        return self._position - self._skipped > self.consumed

    def skip(self, size: int) -> None:
        """Skip `size` bytes of the stream that belong to no line. There must be no unfinished line."""
        self._position += size
        self._skipped += size

    def feed(self, data: bytes) -> Lines | None:
        """Return the lines that `data` completes, or None."""
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
        """The part of the unfinished line that may be shown before its rest arrives."""
        held = 0 if self._returned else self._hold(self.pending)
        return self.pending[: len(self.pending) - held]

    def flush(self) -> Lines | None:
        """Return the unfinished line as a line of its own, at the end of the stream; None if there is none."""
        if not self.unfinished:
            return None
        shown, start, self.consumed = self.pending, self.consumed, self._position
        self.pending, self._returned, self._skipped = b"", False, 0
        return Lines(shown + b"\n", start, self.consumed)

    def _whole_chunk(self, data: bytes, last: int) -> bytes | None:
        """Fast path: the completed lines without inspecting each, or None if the chunk needs `_byte_rules`."""
        if self._returned or len(self.pending) + data.find(b"\n") > self._max_line or self._may_need_cuts(data, last):
            return None
        if b"\r" not in data:
            return b"".join((self.pending, memoryview(data)[: last + 1]))  # copies each byte once
        text = data[: last + 1].replace(b"\r\n", b"\n")
        return None if b"\r" in text or data.find(b"\r", last) >= 0 else self.pending + text

    def _may_need_cuts(self, data: bytes, last: int) -> bool:
        """False if every `max_line / 2` bytes up to the last newline contain a newline: then no line is too long."""
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
            if end <= 0:  # the line consists of adjacent secrets: there is no better place
                end = self._max_line
            out.append(line[:end] + b"\n")
            self.pending = self.pending[end:]
            self.consumed = self._position - len(self.pending)

"""Masks secrets in text before it leaves this machine; no I/O.

A secret is recognised verbatim and line by line, escaped for JSON, for Python and for a shell, URL-encoded, in
hexadecimal, and in base64 at any offset of a longer encoded text; in wrapped base64 also by its fragments at the
beginning and the end of lines. None of these forms contains a line end.

Lines are searched for every form of each value with `bytes.find`: a million lines take a quarter of a second with a few
secrets, and nothing without any. Lines longer than 1 MiB are cut; the line assembler asks the masker how many bytes at
the end may be the beginning of a form and holds them back. Offsets therefore stay those of the raw bytes, and masking
does not depend on how the bytes arrived. The values are stored next to the spool for an adopting process.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final
from urllib.parse import quote, quote_plus

from core import secret_texts

MASK: Final = b"***"
PIECE: Final = 8  # this many characters of wrapped base64 (six bytes of the secret) are recognised as a fragment of it
GROUP: Final = 4  # wrapped base64 breaks lines only between groups of this many characters
# Python's quote without and with slashes; JavaScript's encodeURIComponent and encodeURI
URL_SAFE: Final = ("", "/", "!'()*", "!#$&'()*+,/:;=?@")
URL_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")

Places = Mapping[bytes, list[tuple[bytes, int]]]  # PIECE characters → forms that contain them, and at which offset

_first: Callable[[bytes], bytes] = itemgetter(slice(None, PIECE))
_last: Callable[[bytes], bytes] = itemgetter(slice(-PIECE, None))


class Masker:
    """Masks the given secrets. Without secrets it does nothing and costs nothing."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        texts = sorted(set(values))
        forms = {form for value in texts for form in _forms(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        encoded = [
            item
            for value in texts
            if secret_texts.strip_secret(value)
            for item in _base64(secret_texts.strip_secret(value))
        ]
        self._begins, self._ends = _places(encoded, 0), _places(encoded, PIECE)

    def mask(self, text: bytes) -> bytes:
        """Replace every stretch of `text` that shows a secret by `***`. Each line is masked independently of others."""
        if not self._forms:
            return text
        shown, at = [], 0
        for start, end in self._stretches(text):
            shown += [text[at:start], MASK]
            at = end
        return b"".join([*shown, text[at:]]) if shown else text

    def mask_text(self, text: str) -> str:
        return self.mask(text.encode(errors="surrogatepass")).decode(errors="surrogatepass") if self._forms else text

    def hold(self, line: bytes) -> int:
        """How many bytes at the end of an unfinished line must not be shown before the bytes that follow them.

        No form of a secret starts in the bytes before them and ends in them or in the bytes that follow.
        """
        if not self._forms:
            return 0
        cut = len(line) - max(_beginning(form, line) for form in self._forms)
        return len(line) - next((start for start, end in self._stretches(line) if start < cut < end), cut)

    def _stretches(self, text: bytes) -> list[tuple[int, int]]:
        """The stretches to mask, in order; overlapping and adjacent ones are merged."""
        found = [stretch for form in self._forms for stretch in _occurrences(form, text)]
        found += self._pieces(text)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def _pieces(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the stretches where a line begins or ends with a fragment of a base64 form."""
        lines = text.split(b"\n")
        if self._begins.keys().isdisjoint(map(_first, lines)) and self._ends.keys().isdisjoint(map(_last, lines)):
            return
        at = 0
        for line in lines:
            size = len(line)
            for form, place in self._begins.get(line[:PIECE], ()):
                yield at, at + _common(line, form[place : place + size])
            for form, place in self._ends.get(line[-PIECE:], ()):
                yield at + size - _common(line[::-1], form[max(0, place - size) : place][::-1]), at + size
            at += size + 1


def _forms(value: str) -> Iterator[bytes]:
    """Yield the forms of a secret to search for, none of which contains a line end."""
    whole = secret_texts.strip_secret(value)
    texts = [*secret_texts.split_secret(value)]
    texts += [escaped for text in [whole, *texts] if text for escaped in _escaped(text)]
    if whole:
        texts += [encoded for text in {quote(whole, safe=safe) for safe in URL_SAFE} | {quote_plus(whole)}
                  for encoded in (text, URL_ESCAPE.sub(lambda match: match.group().lower(), text))]  # fmt: skip
        data = whole.encode(errors="replace")
        yield from (data.hex().encode(), data.hex().upper().encode())
        for form, _ in _base64(whole):
            yield from (form, form.translate(bytes.maketrans(b"+/", b"-_")))
    yield from (text.encode(errors="replace") for text in texts if not secret_texts.LINE_ENDS.search(text))


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    for quoted in ("'\\''", "'\"'\"'"):
        yield text.replace("'", quoted)


def _base64(text: str) -> Iterator[tuple[bytes, int]]:
    """For 0, 1 and 2 preceding bytes: the base64 characters independent of neighbours, and how many precede them."""
    data = text.encode(errors="replace")
    for before in range(3):
        first, last = -(-8 * before // 6), 8 * (before + len(data)) // 6
        yield base64.b64encode(bytes(before) + data)[first:last], first


def _places(encoded: Iterable[tuple[bytes, int]], behind: int) -> Places:
    """Index the places where wrapped base64 can break, by the PIECE characters after or (`behind`) before them."""
    places: dict[bytes, list[tuple[bytes, int]]] = {}
    for form, before in encoded:
        for at in range(-before % GROUP, len(form) - PIECE + 1, GROUP):
            places.setdefault(form[at : at + PIECE], []).append((form, at + behind))
    return places


def _occurrences(form: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the stretches of `text` that consist of `form`; overlapping and adjacent ones are merged."""
    size, start = len(form), text.find(form)
    while start >= 0:
        end = start + size
        while (more := text.rfind(form, end - size + 1, end + size)) >= 0:
            end = more + size
        yield start, end
        start = text.find(form, end)


def _beginning(form: bytes, line: bytes) -> int:
    """The length of the longest proper prefix of `form` at the end of `line`."""
    tail = line[1 - len(form) :]
    at = tail.find(form[:1])
    while at >= 0 and not form.startswith(tail[at:]):
        at = tail.find(form[:1], at + 1)
    return len(tail) - at if at >= 0 else 0


def _common(one: bytes, other: bytes) -> int:
    """The length of the common prefix of two texts."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

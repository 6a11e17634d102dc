"""Previews of output files: their beginning as table or text, and the media types of images and sound.

Only raster images and sound are ever shown as they are, recognised by their first bytes; both run nothing.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import orjson

TEXT_BYTES = 64 * 1024
MEDIA_BYTES = 32 * 1024 * 1024
THUMBNAIL_BYTES = 5 * 1024 * 1024
ROWS, COLUMNS, CELL = 100, 50, 200
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
SHOWN = re.compile(
    r"\.(?:csv|tsv|json|jsonl|txt|log|md|ya?ml|toml|ini|cfg|py|sh|xml|html|svg|wav|mp3|ogg|flac)", re.IGNORECASE
)
MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"), (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"), (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"), (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]"), "audio/mpeg"),
    (re.compile(rb"OggS"), "audio/ogg"), (re.compile(rb"fLaC"), "audio/flac"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Preview:
    """`media` is "image", "audio" or ""; `rows` and `text` are the beginning of a file, whole unless `cut`."""

    media: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    text: str = ""
    cut: bool = False


def has_thumbnail(name: str, size: int) -> bool:
    return size <= THUMBNAIL_BYTES and name.lower().endswith(PICTURES)


def has_preview(name: str) -> bool:
    """Return whether a file's name promises something to show."""
    return name.lower().endswith(PICTURES) or SHOWN.fullmatch(Path(name).suffix) is not None


def detect_media_type(path: Path) -> str:
    """Return the media type of an image or sound of at most MEDIA_BYTES; "" for anything else."""
    with path.open("rb") as file:
        head = file.read(16)
    return "" if path.stat().st_size > MEDIA_BYTES else next((kind for magic, kind in MAGIC if magic.match(head)), "")


def make_preview(path: Path, name: str) -> Preview | None:
    """Return the preview of a file; None if it is binary or too large."""
    if media := detect_media_type(path):
        return Preview(media=media.partition("/")[0])
    with path.open("rb") as file:
        head = file.read(TEXT_BYTES + 1)
    if b"\0" in head:
        return None
    cut = len(head) > TEXT_BYTES
    if cut:
        head = head[: head.rfind(b"\n") + 1 or TEXT_BYTES]
    suffix = Path(name).suffix.lower()
    if suffix in (".csv", ".tsv") and (rows := _table(head.decode("utf-8", "replace"), suffix)):
        return Preview(rows=tuple(rows[:ROWS]), cut=cut or len(rows) > ROWS)
    return Preview(text=_indented(head) if suffix == ".json" else head.decode("utf-8", "replace"), cut=cut)


def _table(text: str, suffix: str) -> list[tuple[str, ...]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",")
    try:
        return [
            tuple(cell[:CELL] for cell in row[:COLUMNS]) for _, row in zip(range(ROWS + 1), reader, strict=False) if row
        ]
    except csv.Error:
        return []


def _indented(text: bytes) -> str:
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return text.decode("utf-8", "replace")

"""Small real files among the demo's outputs: an image, a table and a sound."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib


def picture(spread: float = 1, size: int = 96) -> bytes:
    """Draw a confusion matrix as PNG, bright on and near its diagonal."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def pixel(x: int, y: int) -> bytes:
        near = math.exp(-((((x // 12) - (y // 12)) / spread) ** 2))
        return bytes((int(30 + 60 * near), int(60 + 120 * near), int(110 + 140 * near)))

    lines = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(size)) for y in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def table(rows: int = 400) -> bytes:
    lines = (
        f"plate-{i % 17:02},{i},{0.5 + 0.4 * math.sin(i):.4f},{'cell' if i % 3 else 'debris'}\n" for i in range(rows)
    )
    return ("plate,tile,score,label\n" + "".join(lines)).encode()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 5))) for i in range(8000)))
    return file.getvalue()

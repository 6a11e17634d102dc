"""Log lines as HTML, the same for a page, for earlier lines fetched later, and for lines that come live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from web.services.presentation.ansi import to_html
from web.services.presentation.formats import size
from web.store.logs import LogLine

CHUNK_LINES = 500  # a browser lays out only the chunks that are near the screen
LINE_BYTES = 4096  # shown of one line; the rest is in the download
US_PER_DAY = 86_400_000_000


def chunks(lines: Iterable[LogLine]) -> str:
    """Lines in chunks that begin at multiples of CHUNK_LINES."""
    return "".join(
        f'<div class="chunk" data-chunk="{number}">{"".join(html(line) for line in group)}</div>'
        for number, group in groupby(lines, key=lambda line: line.number // CHUNK_LINES)
    )


def html(line: LogLine) -> str:
    """One line; the number that people see and link to counts from 1."""
    number = line.number + 1
    kind = f' class="{line.stream}"' if line.stream != "stdout" else ""
    if line.count > 1:
        kind += f' data-lines="{line.count}"'
    return (
        f'<div id="L{number}"{kind}><a href="#L{number}" data-t="{_time(line.time_us)}">{number}</a>'
        f"<span>{text(line)}</span></div>"
    )


def partial(lines: Mapping[str, str]) -> str:
    """The unfinished lines, by stream."""
    shown = ((stream, to_html(text)) for stream, text in lines.items())
    return "".join(f'<div class="{stream}"><a></a><span>{html}</span></div>' for stream, html in shown)


def plain(line: LogLine) -> str:
    """One line without a number, for a few last lines."""
    return f'<span class="{line.stream}">{text(line)}</span>'


def text(line: LogLine) -> str:
    """What the line says, as HTML."""
    shown = line.message[:LINE_BYTES].decode("utf-8", "replace")
    over = len(line.message) - LINE_BYTES
    return to_html(shown) + (f"<em>… {size(over)} more in the full log</em>" if over > 0 else "")


def _time(time_us: int) -> str:
    """The time of the day, UTC, to the millisecond."""
    milliseconds = time_us % US_PER_DAY // 1000
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"

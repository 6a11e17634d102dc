"""Log lines as HTML: on the page, for earlier lines loaded on demand, and for live lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from core.units import size_text
from web.services.presentation.ansi import to_html
from web.store.logs import LogLine

CHUNK_LINES = 500  # a browser lays out only the chunks near the viewport
LINE_BYTES = 4096  # of one line are shown; the rest is in the download
US_PER_DAY = 86_400_000_000


def chunks(lines: Iterable[LogLine]) -> str:
    """Return lines in chunks that start at multiples of CHUNK_LINES."""
    return "".join(
        f'<div class="chunk" data-chunk="{number}">{"".join(html(line) for line in group)}</div>'
        for number, group in groupby(lines, key=lambda line: line.number // CHUNK_LINES)
    )


def html(line: LogLine) -> str:
    """Return a line; the displayed number, which links use, counts from 1."""
    number = line.number + 1
    kind = f' class="{line.stream}"' if line.stream != "stdout" else ""
    if line.count > 1:
        kind += f' data-lines="{line.count}"'
    return (
        f'<div id="L{number}"{kind}><a href="#L{number}" data-t="{_time(line.time_us)}">{number}</a>'
        f"<span>{text(line)}</span></div>"
    )


def partial(lines: Mapping[str, str]) -> str:
    """Return the unfinished lines, given by stream."""
    shown = ((stream, to_html(text)) for stream, text in lines.items())
    return "".join(f'<div class="{stream}"><a></a><span>{html}</span></div>' for stream, html in shown)


def plain(line: LogLine) -> str:
    """Return a line without its number, for excerpts of the last lines."""
    return f'<span class="{line.stream}">{text(line)}</span>'


def text(line: LogLine) -> str:
    """Return the message of a line as HTML, cut to LINE_BYTES."""
    shown = line.message[:LINE_BYTES].decode("utf-8", "replace")
    over = len(line.message) - LINE_BYTES
    return to_html(shown) + (f"<em>… {size_text(over)} more in the full log</em>" if over > 0 else "")


def _time(time_us: int) -> str:
    """Format the time of day in UTC, to the millisecond."""
    milliseconds = time_us % US_PER_DAY // 1000
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"

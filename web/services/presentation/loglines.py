"""Log lines as HTML: on the page, for earlier lines loaded on demand, and for live lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from core.units import format_duration, format_size
from web.services.presentation.ansi import to_html
from web.services.presentation.log_commands import Command, is_start
from web.store.logs import LogLine

CHUNK_LINES = 500  # a browser lays out only the chunks near the viewport
LINE_BYTES = 4096  # most bytes of a line that are shown; the download has all of it
US_PER_DAY = 86_400_000_000


def render_chunks(lines: Iterable[LogLine], commands: Mapping[int, Command] = {}) -> str:
    """Return lines in chunks that start at multiples of CHUNK_LINES; `commands` are by their first line."""
    return "".join(
        f'<div class="chunk" data-chunk="{number}">{"".join(render_line(line, commands.get(line.number)) for line in group)}</div>'
        for number, group in groupby(lines, key=lambda line: line.number // CHUNK_LINES)
    )


def render_line(line: LogLine, command: Command | None = None) -> str:
    """Return a line; the displayed number, which links use, counts from 1. The first line of a command folds it."""
    number = line.number + 1
    names = [line.stream] if line.stream != "stdout" else ["metric"] if line.is_metric else []
    if is_start(line):
        names.append("head")
    shown = render_message(line)
    if command is not None and command.end is not None:
        names.append("command")
        folded = line.count > 1 or command.end - command.first == 1
        shown = (
            f'<button type="button" data-command="{command.number}" aria-expanded="{"false" if folded else "true"}">'
            f"{shown}</button>{_outcome(command, line.count - 1)}"
        )
    kind = f' class="{" ".join(names)}"' if names else ""
    if line.count > 1:
        kind += f' data-lines="{line.count}"'
    return (
        f'<div id="L{number}"{kind}><a href="#L{number}" tabindex="-1" data-t="{_time(line.time_us)}">{number}</a>'
        f"<span>{shown}</span></div>"
    )


def render_partial(lines: Mapping[str, str]) -> str:
    """Return the unfinished lines, given by stream."""
    shown = ((stream, to_html(text)) for stream, text in lines.items())
    return "".join(f'<div class="{stream}"><a></a><span>{html}</span></div>' for stream, html in shown)


def _outcome(command: Command, hidden: int) -> str:
    parts = [f"{hidden:,} line{'s' if hidden > 1 else ''}"] if hidden > 0 else []
    parts += [format_duration(command.seconds)] if command.seconds is not None else []
    parts += [f"exit code {command.code}"] if command.code else []
    kind = ' class="bad-news"' if command.code else ""
    return f"<em{kind}>{' · '.join(parts)}</em>"


def render_plain_line(line: LogLine) -> str:
    """Return a line without its number, for excerpts of the last lines."""
    return f'<span class="{line.stream}">{render_message(line)}</span>'


def render_message(line: LogLine) -> str:
    """Return the message of a line as HTML, cut to LINE_BYTES."""
    shown = line.message[:LINE_BYTES].decode("utf-8", "replace")
    over = len(line.message) - LINE_BYTES
    return to_html(shown) + (f"<em>… {format_size(over)} more in the full log</em>" if over > 0 else "")


def _time(time_us: int) -> str:
    """Format the time of day in UTC, to the millisecond."""
    milliseconds = time_us % US_PER_DAY // 1000
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"

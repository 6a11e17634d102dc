"""Text of the comment on a pull request: a table of its runs, in Markdown that every forge renders alike.

Text from users is put in code spans, where Markdown, HTML, mentions, references and quick actions have no effect.
Characters that would end the span or the table cell are replaced by lookalikes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.states import State
from web.config.metadata import to_number
from web.services.presentation import formats, headline
from web.services.presentation.execution_status import SIGNS, format_state

ROWS = 30
TEXT_CHARS = 60_000  # GitHub accepts 65,536
CELLS = 6  # maximum of parameters, and of metrics, in a row
CODE_CHARS = 60
PROBLEM_CHARS = 300
LOOKALIKES = str.maketrans({"`": "\u02cb", "|": "\u00a6"})
HEAD = "| Step | State | Parameters | Metrics | Time |\n|---|---|---|---|---|"


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """The execution of a task or pipeline whose parameters and metrics its row shows; `node` is "" for a task."""

    node: str
    number: str
    url: str


@dataclass(frozen=True, kw_only=True)
class CommentRow:
    """A row of the table. `why` is Markdown shown after the state, `took` the duration.

    `parameters` are those that differ from the defaults, or from the base branch, whose values are in `before`.
    `latest` is the metadata of this run, `base` that of the base branch's newest run.
    """

    label: str
    number: str
    url: str
    state: State
    why: str
    parameters: Mapping[str, Any]
    latest: Mapping[str, Any]
    base: Mapping[str, Any]
    took: str
    source: RunSource | None = None
    before: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CommentContent:
    """What the comment of a commit at `url` shows.

    `runs` are the first runs, `states` the states of all. `problem` says why something did not run.
    """

    sha: str
    url: str
    base_branch: str
    states: Sequence[State]
    runs: Sequence[CommentRow]
    marker: str
    problem: str = ""


def format_comment(content: CommentContent) -> str:
    """Return the text of the comment. Equal contents give equal text, and nothing in it changes with time alone."""
    states, runs, problem, url = content.states, content.runs, content.problem, content.url
    compared = (
        f" Metrics are compared with the newest run on {format_inline_code(content.base_branch)}."
        if any(run.base for run in runs)
        else ""
    )
    wrong = format_inline_code(problem, PROBLEM_CHARS) if problem else ""
    summary = "; ".join(filter(None, (_summary(states) if states or not wrong else "", wrong)))
    head = f"**pushmill** [{format_inline_code(content.sha[:8])}]({url}): {summary}.{compared}"
    rows = [_row(run) for run in runs]
    while True:
        more = len(states) - len(rows)
        table = "\n".join([HEAD, *rows]) if rows else ""
        rest = f"{more} more on the [commit page]({url})." if more else ""
        whole = "\n\n".join(filter(None, (head, table, rest, content.marker)))
        if len(whole) <= TEXT_CHARS or not rows:
            return whole
        rows.pop()


def make_hidden_marker(token: str) -> str:
    """Return a line that forges do not show, used to find our comment again."""
    return f"[//]: # (pushmill {token})"


def format_inline_code(given: str, most: int = CODE_CHARS) -> str:
    """Return text from users as a safe code span, "-" if it is empty."""
    shown = formats.to_one_line(given).translate(LOOKALIKES).strip()
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return f"`{shown}`" if shown else "-"


def _summary(states: Sequence[State]) -> str:
    """Count the states, such as "2 succeeded, 1 failed"."""
    counts = Counter(states)
    return (
        ", ".join(f"{counts[state]} {format_state(state, group=True).lower()}" for state in State if counts[state])
        or "no runs yet"
    )


def _row(run: CommentRow) -> str:
    cells = (
        f"[{format_inline_code(run.label)} {run.number}]({run.url})",
        f"{SIGNS[run.state]} {format_state(run.state, group=run.number[:1] != '#')}{f': {run.why}' if run.why else ''}",
        _cut([_parameter(name, value, run.before) for name, value in run.parameters.items()]),
        _source(run.source) + _cut([_metric(key, run) for key in headline.rank_keys(run.latest)]),
        run.took,
    )
    return f"| {' | '.join(cells)} |"


def _source(source: RunSource | None) -> str:
    """Link the source, such as "best [#31](…): "."""
    if source is None:
        return ""
    return f"{format_inline_code(source.node) if source.node else 'best'} [{source.number}]({source.url}): "


def _parameter(name: str, value: object, before: Mapping[str, Any]) -> str:
    """Format a parameter, such as `rate = 0.02` (was `0.01`)."""
    shown = format_inline_code(f"{name} = {formats.format_value(value)}")
    return f"{shown} (was {format_inline_code(formats.format_value(before[name]))})" if name in before else shown


def _metric(key: str, run: CommentRow) -> str:
    """Format a metric, such as `accuracy` 0.942 (+0.012). The difference of an unchanged counter is omitted."""
    value, before = to_number(run.latest[key]), to_number(run.base.get(key))
    assert value is not None  # noqa: S101  (ranked lists numbers only)
    shown = f"{format_inline_code(key)} {formats.format_number(run.latest[key])}"
    if before is None or (value == before and headline.is_counter(key)):
        return shown
    change = value - before
    return f"{shown} ({'+' if change > 0 else '±' if change == 0 else '-'}{formats.format_number(abs(change))})"


def _cut(cells: Sequence[str]) -> str:
    more = len(cells) - CELLS
    return ", ".join([*cells[:CELLS], *([f"and {more} more"] if more > 0 else [])])

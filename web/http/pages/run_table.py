"""The chosen columns of the table of executions, and its rows as markup: a template takes three times as long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from flask import request, url_for
from markupsafe import Markup

from core.model import Execution, Project, shorten_ref
from core.units import format_duration
from web.config.metadata import to_number
from web.http.pages import columns, groups
from web.http.pages.columns import Column
from web.http.pages.groups import Place
from web.http.pages.paging import query
from web.services.presentation import execution_status, formats, headline, trends
from web.services.presentation.run_names import RunNames
from web.services.presentation.trends import Trends
from web.store import commits, metadata, metadata_of_many
from web.store.db import Database
from web.store.execution_table import OF_KEY, By, SortOrder

FIXED = ("step", "commit", "who", "environment", "duration", "created", "trend")  # columns that every execution has
SORTED = ("step", "duration", "created")
LABELS = {"m.": "", "best.": "best ", "min.": "lowest ", "max.": "highest "}  # by prefix of a column
PARAMETERS, METRICS = 4, 4  # columns of each kind if none are chosen
MOST_COLUMNS = 40
LISTED = 50  # most parameters, and most metrics, that are listed to choose from
NO_VALUE = "<td></td>"
TREND_PARTS = 12  # parts of a series, each with two points


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """An execution with markup: its number, its other columns, and its line in the chart; `reason` is why it failed."""

    execution: Execution
    reason: str
    number: Markup
    cells: Markup
    line: Markup


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """A column of the last, best, lowest or highest number of a metric."""

    prefix: str
    key: str

    def value(self, latest: Any, extent: tuple[float, float] | None) -> Any:
        if self.prefix == "m." or extent is None:
            return latest
        return extent[0] if self.prefix == "min." or (self.prefix == "best." and self.less) else extent[1]

    @property
    def less(self) -> bool:
        return headline.less_is_better(self.key)


def choose_columns(names: RunNames, order: SortOrder) -> list[str]:
    """Return the columns that the URL asks for, or the default ones, always including the one that sorts."""
    usual = ["step", "trend", "commit", *(f"p.{name}" for name in names.varying[:PARAMETERS])]
    usual += [*(f"m.{name}" for name in names.metrics[:METRICS]), "who", "duration", "created"]
    asked = [name for name in request.args.getlist("col") if name in FIXED or columns.split(name)]
    found = list(dict.fromkeys(asked))[:MOST_COLUMNS] or usual
    sorting = columns.format_name(order)
    return found if order.kind is By.COLUMN or sorting in found else [*found, sorting]


@dataclass(frozen=True, kw_only=True)
class ColumnPicker:
    """Columns to choose from: `chosen` are (name, label, link that moves it before its neighbour); others are names."""

    chosen: list[tuple[str, str, str]]
    fixed: list[str]
    parameters: list[str]
    metrics: list[str]


def build_picker(names: RunNames, chosen: Sequence[str]) -> ColumnPicker:
    earlier = [[*chosen[: i - 1], name, chosen[i - 1], *chosen[i + 1 :]] if i else [] for i, name in enumerate(chosen)]
    return ColumnPicker(
        chosen=[
            (name, _label(name), query(col=moved) if moved else "") for name, moved in zip(chosen, earlier, strict=True)
        ],
        fixed=[name for name in FIXED if name not in chosen],
        parameters=[name for name in names.parameters[:LISTED] if f"p.{name}" not in chosen],
        metrics=list(names.metrics[:LISTED]),
    )


def build_headings(chosen: Sequence[str], order: SortOrder) -> list[Column]:
    return [_heading(name, order) for name in chosen]


def build_rows(
    db: Database, project: Project, found: Sequence[Execution], chosen: Sequence[str], drawn: Trends | None
) -> list[RunRow]:
    table = _Table(db, project, found, chosen, drawn)
    return [table.row(execution) for execution in found]


def load_trends(
    db: Database, names: RunNames, order: SortOrder, found: Sequence[Execution], chosen: Sequence[str]
) -> Trends | None:
    """Return the lines of the column of trends: of the metric that sorts, or else of the most important one."""
    ranked = headline.rank_keys(dict.fromkeys(names.metrics, 0))
    key = order.by if order.kind in OF_KEY else next((key for key in ranked if not headline.is_counter(key)), "")
    if not key or "trend" not in chosen:
        return None
    series = metadata_of_many.map_series(db, [execution.id for execution in found], key, TREND_PARTS)
    return trends.draw_trends(
        key, {of: [(point.seq, point.value) for point in points] for of, points in series.items()}
    )


def _label(name: str) -> str:
    prefix, of = columns.split(name) or ("", name)
    return LABELS.get(prefix, "") + of


def _heading(name: str, order: SortOrder) -> Column:
    if name in FIXED:
        found = columns.make_column(name, name.capitalize(), order)
        return found if name in SORTED else columns.make_plain_column(name, name.capitalize())
    prefix, of = columns.split(name) or ("", name)
    kind = next(kind for kind, its in columns.PREFIXES.items() if its == prefix)
    return columns.make_column(of, _label(name), order, kind)


class _Table:
    """What several rows of a page need, read once."""

    def __init__(
        self, db: Database, project: Project, found: Sequence[Execution], chosen: Sequence[str], drawn: Trends | None
    ) -> None:
        ids = [execution.id for execution in found]
        self.chosen = chosen
        self.trends = drawn.lines if drawn else {}
        self.metrics = {name: MetricColumn(prefix=kind, key=of) for name, kind, of in _split(chosen) if kind in LABELS}
        keys = list({column.key for column in self.metrics.values()})
        self.latest = metadata.map_latest_by_execution(db, ids, keys)
        extents = [column.key for column in self.metrics.values() if column.prefix != "m."]
        self.extents = metadata_of_many.map_extents(db, ids, extents)
        self.commits = commits.get_many(db, {execution.commit_id for execution in found})
        self.places = groups.map_places(db, found)
        self.url = url_for("executions.listing", name=project.name)
        self.cells = [self._cell(name, found) for name in chosen]

    def row(self, execution: Execution) -> RunRow:
        return RunRow(
            execution=execution,
            reason=execution_status.explain_failure(execution),
            number=Markup(self._number(execution.counter)),  # noqa: S704  (escaped here, as are the others)
            cells=Markup("\n".join([cell(execution) for cell in self.cells])),  # noqa: S704
            line=Markup(self._use(execution)),  # noqa: S704
        )

    def _number(self, n: int) -> str:
        return (
            f'<th scope="row" class="n first"><label><span class="hidden-word">Choose #{n}</span>'
            f'<input type="checkbox" class="picked" form="chosen" name="e" value="{n}"></label> <svg class="swatch'
            f' series-{n % 8}" viewBox="0 0 12 12" aria-hidden="true"><circle cx="6" cy="6" r="5"/></svg>'
            f' <a href="{self.url}executions/{n}/">#{n}</a></th>'
        )

    def _use(self, e: Execution) -> str:
        if e.id not in self.trends:
            return ""
        transform = self.trends[e.id].transform
        return f'<use href="#s{e.counter}" class="series-{e.counter % 8}" transform="{transform}"/>'

    def _cell(self, name: str, found: Sequence[Execution]) -> Callable[[Execution], str]:
        """Return what makes the cells of a column."""
        start = f'<td class="n" data-label="{_line(_label(name))}" title="'
        if name in self.metrics:
            column = self.metrics[name]
            values = {e.id: value for e in found if (value := self._value(e, column)) is not None}
            best = _best(column, list(values.values()))
            return lambda e: _value_cell(start, values[e.id], best) if e.id in values else NO_VALUE
        if name.startswith("p."):
            of = name.removeprefix("p.")
            return lambda e: _value_cell(start, e.parameters[of]) if of in e.parameters else NO_VALUE
        fixed: Callable[[Execution], str] = getattr(self, f"_{name}")
        return fixed

    def _value(self, e: Execution, column: MetricColumn) -> Any:
        return column.value(self.latest.get(e.id, {}).get(column.key), self.extents.get((e.id, column.key)))

    def _step(self, e: Execution) -> str:
        title = f' <span class="muted">{_line(e.title)}</span>' if e.title else ""
        tags = "".join(f' <span class="tag">{_line(tag)}</span>' for tag in e.tags)
        place = self._place(self.places[e.id]) if e.id in self.places else ""
        return f'<td class="c-step">{_line(e.step)}{title}{place}{tags}</td>'

    def _place(self, place: Place) -> str:
        if place.task:
            number, what = place.task.counter, f"Trial {(place.trial or 0) + 1} of task {_line(place.task.name)}"
            return f' <a class="tag" href="{self.url}tasks/{number}/" title="{what}">!{number}</a>'
        assert place.pipeline is not None  # noqa: S101  (a place has one of both)
        number, what = place.pipeline.counter, f"Node {_line(place.node)} of pipeline {_line(place.pipeline.name)}"
        return f' <a class="tag" href="{self.url}pipelines/{number}/" title="{what}">={number}</a>'

    def _commit(self, e: Execution) -> str:
        commit = self.commits[e.commit_id]
        branch = "" if commit.adhoc else f'<span class="clip branch">{_line(shorten_ref(commit.ref))}</span> '
        sha = _line(commit.identifier)
        return (
            f'<td class="c-commit">{branch}<a class="sha" href="{self.url}commits/{sha}/">{sha[:8]}</a>'
            f' <span class="muted clip">{_line(formats.extract_subject(commit.message))}</span></td>'
        )

    def _who(self, e: Execution) -> str:
        return f'<td class="c-who" data-label="by">{_line(e.creator)}</td>'

    def _environment(self, e: Execution) -> str:
        return f'<td data-label="environment">{_line(e.environment)}</td>'

    def _trend(self, e: Execution) -> str:
        if e.id not in self.trends:
            return NO_VALUE
        return (
            f'<td class="trend"><svg class="series-{e.counter % 8}" viewBox="0 0 240 48" preserveAspectRatio="none"'
            f' aria-hidden="true"><polyline class="trend-line" id="s{e.counter}" points="{self.trends[e.id].points}"/></svg></td>'
        )

    def _duration(self, e: Execution) -> str:
        ran = execution_status.compute_run_seconds(e)
        if ran is None or e.started_at is None:
            return '<td class="n c-duration"></td>'
        ticking = "" if e.ended_at else f' data-since="{e.started_at}"'
        ended = formats.format_time(e.ended_at) if e.ended_at else "now"
        during = f"{formats.format_time(e.started_at)} to {ended}"
        return f'<td class="n c-duration"><time{ticking} title="{during}">{format_duration(ran)}</time></td>'

    def _created(self, e: Execution) -> str:
        at, exact = formats.format_age(e.created_at), formats.format_time(e.created_at)
        return f'<td class="n c-created"><time datetime="{e.created_at}" data-ago title="{exact}">{at}</time></td>'


def _split(chosen: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (column, prefix, name) of the columns of parameters and metrics."""
    return [(name, *found) for name in chosen if name not in FIXED and (found := columns.split(name))]


def _line(text: str) -> str:
    """Return untrusted text for one line of HTML, or for an attribute."""
    return escape(formats.to_one_line(text))


def _best(column: MetricColumn, values: Sequence[Any]) -> Any:
    """Return the best number of the page, None for a counter and if there is nothing to compare."""
    numbers = [value for value in values if not isinstance(value, str) and to_number(value) is not None]
    if len(numbers) < 2 or headline.is_counter(column.key):
        return None
    return min(numbers) if column.less else max(numbers)


def _value_cell(start: str, value: Any, best: Any = None) -> str:
    """Return the cell of a parameter or metric; `start` is its markup up to the title, `best` the best of the page."""
    shown, whole = formats.format_value(value), formats.format_full_value(value)
    if not isinstance(value, (int, float)):  # the text of a number needs no escaping
        shown, whole = _line(shown), escape(formats.to_visible_text(whole))
    text = f"<b>{shown}</b>" if best is not None and value == best else shown
    return f'{start}{whole}">{text}</td>'

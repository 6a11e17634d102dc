"""The chosen columns of the table of executions, and its rows as markup: a template takes three times as long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from flask import request, url_for
from markupsafe import Markup

from core.model import Execution, Project, short_ref
from core.units import duration_text
from web.config.metadata import as_number
from web.http.pages import columns, groups
from web.http.pages.columns import Column
from web.http.pages.groups import Place
from web.http.pages.paging import query
from web.services.presentation import execution_status, formats, headline, trends
from web.services.presentation.run_names import RunNames
from web.services.presentation.trends import Trends
from web.store import commits, metadata, metadata_of_many
from web.store.db import Database
from web.store.execution_table import OF_KEY, By, Order

FIXED = ("step", "commit", "who", "environment", "duration", "created", "trend")  # columns that every execution has
SORTED = ("step", "duration", "created")
LABELS = {"m.": "", "best.": "best ", "min.": "lowest ", "max.": "highest "}  # of columns of a metric, by prefix
PARAMETERS, METRICS = 4, 4  # columns, if none are chosen
MOST_COLUMNS = 40
LISTED = 50  # parameters, and metrics, to choose from
NO_VALUE = "<td></td>"
TREND_PARTS = 12  # of a series: two points each


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """An execution with the markup of its columns; `reason` is why it failed."""

    execution: Execution
    reason: str
    cells: Markup


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


def chosen_columns(names: RunNames, order: Order) -> list[str]:
    """Return the columns that the URL asks for, or the default ones, always including the one that sorts."""
    usual = ["step", "trend", "commit", *(f"p.{name}" for name in names.varying[:PARAMETERS])]
    usual += [*(f"m.{name}" for name in names.metrics[:METRICS]), "who", "duration", "created"]
    asked = [name for name in request.args.getlist("col") if name in FIXED or columns.split(name)]
    found = list(dict.fromkeys(asked))[:MOST_COLUMNS] or usual
    sorting = columns.name(order)
    return found if order.kind is By.COLUMN or sorting in found else [*found, sorting]


@dataclass(frozen=True, kw_only=True)
class Picker:
    """Columns to choose from: `chosen` are (name, label, link that moves it before its neighbour); others are names."""

    chosen: list[tuple[str, str, str]]
    fixed: list[str]
    parameters: list[str]
    metrics: list[str]


def picker(names: RunNames, chosen: Sequence[str]) -> Picker:
    earlier = [[*chosen[: i - 1], name, chosen[i - 1], *chosen[i + 1 :]] if i else [] for i, name in enumerate(chosen)]
    return Picker(
        chosen=[
            (name, _label(name), query(col=moved) if moved else "") for name, moved in zip(chosen, earlier, strict=True)
        ],
        fixed=[name for name in FIXED if name not in chosen],
        parameters=[name for name in names.parameters[:LISTED] if f"p.{name}" not in chosen],
        metrics=list(names.metrics[:LISTED]),
    )


def headings(chosen: Sequence[str], order: Order) -> list[Column]:
    return [_heading(name, order) for name in chosen]


def rows(
    db: Database, project: Project, found: Sequence[Execution], chosen: Sequence[str], drawn: Trends | None
) -> list[RunRow]:
    table = _Table(db, project, found, chosen, drawn)
    return [table.row(execution) for execution in found]


def trends_of(
    db: Database, names: RunNames, order: Order, found: Sequence[Execution], chosen: Sequence[str]
) -> Trends | None:
    """Return the lines of the column of trends: of the metric that sorts, or else of the most important one."""
    ranked = headline.ranked(dict.fromkeys(names.metrics, 0))
    key = order.by if order.kind in OF_KEY else next((key for key in ranked if not headline.is_counter(key)), "")
    if not key or "trend" not in chosen:
        return None
    series = metadata_of_many.series_of(db, [execution.id for execution in found], key, TREND_PARTS)
    return trends.trends(key, {of: [(point.seq, point.value) for point in points] for of, points in series.items()})


def _label(name: str) -> str:
    prefix, of = columns.split(name) or ("", name)
    return LABELS.get(prefix, "") + of


def _heading(name: str, order: Order) -> Column:
    if name in FIXED:
        found = columns.column(name, name.capitalize(), order)
        return found if name in SORTED else columns.plain(name, name.capitalize())
    prefix, of = columns.split(name) or ("", name)
    kind = next(kind for kind, its in columns.PREFIXES.items() if its == prefix)
    return columns.column(of, _label(name), order, kind)


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
        self.latest = metadata.latest_of(db, ids, keys)
        extents = [column.key for column in self.metrics.values() if column.prefix != "m."]
        self.extents = metadata_of_many.extents_of(db, ids, extents)
        self.commits = commits.get_many(db, {execution.commit_id for execution in found})
        self.places = groups.places(db, found)
        self.url = url_for("executions.listing", name=project.name)
        self.best = {name: self._best(column, found) for name, column in self.metrics.items()}

    def row(self, execution: Execution) -> RunRow:
        cells = Markup("\n".join(self._cell(execution, name) for name in self.chosen))  # noqa: S704  (escaped here)
        return RunRow(execution=execution, reason=execution_status.failure(execution), cells=cells)

    def _cell(self, e: Execution, name: str) -> str:
        if name in self.metrics:
            column = self.metrics[name]
            value = self._value(e, column)
            best = value is not None and value == self.best[name]
            return _value_cell(LABELS[column.prefix] + column.key, value, best=best) if value is not None else NO_VALUE
        if name.startswith("p."):
            of = name.removeprefix("p.")
            return _value_cell(of, e.parameters[of]) if of in e.parameters else NO_VALUE
        return str(getattr(self, f"_{name}")(e))

    def _value(self, e: Execution, column: MetricColumn) -> Any:
        return column.value(self.latest.get(e.id, {}).get(column.key), self.extents.get((e.id, column.key)))

    def _best(self, column: MetricColumn, found: Sequence[Execution]) -> Any:
        """Return the best number of the page, None for a counter and if there is nothing to compare."""
        values = [self._value(execution, column) for execution in found]
        numbers = [value for value in values if not isinstance(value, str) and as_number(value) is not None]
        if len(numbers) < 2 or headline.is_counter(column.key):
            return None
        return min(numbers) if column.less else max(numbers)

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
        branch = "" if commit.adhoc else f'<span class="clip branch">{_line(short_ref(commit.ref))}</span> '
        sha = _line(commit.identifier)
        return (
            f'<td class="c-commit">{branch}<a class="sha" href="{self.url}commits/{sha}/">{sha[:8]}</a>'
            f' <span class="muted clip">{_line(formats.subject(commit.message))}</span></td>'
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
        ran = execution_status.seconds(e)
        if ran is None or e.started_at is None:
            return '<td class="n c-duration"></td>'
        ticking = "" if e.ended_at else f' data-since="{e.started_at}"'
        ended = formats.absolute(e.ended_at) if e.ended_at else "now"
        during = f"{formats.absolute(e.started_at)} to {ended}"
        return f'<td class="n c-duration"><time{ticking} title="{during}">{duration_text(ran)}</time></td>'

    def _created(self, e: Execution) -> str:
        at, exact = formats.ago(e.created_at), formats.absolute(e.created_at)
        return f'<td class="n c-created"><time datetime="{e.created_at}" data-ago title="{exact}">{at}</time></td>'


def _split(chosen: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (column, prefix, name) of the columns of parameters and metrics."""
    return [(name, *found) for name in chosen if name not in FIXED and (found := columns.split(name))]


def _line(text: str) -> str:
    """Return untrusted text for one line of HTML, or for an attribute."""
    return escape(formats.one_line(text))


def _value_cell(label: str, value: Any, *, best: bool = False) -> str:
    shown, whole = _line(formats.value(value)), escape(formats.visible(formats.full(value)))
    text = f"<b>{shown}</b>" if best else shown
    return f'<td class="n" data-label="{_line(label)}" title="{whole}">{text}</td>'

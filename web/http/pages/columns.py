"""Columns of tables of executions, and the links that sort by them. The URL holds the whole view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from web.http.pages.paging import query
from web.services.presentation import headline
from web.services.presentation.charts import X_KEYS
from web.store.execution_table import COLUMNS, By, SortOrder

# of the names in `sort`
PREFIXES = {By.COLUMN: "", By.KEY: "m.", By.BEST: "best.", By.LOW: "min.", By.HIGH: "max.", By.PARAMETER: "p."}
ASCENDING = ("step", "state", "trial")  # these sort in ascending order first


@dataclass(frozen=True, kw_only=True)
class Column:
    """A sortable column: its name in `sort`, and the link that sorts by it or reverses the order."""

    name: str
    label: str
    link: str
    direction: str
    title: str = ""


def parse_order(default: SortOrder, kinds: Collection[By] = (By.KEY,)) -> SortOrder:
    """Return the order that this request asks for: by one of COLUMNS, or by a name of one of these kinds."""
    given = request.args.get("sort", "")
    descending, name = given.startswith("-"), given.removeprefix("-")
    for kind in kinds:
        if name.startswith(PREFIXES[kind]):
            key = name.removeprefix(PREFIXES[kind])
            return SortOrder(by=key, kind=kind, descending=descending, number=_number(kind, key))
    return SortOrder(by=name, descending=descending) if name in COLUMNS else default


def _number(kind: By, key: str) -> str:
    low = kind is By.LOW or (kind is By.BEST and headline.less_is_better(key))
    return "low" if low else "high" if kind in (By.BEST, By.HIGH) else "number"


def format_name(order: SortOrder) -> str:
    return PREFIXES[order.kind] + order.by


def make_plain_column(name: str, label: str) -> Column:
    """Return a column that does not sort."""
    return Column(name=name, label=label, link="", direction="")


def split(name: str) -> tuple[str, str] | None:
    """Return the prefix of a column of a parameter or metric and the name after it; None for other columns."""
    prefix = next((one for one in PREFIXES.values() if one and name.startswith(one)), "")
    return (prefix, name.removeprefix(prefix)) if prefix and name != prefix else None


def make_column(by: str, label: str, order: SortOrder, kind: By = By.COLUMN, anchor: str = "") -> Column:
    """Return a column. Its link reverses the order if it sorts; otherwise it starts with the best, largest or newest."""
    active = (by, kind) == (order.by, order.kind)
    ascending = by in ASCENDING if kind is By.COLUMN else kind is By.BEST and headline.less_is_better(by)
    descending = not order.descending if active else not ascending
    direction = ("descending" if order.descending else "ascending") if active else ""
    named = PREFIXES[kind] + by
    link = query(sort=("-" if descending else "") + named) + anchor
    title = f"Parameter {by}" if kind is By.PARAMETER else ""
    return Column(name=named, label=label, link=link, direction=direction, title=title)


def sort_keys_by_frequency(all_latest: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all metadata keys, most frequent first; those that only count steps or epochs come last."""
    counted = Counter(key for latest in all_latest for key in latest)
    return sorted(counted, key=lambda key: (key.lower() in X_KEYS, -counted[key]))

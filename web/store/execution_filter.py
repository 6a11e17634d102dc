"""SQL of a filter of executions. Names and values are always bound, never part of the statement."""

from __future__ import annotations

import re
from typing import Any

from sqlite_utils import Database

from web.config.filters.parse import Joined, Node, Not
from web.config.filters.terms import Filter, NameKind, Term
from web.store.db import fetch_row
from web.store.executions import make_status_condition

FEW = 5000  # executions with a matching metric that are listed at first; more are looked up one by one
BY_INDEX = ("=", "<", "<=", ">", ">=")
# By field: a column, and the condition on an execution around a test of the column.
COMMIT = "execution.commit_id IN (SELECT id FROM git_commit WHERE project_id = :project AND {})"
FIELDS = {
    "step": ("execution.step", "{}"),
    "environment": ("execution.environment", "{}"),
    "number": ("execution.counter", "{}"),
    "created": ("execution.created_at", "{}"),
    "duration": (
        "ROUND(86400 * (julianday(COALESCE(execution.ended_at, 'now')) - julianday(execution.started_at)), 2)", "{}"
    ),
    "message": ("substr(message, 1, 500)", COMMIT),
    "commit": ("identifier", COMMIT),
    "who": ("username", "execution.creator_id IN (SELECT id FROM user WHERE {})"),
    "runner": ("name", "execution.runner_id IN (SELECT id FROM runner WHERE {})"),
    "tag": ("value", "(execution.tags != '[]' AND EXISTS (SELECT 1 FROM json_each(execution.tags) WHERE {}))"),
    "task": ("task.", "execution.task_id IN (SELECT id FROM task WHERE project_id = :project AND {})"),
    "pipeline": (
        "pipeline.",
        "execution.pipeline_node_id IN (SELECT pipeline_node.id FROM pipeline JOIN pipeline_node"
        " ON pipeline_node.pipeline_id = pipeline.id WHERE pipeline.project_id = :project AND {})",
    ),
}  # fmt: skip
PARAMETER = "EXISTS (SELECT 1 FROM json_each(execution.parameters) WHERE key = {} AND {})"
LATEST = "FROM latest WHERE key_id = (SELECT id FROM metadata_key WHERE name = {}) AND {}"
JSON_TEXT = "(typeof(value) = 'text' AND {})"


class Condition:
    """The condition of a filter on rows of `execution`: `sql`, and the `values` of the names in it."""

    def __init__(self, db: Database, project_id: int, wanted: Filter) -> None:
        self._db = db
        self.values: dict[str, Any] = {"project": project_id}
        self.sql = " AND ".join(self._node(clause.node) for clause in wanted.clauses) or "1"

    def _node(self, node: Node) -> str:
        if isinstance(node, Not):
            return _opposite(self._node(node.part))
        if isinstance(node, Joined):
            return f"({(' OR ' if node.either else ' AND ').join(map(self._node, node.parts))})"
        assert isinstance(node, Term)  # noqa: S101  (`terms.read` leaves no other leaves)
        if node.kind is NameKind.WORD:
            return self._word(str(node.value))
        if node.kind is NameKind.PARAMETER:
            return PARAMETER.format(self._bind(node.name), self._parameter(node))
        if node.kind is NameKind.METRIC:
            return self._metric(node)
        return _opposite(self._field(node, "=")) if node.operator == "!=" else self._field(node, node.operator)

    def _word(self, word: str) -> str:
        like = f"LIKE {self._bind(f'%{_escaped(word)}%')} ESCAPE '!'"
        return f"(execution.step {like} OR execution.title {like} OR {COMMIT.format(f'message {like}')})"

    def _field(self, term: Term, operator: str) -> str:
        if term.name == "state":
            return make_status_condition(str(term.value))
        if term.name == "branch":
            test = self._test(term, operator)
            names = (
                f"ref_names LIKE '%, %' AND EXISTS (SELECT 1 FROM json_each(ref_names) WHERE {test.format('value')})"
            )
            return COMMIT.format(f"({test.format('ref')} OR ({names}))")
        column, around = FIELDS[term.name]
        if term.name == "commit" and operator == "=":
            return around.format(f"{column} LIKE {self._bind(_escaped(str(term.value)) + '%')} ESCAPE '!'")
        if term.name in ("task", "pipeline"):
            column += "name" if isinstance(term.value, str) else "counter"
        return around.format(self._test(term, operator).format(column))

    def _parameter(self, term: Term) -> str:
        if isinstance(term.value, float):
            return f"type IN ('integer', 'real') AND {self._test(term).format('value')}"
        words = f"(type IN ('true', 'false', 'null') AND {self._test(term).format('type')})"
        return f"({words} OR (type = 'text' AND {self._test(term).format('value')}))"

    def _metric(self, term: Term) -> str:
        name = self._bind(term.name)
        if isinstance(term.value, str):
            text = "json_extract(value, '$')" if term.value not in ("true", "false") else "value"
            matching = LATEST.format(name, JSON_TEXT.format(self._test(term).format(text)))
        else:
            matching = LATEST.format(name, self._test(term).format("number"))
            if term.operator in BY_INDEX and self._are_few(matching):
                return f"execution.id IN (SELECT execution_id {matching})"
        return f"EXISTS (SELECT 1 {matching} AND execution_id = execution.id)"

    def _are_few(self, matching: str) -> bool:
        found = fetch_row(self._db, f"SELECT COUNT(*) AS n FROM (SELECT 1 {matching} LIMIT {FEW})", self.values)
        return found is not None and found["n"] < FEW

    def _test(self, term: Term, operator: str = "") -> str:
        """Return the comparison with a term's value, `{}` for the column."""
        operator = operator or term.operator
        value = self._bind(term.value)
        return f"lower({{}}) GLOB {value}" if operator == "~" else f"{{}} {operator} {value}"

    def _bind(self, value: str | float) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def _opposite(condition: str) -> str:
    return f"NOT COALESCE({condition}, 0)"  # what an execution does not have is not equal


def _escaped(text: str) -> str:
    """Return text as a pattern of LIKE with the escape character `!`."""
    return re.sub(r"([!%_])", r"!\1", text)

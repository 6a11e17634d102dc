"""Parameters in queries and headers. Each is declared once, with its name, its description and how it is read.

`takes` declares which of them, and which body, a view reads. Others cannot be read, so the OpenAPI description has all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from flask import current_app, request
from msgspec import Meta

from core.errors import InvalidInput
from web.http import numbers

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000  # clients that ignore `next` ask for up to 9001
ORDERS = {"counter": "counter ASC", "-counter": "counter DESC", "ctime": "id ASC", "-ctime": "id DESC"}
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
WHOLE = Annotated[int, Meta(ge=0, le=numbers.MOST)]
View = TypeVar("View", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The parts of a request that a view reads. `fails` are further statuses that it answers with."""

    parameters: Collection[Parameter] = ()
    body: type | None = None
    fails: Collection[int] = ()


def takes(*parameters: Parameter, body: type | None = None, fails: Collection[int] = ()) -> Callable[[View], View]:
    """Declare the parameters that a view reads, and the type of its body: a TypedDict, which `Fields` reads."""

    def declare(view: View) -> View:
        view.declaration = Declaration(parameters=parameters, body=body, fails=fails)  # type: ignore[attr-defined]
        return view

    return declare


def get_declaration(view: Callable[..., Any]) -> Declaration:
    found: Declaration = getattr(view, "declaration", Declaration())
    return found


def get_current_declaration() -> Declaration:
    """Return what the view of this request declares."""
    return get_declaration(current_app.view_functions[request.endpoint or ""])


@dataclass(frozen=True)
class Parameter:
    """Text in the query; "" if it is absent and not required."""

    name: str
    about: str
    place: str = "query"
    required: bool = False
    example: str = ""
    kind: ClassVar[Any] = str  # its JSON Schema describes the parameter

    def text(self) -> str:
        given = (self._values() or [""])[0]
        if self.required and not given:
            raise InvalidInput(f"{self.name} is required", field=self.name, code="required")
        return given

    def _values(self) -> list[str]:
        if self not in get_current_declaration().parameters:
            raise RuntimeError(f"{request.endpoint} reads {self.name}, which it does not declare")
        return request.headers.getlist(self.name) if self.place == "header" else request.args.getlist(self.name)


class Number(Parameter):
    kind = WHOLE

    def number(self, default: int) -> int:
        given = self.text()
        return numbers.parse(given, self.name) if given else default


class Limit(Number):
    kind = Annotated[int, Meta(ge=1, le=numbers.MOST)]


class Flag(Parameter):
    kind = bool

    def flag(self) -> bool | None:
        """Parse `true` or `false` in any spelling that clients use; None if it is absent."""
        given = self.text().lower()
        if given in TRUE | FALSE:
            return given in TRUE
        if given:
            raise InvalidInput(f"{self.name} must be true or false, got {given[:80]!r}", field=self.name)
        return None


class Words(Parameter):
    def words(self) -> set[str]:
        """Parse a comma-separated list."""
        return {word.strip() for word in self.text().split(",")} - {""}


class Texts(Parameter):
    """A repeated parameter."""

    kind = list[str]

    def texts(self) -> list[str]:
        return self._values()


class Numbers(Parameter):
    kind = list[WHOLE]

    def numbers(self) -> list[int]:
        return [numbers.parse(item, self.name) for item in self._values()]


class Order(Parameter):
    kind = Annotated[str, Meta(extra_json_schema={"enum": list(ORDERS)})]

    def sql(self) -> str:
        given = self.text() or "-ctime"
        if given not in ORDERS:
            raise InvalidInput(f"{self.name} must be one of {', '.join(ORDERS)}, got {given[:80]!r}", field=self.name)
        return ORDERS[given]


PROJECT = Parameter("project", "Name or UUID of a project; by default all projects that you may see.")
LIMIT = Limit("limit", f"Objects in a page, {DEFAULT_LIMIT} by default, {MAX_LIMIT:,} at most.")
OFFSET = Number("offset", "Objects before the page.")
DELETED = Flag("deleted", "List deleted objects instead of the others.")
STATUS = Texts("status", "States, or `incomplete` for all that are not final.")
COUNTER = Numbers("counter", "Numbers within their project.")
CREATOR = Parameter("creator", "Id of the user who created it; any other text means yourself.")
ORDERING = Order("ordering", "Order of the list, `-ctime` by default.")
PAGE = (LIMIT, OFFSET)
SELECTION = (PROJECT, STATUS, COUNTER, CREATOR, DELETED, ORDERING, *PAGE)


@dataclass(frozen=True, kw_only=True)
class ApiPage:
    limit: int
    offset: int

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        return items[self.offset : self.offset + self.limit]


def read_page(default: int = DEFAULT_LIMIT) -> ApiPage:
    limit = LIMIT.number(default)
    if limit == 0:
        raise InvalidInput("limit must be at least 1, got 0", field="limit")
    return ApiPage(limit=min(limit, MAX_LIMIT), offset=OFFSET.number(0))

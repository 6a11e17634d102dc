"""Answers to forms: a problem is shown at its field with the typed value, and a success as "Saved"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from flask import Response, g, make_response, redirect, request, session
from markupsafe import Markup

from core.errors import PushmillError
from web.http.errors import get_response_status
from web.http.pages.addresses import way_back

View = TypeVar("View", bound=Callable[..., Any])
PROBLEM_CHARS = 500  # it travels in a cookie
REFUSALS = (400, 403, 404, 409, 413)
ATTRIBUTES = Markup(' aria-invalid="true" autofocus')


@dataclass(frozen=True, kw_only=True)
class Form:
    """State of one form of a page. `problem` concerns `at`, a field, or the whole form with "".

    `typed` are the values of a refused form, by field.
    """

    problem: str = ""
    at: str = ""
    typed: dict[str, str] = field(default_factory=dict)
    saved: bool = False

    def error(self, name: str = "") -> str:
        """Return the problem of this field, or with "" the problem of the form."""
        return self.problem if self.at == name else ""

    def invalid(self, name: str) -> Markup:
        """Return the attributes of a field that has a problem."""
        return ATTRIBUTES if self.error(name) else Markup()

    def value(self, name: str, default: object = "") -> object:
        return self.typed.get(name, "") if self.problem else default

    def checked(self, name: str, default: bool = False) -> bool:
        return name in self.typed if self.problem else default


def shown_on(page: Callable[..., Any]) -> Callable[[View], View]:
    """Return a decorator: if the view refuses its form, `page` is shown with the reason at the form."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(**values: Any) -> Any:
            try:
                return view(**values)
            except PushmillError as error:
                if (status := get_response_status(error)) >= 500:
                    raise
                return render_refusal(str(error), status, page, **values)

        return answer  # type: ignore[return-value]

    return decorate


def render_refusal(problem: str, status: int, page: Callable[..., Any], **values: Any) -> Response:
    """Return the page of the form of this request with a problem, and with what was typed."""
    at = g.get("form_field", "")
    typed = request.form.to_dict()
    g.form_refused = _key(), Form(problem=problem, at=at, typed=typed)
    own = {name: values[name] for name in inspect.signature(page).parameters if name in values}
    response = make_response(page(**own), status)
    response.headers["Cache-Control"] = "no-store"  # what was typed may be secret
    return response


@contextmanager
def name_field(name: str) -> Iterator[None]:
    """Say which field the errors raised within concern."""
    try:
        yield
    except PushmillError:
        g.form_field = name
        raise


def redirect_after_saving(url: str) -> Response:
    """Redirect to the page of the form of this request, which says once that it was saved."""
    if "id" in session:  # requests with a token have no page
        session["saved"] = _key()
    return redirect(url, 303)  # type: ignore[return-value]


def lead_back(response: Response) -> Response:
    """Instead of a page with nothing but a problem, show the page of the refused form or button with the problem once.

    For forms without `shown_on`. Scripts, which accept anything, get the answer itself.
    """
    refused_with = g.get("refused")
    if refused_with is None or request.method != "POST" or "id" not in session or response.status_code not in REFUSALS:
        return response
    if "text/html" not in request.headers.get("Accept", "") or way_back() == "/":
        return response
    session["problem"] = refused_with[:PROBLEM_CHARS]
    return redirect(way_back(), 303)  # type: ignore[return-value]


def problem() -> str:
    """Return the problem of the form or button that led to this page, once."""
    if "problem" not in session:
        return ""
    return str(session.pop("problem"))


def form_state(action: str, key: str = "") -> Form:
    """Return the state of a form by its address, and its field `form` if several have this address."""
    known = f"{action}#{key}"
    refused_key, found = g.get("form_refused", ("", Form()))
    if refused_key == known:
        return found  # type: ignore[no-any-return]
    if session.get("saved") == known:
        session.pop("saved")
        g.form_saved = known
    return Form(saved=g.get("form_saved") == known)


def _key() -> str:
    return f"{request.path}#{request.form.get('form', '')}"

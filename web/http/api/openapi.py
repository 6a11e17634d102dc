"""The OpenAPI description of API v0, made from its routes and from what their views declare.

Paths and methods come from the routes, summaries from docstrings, rights from the permission, parameters and bodies
from `takes`, answers from the return type, and errors follow from these.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from flask import Flask, current_app
from werkzeug.routing import Rule

from core.rights import OF_ROLE, OF_SCOPE, OUTSIDE, Action
from web.http import auth
from web.http.api.answers import Json
from web.http.api.body import FILE, get_field_types
from web.http.api.errors import PREFIX, Detail, FieldErrors
from web.http.api.parameters import Declaration, Parameter, get_declaration

Object = dict[str, Any]
View = Callable[..., Any]
SECURITY = "token"
VARIABLE = re.compile(r"<(\w+)>")
GENERIC = re.compile(r"\bPage_(\w+?)_(?=\W)")  # as msgspec names Page[Commit]
RUN = ("UUID, PROJECT:NUMBER or PROJECT:latest.", "mymodel:latest")
IDENTIFIED = {
    "projects": ("Name or UUID of a project.", "mymodel"),
    "commits": ("A SHA, or `~` and the hash of ad-hoc code.", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    "repositories": ("Id of a repository.", "1"),
    "environments": ("Name or UUID of an environment.", "default"),
    "executions": RUN,
    "tasks": RUN,
    "pipelines": RUN,
    "data": ("UUID of a file.", "123e4567-e89b-42d3-a456-426614174000"),
}  # by the part of a path before the variable: description and example
PLAIN = {list: "A list.", dict: "An object."}
GROUPS = {"get-token": "users", "datum-aliases": "aliases", "models": "other", "deployments": "other"}
ERRORS: dict[int, tuple[Any, ...]] = {
    400: ("A value is not valid; the answer names its field, or `non_field_errors`.", FieldErrors),
    401: ("The token is missing or not valid.", Detail),
    403: ("The role of the user, or the scope of the token, does not allow this.", Detail),
    404: ("It does not exist, or is not visible to the user.", Detail),
    409: ("Its state does not allow this.", Detail),
    413: ("The body, or a file in it, is too large.", Detail, FieldErrors),
    429: ("Too many failed logins: try again after `Retry-After` seconds.", Detail),
    507: ("The server has too little free disk.", Detail),
}
ABOUT = (
    "The API of pushmill, as the client `vh` uses it. A slash at the end of a path is optional. Bodies are JSON or forms;"
    " in a form, an object is JSON text and a list is a repeated field. Unknown fields and parameters are ignored."
)


@auth.public
def openapi() -> Json[dict[str, Any]]:
    """Return this description."""
    return Json(build_document())


@functools.cache
def build_document() -> Object:
    """Return the description, made at the first call: all applications of a process have the same routes."""
    schemas, groups = _Schemas(), dict[str, Object]()
    paths: dict[str, Object] = {}
    for rule, method in iterate_routes(current_app._get_current_object()):  # type: ignore[attr-defined]  # noqa: SLF001
        group = rule.rule.removeprefix(PREFIX).split("/")[0]
        group = "other" if "." in group else GROUPS.get(group, group)
        groups.setdefault(group, {"name": group})
        view = current_app.view_functions[rule.endpoint]
        path = VARIABLE.sub(r"{\1}", rule.rule)
        paths.setdefault(path, {})[method.lower()] = {"tags": [group]} | _operation(rule, method, view, schemas)
    answers = {
        f"Error{status}": {"description": about, "content": {"application/json": {"schema": schemas.schema(*kinds)}}}
        for status, (about, *kinds) in ERRORS.items()
    }
    return schemas.resolved(
        {
            "openapi": "3.1.0",
            "info": {"title": "pushmill", "version": version("pushmill"), "description": ABOUT},
            "servers": [{"url": "/"}],
            "tags": sorted(groups.values(), key=lambda tag: tag["name"] == "other"),
            "paths": paths,
            "components": {
                "responses": answers,
                "securitySchemes": {
                    SECURITY: {
                        "type": "apiKey",
                        "in": "header",
                        "name": "Authorization",
                        "description": "`Token`, a space, and a token.",
                    }
                },
            },
        }
    )


def iterate_routes(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Yield the routes of API v0 with their method; second spellings of a path, with a double slash, are left out."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(PREFIX) and "//" not in rule.rule:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method


class _Schemas:
    """Types whose schemas are made together, since they share components. A stand-in holds the place of each."""

    def __init__(self) -> None:
        self._kinds: list[Any] = []
        self._places: list[Object] = []

    def schema(self, kind: Any, *others: Any) -> Object:
        if others:
            return {"anyOf": [self.schema(one) for one in (kind, *others)]}
        self._kinds.append(kind)
        self._places.append({})
        return self._places[-1]

    def resolved(self, whole: Object) -> Object:
        """Return the document with all schemas."""
        made, components = msgspec.json.schema_components(self._kinds, ref_template="#/components/schemas/{name}")
        for place, schema in zip(self._places, made, strict=True):
            place.update(schema)
        whole["components"]["schemas"] = dict(sorted(components.items()))
        found: Object = msgspec.json.decode(GENERIC.sub(r"PageOf\1", msgspec.json.encode(whole).decode()))
        return found


def _operation(rule: Rule, method: str, view: View, schemas: _Schemas) -> Object:
    permission: str | Action = view.permission  # type: ignore[attr-defined]
    declared = get_declaration(view)
    summary, _, rest = (inspect.getdoc(view) or "").partition("\n\n")
    sentence, _, more = " ".join(summary.split()).partition(". ")
    named = _named(declared)
    in_project = "environments" not in rule.rule if rule.arguments else "project" in named and method != "GET"
    description = "\n\n".join(
        filter(None, [more, " ".join(rest.split()), describe_permission(permission, in_project=in_project)])
    )
    found = {
        "operationId": re.sub(r"\W+", "_", f"{method} {rule.rule.removeprefix(PREFIX)}").strip("_").lower(),
        "summary": sentence.rstrip(".") + ".",
        "description": description,
        "parameters": [*_variables(rule), *(_parameter(one, schemas) for one in declared.parameters)],
        "responses": _answers(view, schemas)
        | {
            str(status): {"$ref": f"#/components/responses/Error{status}"}
            for status in sorted(_errors(rule, permission, declared, named))
        },
        "security": [{SECURITY: [scope]} for scope in _scopes(permission)],
        "x-permission": str(permission),
    }
    if declared.body:
        found["requestBody"] = _body(declared.body, schemas)
    return found


def describe_permission(permission: str | Action, *, in_project: bool) -> str:
    """Describe in a sentence who may send a request; `in_project` is whether it concerns one project."""
    scopes = [f"`{scope}`" for scope in _scopes(permission)]
    if not isinstance(permission, Action):
        return "No token is needed."
    token = f"a token with the scope {', '.join(scopes[:-1])}{' or ' if scopes[:-1] else ''}{scopes[-1]}"
    if permission in OUTSIDE or not in_project:
        return f"Needs {token}."
    role = next(role for role, actions in OF_ROLE.items() if permission in actions)
    return f"Needs the role {role} in the project, and {token}."


def _scopes(permission: str | Action) -> list[str]:
    return [scope.value for scope, actions in OF_SCOPE.items() if permission in actions]


def _variables(rule: Rule) -> Iterator[Object]:
    for found in VARIABLE.finditer(rule.rule):
        about, example = IDENTIFIED[rule.rule[: found.start()].split("/")[-2]]
        yield {
            "name": found[1],
            "in": "path",
            "required": True,
            "description": about,
            "schema": {"type": "string"},
            "example": example,
        }


def _parameter(declared: Parameter, schemas: _Schemas) -> Object:
    return {
        "name": declared.name,
        "in": declared.place,
        "required": declared.required,
        "description": declared.about,
        "schema": schemas.schema(declared.kind),
    } | ({"example": declared.example} if declared.example else {})


def _body(shape: type, schemas: _Schemas) -> Object:
    has_file = any(FILE in getattr(hint, "__metadata__", ()) for hint in get_field_types(shape).values())
    types = ["multipart/form-data"] if has_file else ["application/json", "application/x-www-form-urlencoded"]
    return {"required": True, "content": {name: {"schema": schemas.schema(shape)} for name in types}}


def _answers(view: View, schemas: _Schemas) -> Object:
    """Return the answers without an error, by status: a return type is `Json[X]`, `Created[X]`, `Empty` or a union."""
    returned = get_type_hints(view)["return"]
    found: Object = {}
    for kind in [returned] if hasattr(returned, "default_status") else get_args(returned):
        response = get_origin(kind) or kind
        answer: Object = {"description": "Done."}
        if get_args(kind):
            answer["content"] = {"application/json": {"schema": schemas.schema(get_args(kind)[0])}}
            data = get_origin(get_args(kind)[0]) or get_args(kind)[0]
            about = PLAIN.get(data) or inspect.getdoc(data) or ""
            answer["description"] = about.partition("\n")[0]
        found[str(response.default_status)] = answer
    return dict(sorted(found.items()))


def _named(declared: Declaration) -> set[str]:
    """Return the names of the parameters, and of the fields of the body."""
    return {one.name for one in declared.parameters} | set(get_field_types(declared.body) if declared.body else ())


def _errors(rule: Rule, permission: str | Action, declared: Declaration, named: set[str]) -> set[int]:
    """Return the statuses of errors that an operation may have."""
    found = set(declared.fails)
    if isinstance(permission, Action):
        found |= {401, 403}
    if rule.arguments or named:
        found.add(400)
    if rule.arguments or named & {"project", "output_execution"}:
        found.add(404)
    if declared.body:
        found.add(413)
    return found

"""The reference of the API for people, from its OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

Object = Mapping[str, Any]
COMPONENT = "#/components/schemas/"


@dataclass(frozen=True, kw_only=True)
class TypePart:
    """Part of the words for a type; `name` is the object that they name, "" for other words."""

    text: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class DocumentedField:
    """A parameter or a field of an object. `place` is path, query or header, "" for a field."""

    name: str
    place: str
    required: bool
    type: Sequence[TypePart]
    about: str


@dataclass(frozen=True, kw_only=True)
class DocumentedAnswer:
    status: str
    about: str
    type: Sequence[TypePart]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`notes` are paragraphs; `media_types` are those of the body, without one it is empty."""

    id: str
    method: str
    path: str
    summary: str
    notes: Sequence[str]
    parameters: Sequence[DocumentedField]
    media_types: Sequence[str]
    body: Sequence[DocumentedField]
    answers: Sequence[DocumentedAnswer]
    curl: str


@dataclass(frozen=True, kw_only=True)
class DocumentedObject:
    """An object of the API."""

    name: str
    about: str
    fields: Sequence[DocumentedField]


def list_operations_by_group(document: Object, root: str) -> dict[str, list[Operation]]:
    """Return the operations by group; `root` is the server's URL, for the examples."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append(_operation(document, root, path, method, operation))
    return found


def list_objects(document: Object) -> list[DocumentedObject]:
    """Return what answers and bodies consist of, by name; pages of lists are in the words for their type."""
    return [
        DocumentedObject(name=name, about=schema.get("description", ""), fields=_fields(schema, document))
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema and not _is_page(schema)
    ]


def describe_type(schema: Object, document: Object, *, several: bool = False, is_sent: bool = False) -> list[TypePart]:
    """Return words for a type, such as "list of Commit". In what clients send, null is like a missing value."""
    if name := schema.get("$ref", "").removeprefix(COMPONENT):
        found = _resolved(document, schema)
        if _is_page(found):
            return [TypePart(text="page of "), *describe_type(found["properties"]["results"]["items"], document)]
        return describe_type(found, document) if "enum" in found else [TypePart(text=name, name=name)]
    if choices := schema.get("anyOf"):
        kept = [one for one in choices if not is_sent or one.get("type") != "null"]
        parts = [describe_type(one, document, several=several, is_sent=is_sent) for one in kept]
        return [part for one in parts for part in (TypePart(text=" or "), *one)][1:]
    if "enum" in schema:
        return [TypePart(text=", ".join(map(str, schema["enum"])))]
    kind = schema.get("type")
    plural = "s" if several and kind in ("array", "object", "integer", "number", "boolean") else ""
    inner = schema.get("items") if kind == "array" else schema.get("additionalProperties")
    word = {"array": "list", "string": "file" if schema.get("format") == "binary" else "text"}.get(str(kind), kind)
    if inner:
        return [TypePart(text=f"{word}{plural} of "), *describe_type(inner, document, several=True, is_sent=is_sent)]
    return [TypePart(text=f"{word}{plural}" if word else "anything")]


def _is_page(schema: Object) -> bool:
    return set(schema.get("properties", ())) == {"count", "next", "previous", "results"}


def _operation(document: Object, root: str, path: str, method: str, operation: Object) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    body = _resolved(document, next(iter(content.values()))["schema"]) if content else {}
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        notes=[line for line in operation["description"].split("\n\n") if line],
        parameters=[
            DocumentedField(
                name=one["name"],
                place=one["in"],
                required=one["required"],
                type=describe_type(one["schema"], document),
                about=one["description"],
            )
            for one in operation["parameters"]
        ],
        media_types=list(content),
        body=_fields(body, document, is_sent=True),
        answers=[_answer(document, status, one) for status, one in operation["responses"].items()],
        curl=make_curl_command(root, path, method, operation, body),
    )


def _fields(schema: Object, document: Object, *, is_sent: bool = False) -> list[DocumentedField]:
    """Return the fields of an object, required ones first."""
    required = schema.get("required", ())
    found = [
        DocumentedField(
            name=name,
            place="",
            required=name in required,
            type=describe_type(one, document, is_sent=is_sent),
            about=one.get("description", ""),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    return sorted(found, key=lambda field: not field.required)


def _answer(document: Object, status: str, given: Object) -> DocumentedAnswer:
    found = document["components"]["responses"][given["$ref"].rpartition("/")[2]] if "$ref" in given else given
    schemas = [one["schema"] for one in found.get("content", {}).values()]
    return DocumentedAnswer(
        status=status, about=found["description"], type=describe_type(schemas[0], document) if schemas else []
    )


def _resolved(document: Object, schema: Object) -> Object:
    found: Object = document["components"]["schemas"][schema["$ref"].removeprefix(COMPONENT)]
    return found


def make_curl_command(root: str, path: str, method: str, operation: Object, body: Object) -> str:
    """Return a command that sends an example of the request."""
    examples = {one["name"]: one.get("example", "") for one in operation["parameters"]}
    query = {
        one["name"]: examples[one["name"]]
        for one in operation["parameters"]
        if one["in"] == "query" and one["required"]
    }
    parts = ['curl -H "Authorization: Token $TOKEN"' if operation["security"] else "curl"]
    if method == "delete" or (method == "post" and not body):
        parts.append(f"-X {method.upper()}")
    given = {
        name: one.get("examples", [name])[0]
        for name, one in body.get("properties", {}).items()
        if name in body["required"] or "examples" in one
    }
    if any(one.get("format") == "binary" for one in body.get("properties", {}).values()):
        parts += [
            f"-F {name}={'@file' if body['properties'][name].get('format') else value}" for name, value in given.items()
        ]
    elif given:
        parts.append(f"--json '{json.dumps(given)}'")
    target = root.rstrip("/") + path.format(**examples) + (f"?{urlencode(query)}" if query else "")
    return " \\\n  ".join([*parts, f'"{target}"'])

"""The OpenAPI description has every route of API v0, and all answers conform to it."""

from __future__ import annotations

import io
import json
import re
import shlex
import tarfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from grouped_project import Grouped
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from werkzeug.routing import Rule

from web.http import auth
from web.http.api.body import Fields
from web.http.api.executions import Tags
from web.http.api.parameters import PROJECT, takes
from web.services.presentation import api_reference
from web.services.repositories import hosting

EXAMPLES = 14  # of each operation, half of them valid
DOCUMENT = "/api/v0/openapi.json"
MAKES_TOKENS = "/api/v0/get-token/"
HOSTILE = [
    "%00", "%ED%A0%80", "%FF", "%", "-1", str(2**63), "9" * 400, "1e999", "x" * 5_000, "demo:", f"demo:{2**63}", "demo:1:1",
    "..%2F..%2Fetc", "%0D%0AX:%20y", "%C3%A9" * 300,
]  # fmt: skip
OF_ANY_TYPE: list[Any] = [None, True, -1, 2**63, 2**64, 10**400, 1.5, [], {}, [None], {"a": None}, {"\0": "\0"}]
TEXTS = ["\0", "../../etc/passwd", "x" * 70_000, "9" * 400]
IN_TEMPLATES = ("step", "commit", "image", "command", "environment", "time-limit", "no_output_timeout", "inputs", "parameters",
                "environment-variables", "runtime-config", "priority", "type", "configuration")  # fmt: skip


class Walk:
    """A server with one of everything; `known` has what exists, by the part of a path before it."""

    def __init__(self, data: Path) -> None:
        self.api = api = ApiServer(data)
        grouped = Grouped(api)
        repository = hosting.get_repository(api.db, api.demo)
        hosting.prepare(api.context, api.demo, repository)
        datum = api.stored(content=b"model\n")
        uuid, attempt = api.started()
        api.log(uuid, b'{"loss": 0.5, "text": "x"}\nline\n', 0, attempt)
        api.finished()
        task, pipeline = grouped.task(), api.add_pipeline(("a", "execution"), ("b", "task"))
        for name, value, secret in (("A", "1", False), ("B", "x", True)):
            given = {"name": name, "value": value, "secret": secret}
            assert api.post("projects/demo/environment_variable/", json=given).status_code == 201
        alias = {"project": "demo", "name": "newest", "datum": datum}
        assert api.post("datum-aliases/", json=alias).status_code == 201
        self.commit = grouped.commit.identifier
        self.known: dict[str, list[str]] = {
            "projects": ["demo", api.demo.uuid],
            "commits": [self.commit, api.commit.identifier],
            "repositories": [str(repository.id)],
            "environments": ["default"],
            "executions": [uuid, "demo:1", "demo:2", "demo:latest"],
            "tasks": [task.uuid, "demo:1"],
            "pipelines": [pipeline.uuid, "demo:latest"],
            "data": [datum],
        }

    def close(self) -> None:
        self.api.close()

    @property
    def description(self) -> dict[str, Any]:
        found = self.api.client.get(DOCUMENT).json
        assert isinstance(found, dict)
        return found

    def path(self, template: str, choose: Any = None) -> dict[str, str]:
        """What exists, for each variable of a path; `choose` picks one."""
        found = {}
        for match in re.finditer(r"([^/]+)/\{(\w+)\}", template):
            values = self.known[match[1]]
            found[match[2]] = choose(values) if choose else values[0]
        return found

    def body(self, name: str) -> dict[str, Any]:
        """A valid body of this schema."""
        project, datum = {"project": "demo"}, self.known["data"][0]
        launch = project | {"commit": self.commit}
        nodes = [{"name": "a", "type": "execution", "template": {"step": "train", "commit": self.commit}}]
        return {
            "NewExecution": launch | {"step": "train", "parameters": {"epochs": 5}},
            "NewTask": launch | {"task": "search"},
            "NewPipeline": launch | {"nodes": nodes, "edges": []},
            "NewProject": {"name": "another"},
            "NewVariable": {"name": "C", "value": "2"},
            "VariableName": {"name": "A"},
            "NewAlias": project | {"name": "best", "datum": datum},
            "NewDatum": project | {"data": (io.BytesIO(b"x"), "x.csv")},
            "NewPackage": {"data": (io.BytesIO(package()), "data.tgz")},
            "Tags": {"tags": ["baseline"]},
            "Credentials": {"username": "admin", "password": self.api.token},
        }[name]

    def texts(self, name: str) -> dict[str, Any]:
        """A valid body without its files."""
        return {key: value for key, value in self.body(name).items() if not isinstance(value, tuple)} if name else {}


def package() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        yaml = b"- step: {name: train, image: busybox, command: 'true'}\n"
        info = tarfile.TarInfo("valohai.yaml")
        info.size = len(yaml)
        archive.addfile(info, io.BytesIO(yaml))
    return file.getvalue()


# Schemathesis and the validator are imported where they are used: all workers import this file, and one runs it.
def operations(walk: Walk) -> list[Any]:
    """All operations, those last that remove what others need."""
    import schemathesis

    schema = schemathesis.openapi.from_wsgi(DOCUMENT, walk.api.app)
    found = [result.ok() for result in schema.get_all_operations()]
    return sorted(found, key=lambda one: (["get", "post", "delete"].index(one.method), "purge" in one.path))


def check(case: Any, answer: Any) -> None:
    """An answer is as described, and no failure of ours."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    as_described = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    case.validate_response(answer, checks=[not_a_server_error, *as_described])


def schema_name(operation: dict[str, Any]) -> str:
    """The name of the schema of an operation's body, "" if it has none."""
    content = operation.get("requestBody", {}).get("content", {"": {"schema": {"$ref": ""}}})
    return str(next(iter(content.values()))["schema"]["$ref"].rpartition("/")[2])


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    walk = Walk(tmp_path_factory.mktemp("openapi"))
    yield walk
    walk.close()


def test_the_description_is_valid(walk: Walk) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(walk.description).validate()


def rules(walk: Walk) -> Iterator[tuple[str, Rule]]:
    for rule in walk.api.app.url_map.iter_rules():
        if rule.rule.startswith("/api/v0/"):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule


def test_every_route_is_described_with_its_permission_and_nothing_else_is(walk: Walk) -> None:
    paths, views = walk.description["paths"], walk.api.app.view_functions
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    found = {(method, re.sub(r"<(\w+)>", r"{\1}", rule.rule).replace("//", "/")) for method, rule in rules(walk)}
    assert described == found
    assert len(found) > 40
    for method, rule in rules(walk):
        operation = paths[re.sub(r"<(\w+)>", r"{\1}", rule.rule).replace("//", "/")][method.lower()]
        variables = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert variables == rule.arguments
        assert operation["x-permission"] == str(auth.find_permission(walk.api.app, rule.endpoint))
        summary = " ".join((views[rule.endpoint].__doc__ or "").split())
        assert summary.startswith(operation["summary"][:-1]), rule
        answers = operation["responses"].keys()
        assert ("401" in answers, "403" in answers) == (bool(operation["security"]),) * 2
        assert ("413" in answers) == ("requestBody" in operation)
    ids = [one["operationId"] for methods in paths.values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_page_shows_every_operation_to_everybody(walk: Walk) -> None:
    page = walk.api.app.test_client().get("/api/docs/")
    assert page.status_code == 200
    for path, methods in walk.description["paths"].items():
        for operation in methods.values():
            assert f'<details id="{operation["operationId"]}">' in page.text
        assert f"<code>{path}</code>" in page.text
    links = set(re.findall(r'href="#([^"]+)"', page.text)) - {"main"}
    assert len(links) > 40
    assert not [link for link in links if f'id="{link}"' not in page.text]


def test_the_examples_of_the_page_are_requests_that_succeed(walk: Walk) -> None:
    """Those that only read, about the project that exists here."""
    groups, statuses = api_reference.list_operations_by_group(walk.description, "http://localhost/"), list[int]()
    for operation in (one for group in groups.values() for one in group):
        words = shlex.split(operation.curl)
        is_open = operation.path in (MAKES_TOKENS, DOCUMENT)
        assert (words[0], "Authorization: Token $TOKEN" in words) == ("curl", not is_open)
        if operation.method == "GET":
            answer = walk.api.client.get(words[-1].replace("mymodel", "demo"), headers=walk.api.as_admin)
            statuses.append(answer.status_code)
            unknown = re.search(r"/commits/\{|/data/\{", operation.path)  # whose names nobody can guess
            assert answer.status_code == (404 if unknown else 200), f"{operation.curl}: {answer.text}"
    assert statuses.count(200) > 20


def test_what_a_view_does_not_declare_cannot_be_read(walk: Walk) -> None:
    @takes()
    def view() -> None: ...

    app = walk.api.app
    with app.test_request_context("/api/v0/users/me/?project=x"):
        with pytest.raises(RuntimeError, match="reads project"):
            PROJECT.text()
        with pytest.raises(RuntimeError, match="reads Tags"):
            Fields(Tags)


def as_form(body: dict[str, Any]) -> dict[str, Any]:
    """Objects as JSON text; lists are repeated fields."""
    return {
        name: [one if isinstance(one, str) else json.dumps(one) for one in value] if isinstance(value, list)
        else value if isinstance(value, (str, tuple)) else json.dumps(value)
        for name, value in body.items()
    }  # fmt: skip


def test_objects_that_exist_are_as_described(walk: Walk) -> None:
    """A plain request of every operation succeeds, as JSON and as a form, with an answer as described."""
    for operation in operations(walk):
        described = operation.definition.raw
        values = walk.path(operation.path)
        query = {one["name"]: {"project": "demo"}.get(one["name"], "newest") for one in described["parameters"]
                 if one["in"] == "query" and one["required"]}  # fmt: skip
        name = schema_name(described)
        for media_type in described["requestBody"]["content"] if name else [""]:
            body = walk.body(name) if name else {}
            if "form" in media_type and name == "NewProject":
                body["name"] = "by-form"
            sent = {"json": body} if "json" in media_type else {"data": as_form(body)}
            path, method = operation.path.format(**values), operation.method
            if method == "delete" and "variable" not in path:
                continue  # tests of their own remove what others need
            if method == "delete" and "form" in media_type:
                body["name"] = "B"
                sent = {"data": body}
            answer = walk.api.client.open(
                path, method=method, headers=walk.api.as_admin, query_string=query, **(sent if name else {})
            )
            assert answer.status_code < 300, f"{method} {path} {media_type}: {answer.text}"
            check(operation.Case(path_parameters=values, query=query), answer)


@pytest.mark.timeout(600)
def test_no_request_gets_an_undescribed_answer(walk: Walk) -> None:
    """Valid and invalid requests, about what exists and what does not: none is answered 500, all as described."""
    failed = []
    for operation in operations(walk):
        try:
            fuzz(walk, operation)
        except (Exception, BaseExceptionGroup) as error:  # so that all operations are reported at once
            failed.append(f"{operation.method} {operation.path}: {''.join(traceback.format_exception(error))[-1500:]}")
    assert not failed, "\n".join(failed)


def fuzz(walk: Walk, operation: Any) -> None:
    from schemathesis import GenerationMode

    name = schema_name(operation.definition.raw)
    headers = {"Accept-Encoding": "identity"}  # Schemathesis does not decompress
    if operation.path != MAKES_TOKENS:
        headers |= walk.api.as_admin

    @settings(
        derandomize=True,
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode), data=st.data())
    def send(case: Any, data: st.DataObject) -> None:
        if data.draw(st.booleans()) and operation.method != "delete":
            case.path_parameters = walk.path(operation.path, lambda values: data.draw(st.sampled_from(values)))
        if isinstance(case.body, dict):
            case.body |= {key: value for key, value in walk.texts(name).items() if data.draw(st.booleans())}
        check(case, case.call(headers=headers))

    send()


def test_hostile_values_in_paths_queries_and_bodies_are_refused(walk: Walk) -> None:
    """NUL, lone surrogates, bytes that are not UTF-8 and numbers of any size, everywhere: nothing is answered 500."""
    wrong, sent = [], 0
    for operation in operations(walk):
        described, name = operation.definition.raw, schema_name(operation.definition.raw)
        for path, query, body in hostile(walk, operation, name):
            target = f"{path}?{query}"
            how: dict[str, Any] = {}
            if name:
                how = {"data": body} if isinstance(body, dict) else {"data": body, "content_type": "application/json"}
            answer = walk.api.client.open(target, method=operation.method, headers=walk.api.as_admin, **how)
            sent += 1
            if str(answer.status_code) not in described["responses"] or answer.status_code >= 500:
                wrong.append(
                    f"{operation.method} {target[:200]} {body!r:.200}: {answer.status_code} {answer.text[:200]}"
                )
    assert not wrong, "\n".join(wrong)
    assert sent > 1000


def hostile(walk: Walk, operation: Any, name: str) -> Iterator[tuple[str, str, Any]]:
    """Path, query and body of requests that are plain but for one value."""
    values = walk.path(operation.path)
    if operation.method == "delete":
        values = dict.fromkeys(values, "nothing")
    plain, body = operation.path.format(**values), json.dumps(walk.texts(name))
    for text in HOSTILE:
        for variable in values:
            yield operation.path.format(**values | {variable: text}), "", body
        for parameter in operation.definition.raw["parameters"]:
            if parameter["in"] == "query":
                yield plain, f"{parameter['name']}={text}", body
    if name:
        for sent in hostile_bodies(walk, name):
            yield plain, "", sent


def hostile_bodies(walk: Walk, name: str) -> Iterator[Any]:
    """JSON and forms."""
    body = walk.texts(name)
    for field in walk.description["components"]["schemas"][name]["properties"]:
        for value in [*TEXTS, *OF_ANY_TYPE]:
            yield json.dumps(body | {field: value})
        for text in TEXTS:
            yield as_form(body | {field: text})
    for key in IN_TEMPLATES if name == "NewPipeline" else ():
        for value in OF_ANY_TYPE:
            template = {"step": "train", "commit": walk.commit, key: value}
            yield json.dumps(body | {"nodes": [{"name": "a", "type": "execution", "template": template}]})
    yield from (b"", b"{", b"[]", b"null", b"\xff", b'{"project": "\xff"}', b'{"project": "\\ud800"}', b"[" * 100_000)

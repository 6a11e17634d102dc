"""The cost of webhooks is bounded (memory, rows, time), and refusals reveal nothing."""

from __future__ import annotations

import hmac
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from cryptography.fernet import Fernet
from forge_deliveries import FORM, SENDERS, Gitea, GitHub, Gogs, Moved, Sender, encoded, form, label
from hypothesis import given
from hypothesis import strategies as st
from instance import wait_for
from push_server import PushServer

from core.model import Project
from hooks.forges import payload
from web.http import auth
from web.services.repositories import hosting
from web.store import deliveries
from web.store.db import transaction
from web.store.deliveries import Delivery, DeliveryState

each = pytest.mark.parametrize("sender", SENDERS, ids=label)
MIB = 1024**2


@pytest.fixture
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PushServer]:
    server = PushServer(tmp_path / "data", **getattr(request, "param", {}))
    server.start()
    yield server
    server.close()


def settings(**values: Any) -> Any:
    return pytest.mark.parametrize(
        "bounded", [{f"server__{key}": value for key, value in values.items()}], indirect=True
    )


def add(server: PushServer, sender: Sender, name: str = "model") -> Project:
    url = "https://forge.example.org/ada/model.git"
    project, _ = hosting.add_project(server.context, name, 1, forge=sender.name, url=url)
    hosting.set_secret(server.context, project, sender.secret)
    return project


def deliver(server: PushServer, sender: Sender, number: int) -> Any:
    body = encoded(sender.push(Moved(before=f"{number:040x}", after=f"{number + 1:040x}")))
    return server.post(f"/hooks/model/{sender.name}", body, **sender.headers(body, f"d-{number}"))


def well_formed(sender: Sender, body: bytes = b"{}") -> dict[str, str]:
    """Headers of somebody who does not know the secret."""
    headers = sender.headers(body, "d-1")
    for name, value in headers.items():
        if "signature" in name.lower():
            headers[name] = value[:-6] + ("AAAAA=" if value.endswith("=") else "abcdef")
        elif name == "X-Gitlab-Token":
            headers[name] = "a token that nobody has given".replace(" ", "-")
    return headers


def asked(server: PushServer, path: str, headers: dict[str, str], size: int = 1000) -> bytes:
    """The beginning of the answer to a request whose body does not come."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {size}", *(f"{k}: {v}" for k, v in headers.items())]
    with socket.create_connection(("127.0.0.1", server.config.server.port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        connection.settimeout(30)
        return connection.recv(4096)


MEASURE = """
import resource, sys
from hooks.forges import payload
body = b"payload=" + b"%41" * (25 * 2**20 // 3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = payload.extract_json_text({"content-type": payload.FORM}, body)
assert text == b"A" * (25 * 2**20 // 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_decoding_a_form_takes_a_few_times_its_size_and_not_eighty_times() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120 * 1024


@given(st.binary())
def test_a_form_is_decoded_as_it_was_encoded(text: bytes) -> None:
    encoded_text = quote_plus(text).encode()
    found = payload.extract_json_text({"content-type": payload.FORM}, b"a=1&payload=" + encoded_text + b"&b=2")
    assert found == text
    assert payload.extract_json_text(
        {"content-type": payload.FORM}, b"payload=" + encoded_text.lower()
    ) == unquote_to_bytes(encoded_text.lower().replace(b"+", b" "))


@given(st.binary())
def test_a_malformed_form_is_decoded_to_something(text: bytes) -> None:
    assert len(payload.extract_json_text({"content-type": payload.FORM}, b"payload=" + text)) <= len(text)


@pytest.mark.parametrize("sender", [GitHub(), Gitea(), Gogs()], ids=label)
@settings(hook_form="1 MiB")
def test_forms_have_a_smaller_bound_of_their_own(bounded: PushServer, sender: Sender) -> None:
    add(bounded, sender)
    body = b'{"x": "' + b"%" * MIB + b'"}'
    answer = bounded.post(f"/hooks/model/{sender.name}", form(body), **sender.headers(body, "d-1") | FORM)
    assert (answer.status_code, answer.text) == (413, "The body is larger than 1,048,576 bytes ([server] hook_form).\n")
    assert bounded.post(f"/hooks/model/{sender.name}", body, **well_formed(sender, body)).status_code == 401


@each
def test_what_has_no_proof_or_goes_nowhere_is_refused_before_its_body_comes(
    bounded: PushServer, sender: Sender
) -> None:
    add(bounded, sender)
    unsigned = {k: v for k, v in well_formed(sender).items() if "ignature" not in k and "Token" not in k}
    mangled = {k: v[:-1] + "/" if "ignature" in k else v for k, v in unsigned.items()}
    for headers in (unsigned, mangled, {}):
        assert asked(bounded, f"/hooks/model/{sender.name}", headers).startswith(b"HTTP/1.1 401 ")
    assert asked(bounded, "/hooks/model/nosuch", well_formed(sender)).startswith(b"HTTP/1.1 401 ")
    large = asked(bounded, f"/hooks/model/{sender.name}", well_formed(sender), 26 * MIB)
    assert large.startswith(b"HTTP/1.1 413 ")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every SQL statement on the server's threads, and what is decrypted and hashed."""
    seen: list[tuple[str, Any]] = []
    connect, decrypt, new, digest = auth.connect, Fernet.decrypt, hmac.new, hmac.digest

    def traced(path: Path) -> Any:
        db = connect(path)
        db.conn.set_trace_callback(lambda sql: seen.append(("sql", sql.partition("WHERE")[0])))
        return db

    def decrypted(self: Fernet, token: bytes) -> bytes:
        seen.append(("decrypt", 1))
        return decrypt(self, token)

    def hashed(key: bytes, message: bytes, method: Any) -> Any:
        seen.append(("hash", len(message)))
        return new(key, message, method)

    def hashed_at_once(key: bytes, message: bytes, method: Any) -> bytes:
        seen.append(("hash", len(message)))
        return digest(key, message, method)

    monkeypatch.setattr(auth, "connect", traced)
    monkeypatch.setattr(Fernet, "decrypt", decrypted)
    monkeypatch.setattr(hmac, "new", hashed)
    monkeypatch.setattr(hmac, "digest", hashed_at_once)
    return seen


@each
@pytest.mark.parametrize("shape", ["json", "form"])
def test_a_stranger_learns_nothing_of_which_projects_there_are(
    bounded: PushServer, sender: Sender, shape: str, work: list[tuple[str, Any]]
) -> None:
    """The same answer after the same queries, decryptions and hashes; the refusal is recorded on another thread."""
    add(bounded, sender)
    text = b'{"x": "' + b"y" * 100_000 + b'"}'
    body, more = (text, {}) if shape == "json" else (form(text), FORM)
    found = {}
    for name in ("model", "nosuch"):
        work.clear()
        answer = bounded.post(f"/hooks/{name}/{sender.name}", body, **well_formed(sender, body) | more)
        found[name] = (answer.status_code, answer.content, sorted(answer.headers), list(work))
    assert found["model"] == found["nosuch"]
    assert found["model"][0] == 401
    assert [kind for kind, _ in work].count("decrypt") == 1
    wait_for(lambda: bounded.deliveries("model"))


@settings(hook_memory="300 KiB")
def test_bodies_beyond_the_memory_for_them_are_answered_later_whether_or_not_there_is_a_project(
    bounded: PushServer,
) -> None:
    sender = GitHub()
    add(bounded, sender)
    body = encoded(sender.push(Moved(after="a" * 40)) | {"filling": "x" * 200_000})
    head = f"POST /hooks/nosuch/github HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in well_formed(sender, body).items())
    with socket.create_connection(("127.0.0.1", bounded.config.server.port)) as slow:
        slow.sendall(f"{head}{lines}\r\n".encode() + body[:-1])
        taken = bounded.intake.memory
        wait_for(lambda: taken.taken > len(body) - 64 * 1024)
        answers = [
            bounded.post(f"/hooks/{name}/github", body, **sender.headers(body, "d-1")) for name in ("model", "no")
        ]
        assert {(a.status_code, a.text, a.headers["Retry-After"]) for a in answers} == {
            (503, "Too many webhooks at once ([server] hook_memory).\n", "10")
        }
    wait_for(lambda: taken.taken == 0)
    assert bounded.post("/hooks/model/github", body, **sender.headers(body, "d-1")).status_code == 202
    wait_for(lambda: len(bounded.deliveries("model")) == 2)
    assert [(d.state, d.signature) for d in bounded.deliveries("model")] == [
        ("refused", "unchecked"),
        ("stored", "valid"),
    ]


def refused(server: PushServer) -> Delivery:
    return wait_for(lambda: next((d for d in server.deliveries("model") if d.state == "refused"), None))


@settings(hook_rate=3)
def test_more_deliveries_than_a_minutes_are_answered_later_and_said(bounded: PushServer) -> None:
    sender = GitHub()
    add(bounded, sender)
    add(bounded, sender, "other")
    assert [deliver(bounded, sender, number).status_code for number in range(3)] == [202] * 3
    answer = deliver(bounded, sender, 4)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 20
    assert (refused(bounded).signature, refused(bounded).message) == (
        "valid",
        "More than 3 deliveries a minute ([server] hook_rate).",
    )
    body = encoded(sender.push(Moved(after="a" * 40)))
    assert bounded.post("/hooks/other/github", body, **sender.headers(body, "d")).status_code == 202


@settings(hook_queue=2)
def test_more_waiting_deliveries_than_the_bound_are_answered_later_and_said(bounded: PushServer) -> None:
    sender = GitHub()
    add(bounded, sender)
    add(bounded, sender, "other")
    assert [deliver(bounded, sender, number).status_code for number in range(3)] == [202, 202, 429]
    body = encoded(sender.push(Moved(after="a" * 40)))
    assert bounded.post("/hooks/other/github", body, **sender.headers(body, "d")).status_code == 202
    assert refused(bounded).message == "2 deliveries of this repository wait already ([server] hook_queue)."
    bounded.drain()
    for delivery in bounded.deliveries("model"):
        with transaction(bounded.db):
            deliveries.finish(bounded.db, delivery.id, DeliveryState.FAILED, "")
    assert deliver(bounded, sender, 3).status_code == 202


@settings(hook_rate=3)
def test_strangers_cannot_keep_the_refusals_of_signed_deliveries_from_being_seen(bounded: PushServer) -> None:
    sender = GitHub()
    add(bounded, sender)
    for _ in range(deliveries.REFUSED_PER_MINUTE + 2):
        assert bounded.post("/hooks/model/github", b"{}").status_code == 401
    wait_for(lambda: len(bounded.deliveries("model")) == deliveries.REFUSED_PER_MINUTE)
    assert [deliver(bounded, sender, number).status_code for number in range(4)] == [202] * 3 + [429]
    wait_for(lambda: [d.signature for d in bounded.deliveries("model") if d.state == "refused"].count("valid") == 1)

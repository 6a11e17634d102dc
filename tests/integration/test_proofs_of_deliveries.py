"""Only deliveries with their forge's signature are accepted, byte for byte, among them real ones. All over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest
import real_payloads
from forge_deliveries import (
    FORM,
    SENDERS,
    GitHub,
    GitLab,
    Gogs,
    Moved,
    Sender,
    encoded,
    form,
    label,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from push_server import PushServer
from real_payloads import Sent

from hooks.forges import payload
from hooks.forges.registry import FORGES
from web.services.repositories import hosting
from web.store import deliveries

A, B = "a" * 40, "b" * 40
SIGNERS = tuple(sender for sender in SENDERS if type(sender) is not GitLab)
FORMS = tuple(sender for sender in SENDERS if isinstance(sender, GitHub | Gogs))
OF_USE = [sent for sent in real_payloads.golden() if sent.becomes]


@dataclass
class Site:
    """A server with a project for each forge and repository that a test asks for."""

    server: PushServer
    client: httpx.Client
    projects: dict[tuple[str, str], str] = field(default_factory=dict)

    def path(self, sender: Sender, repository: str = "ada/model") -> str:
        name = self.projects.get((label(sender), repository), f"p{len(self.projects)}")
        if (label(sender), repository) not in self.projects:
            url = f"https://forge.example.org/{repository}.git"
            made, _ = hosting.add_project(self.server.context, name, 1, forge=sender.name, url=url)
            hosting.set_secret(self.server.context, made, sender.secret)
            self.projects[label(sender), repository] = name
        return f"/hooks/{name}/{sender.name}"

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        return self.client.post(path, content=body, headers=headers).status_code


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = PushServer(tmp_path_factory.mktemp("site"))
    server.start()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        yield Site(server, client)
    server.close()


def pushed(sender: Sender) -> bytes:
    return encoded(sender.push(Moved(before=A, after=B, message="a+b & ä")))


def flipped(of: bytes, expect: Callable[[bytes], int], post: Callable[[bytes], int]) -> None:
    """Flip one bit in any place of `of`, many times over."""

    @settings(max_examples=40, database=None)
    @given(at=st.integers(0, len(of) - 1), bit=st.integers(0, 7))
    def try_it(at: int, bit: int) -> None:
        damaged = of[:at] + bytes([of[at] ^ 1 << bit]) + of[at + 1 :]
        assert post(damaged) == expect(damaged), damaged[max(at - 20, 0) : at + 20]

    try_it()


@pytest.mark.parametrize("sender", SIGNERS, ids=label)
def test_one_flipped_byte_anywhere_in_a_signed_body_is_refused(site: Site, sender: Sender) -> None:
    body, path = pushed(sender), site.path(sender)
    headers = sender.headers(body, "flipped")
    flipped(body, lambda _: 401, lambda damaged: site.post(path, damaged, headers))
    assert site.post(path, body, headers) == 202


@pytest.mark.parametrize("sender", FORMS, ids=label)
def test_one_flipped_byte_anywhere_in_a_form_is_refused_or_says_the_same(site: Site, sender: Sender) -> None:
    """All but GitHub sign the JSON in the form, which `%7b` and `%7B` are the same for."""
    body, path = pushed(sender), site.path(sender)
    sent = form(body)
    headers = sender.headers(sent if isinstance(sender, GitHub) else body, "form") | FORM
    accepted = site.post(path, sent, headers)

    def expected(damaged: bytes) -> int:
        same = payload.extract_json_text({"content-type": FORM["Content-Type"]}, damaged) == body
        return 200 if same and not isinstance(sender, GitHub) else 401

    flipped(sent, expected, lambda damaged: site.post(path, damaged, headers))
    assert accepted == 202


def test_one_flipped_byte_in_gitlabs_secret_token_is_refused(site: Site) -> None:
    """The body is not signed in this scheme: who has the token may say anything."""
    sender = GitLab()
    body, path = pushed(sender), site.path(sender)

    def post(token: bytes) -> int:
        headers = {name: value.encode() for name, value in sender.headers(body, "token").items()}
        return site.client.post(path, content=body, headers=headers | {"X-Gitlab-Token": token}).status_code

    token = sender.secret.encode()
    for at in range(0, len(token), 7):
        assert post(token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]) == 401
    assert post(token) == 202


@pytest.mark.parametrize("sender", SIGNERS, ids=label)
def test_the_same_json_written_otherwise_is_refused(site: Site, sender: Sender) -> None:
    body, path = pushed(sender), site.path(sender)
    headers, said = sender.headers(body, "written"), json.loads(body)
    for other in (
        json.dumps(said, indent=1),
        json.dumps(said, separators=(",", ":")),
        json.dumps(said, sort_keys=True),
    ):
        assert other.encode() != body
        assert site.post(path, other.encode(), headers) == 401


@pytest.mark.parametrize("sender", SENDERS, ids=label)
def test_a_proof_that_is_missing_or_another_forges_is_refused(site: Site, sender: Sender) -> None:
    body, path = pushed(sender), site.path(sender)
    right = sender.headers(body, "missing")
    bare = {name: value for name, value in right.items() if "signature" not in name.lower() and "Token" not in name}
    assert len(bare) < len(right)
    assert site.post(path, body, bare) == 401
    for other in (one for one in SENDERS if FORGES[one.name] is not FORGES[sender.name]):
        proof = {name: value for name, value in other.headers(body, "other").items() if name not in right}
        assert site.post(path, body, bare | proof) == 401


@pytest.mark.payloads
@pytest.mark.parametrize("sender", SENDERS, ids=label)
def test_what_a_forge_really_sent_is_taken_once_it_is_signed(site: Site, sender: Sender) -> None:
    mine = [sent for sent in OF_USE if sent.forge == sender.name]
    assert mine
    for sent in mine:
        _taken(site, sender, sent)


def _taken(site: Site, sender: Sender, sent: Sent) -> None:
    path = site.path(sender, sent.repository or "any/thing")
    headers = sender.headers(sent.body, sent.place, sent.event)
    assert site.post(path, sent.body, headers) == 202, sent
    newest = site.server.deliveries(path.split("/")[2])[-1]
    stored = deliveries.get(site.server.db, newest.id)
    assert stored is not None
    assert (stored.state, stored.event, stored.body) == ("stored", sent.event, sent.body)
    assert real_payloads.shown(FORGES[sender.name].parse(stored.headers, stored.body)) == sent.becomes
    assert site.post(path, sent.body, headers) == 200

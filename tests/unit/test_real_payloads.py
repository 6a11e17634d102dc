"""Webhooks that forges really sent are parsed as a person reads them."""

from __future__ import annotations

import contextlib
import json

import pytest
import real_payloads
from hostile_json import spoil
from hypothesis import given, settings
from hypothesis import strategies as st
from real_payloads import Sent

from core.errors import InvalidDelivery
from hooks.forges.payload import Ignored
from hooks.forges.registry import FORGES

pytestmark = pytest.mark.payloads
EVENT_HEADERS = {
    "bitbucket": "X-Event-Key",
    "forgejo": "X-Forgejo-Event",
    "gitea": "X-Gitea-Event",
    "github": "X-GitHub-Event",
    "gitlab": "X-Gitlab-Event",
    "gogs": "X-Gogs-Event",
}
GOLDEN = real_payloads.golden()
OF_USE = [sent for sent in GOLDEN if sent.becomes]


def headers(forge: str, event: str) -> dict[str, str]:
    return {EVENT_HEADERS[forge].lower(): event}


@pytest.mark.parametrize("sent", GOLDEN, ids=str)
def test_a_real_body_becomes_what_a_person_read_in_it(sent: Sent) -> None:
    forge, given = FORGES[sent.forge], headers(sent.forge, sent.event)
    assert real_payloads.shown(forge.parse(given, sent.body)) == sent.becomes
    assert forge.full_name(given, sent.body) == sent.repository


def test_every_forge_has_bodies_that_it_really_sent() -> None:
    assert {sent.forge for sent in OF_USE} == set(FORGES) - {"plain"}


def test_none_of_githubs_examples_is_an_error() -> None:
    """Some three hundred, of all events."""
    examples = [(event, example) for event, found in real_payloads.examples().items() for example in found]
    assert len(examples) > 300
    for event, example in examples:
        given, body = headers("github", event), json.dumps(example).encode()
        found = FORGES["github"].parse(given, body)
        assert isinstance(found, Ignored) == (real_payloads.shown(found) is None)
        assert not isinstance(found, Ignored) or found.reason
        assert FORGES["github"].full_name(given, body) == (example.get("repository") or {}).get("full_name")


@settings(max_examples=300)
@given(sent=st.sampled_from(OF_USE), data=st.data())
def test_a_real_body_with_anything_in_any_place_is_parsed_or_refused(sent: Sent, data: st.DataObject) -> None:
    payload = json.loads(sent.body)
    spoil(data, payload)
    parsed_or_refused(sent, json.dumps(payload).encode())


@settings(max_examples=300)
@given(sent=st.sampled_from(OF_USE), at=st.integers(min_value=0), byte=st.none() | st.integers(0, 255))
def test_a_real_body_that_is_cut_off_or_damaged_is_parsed_or_refused(sent: Sent, at: int, byte: int | None) -> None:
    body = bytearray(sent.body)
    at %= len(body)
    body[at:] = b"" if byte is None else bytes([byte]) + body[at + 1 :]
    parsed_or_refused(sent, bytes(body))


def parsed_or_refused(sent: Sent, body: bytes) -> None:
    forge = FORGES[sent.forge]
    for call in (forge.parse, forge.full_name, forge.delivery_id):
        with contextlib.suppress(InvalidDelivery):
            call(headers(sent.forge, sent.event), body)

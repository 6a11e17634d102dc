"""The page of a delivery shows no secret, whatever was sent."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.services.deliveries import redaction
from web.store.deliveries import Delivery

SECRET = "5ec7e7" * 8


def delivery(body: bytes, content_type: str = "application/json") -> Delivery:
    return Delivery(
        id=1, repository_id=1, source="github", delivery_id="1", event="push", headers={"content-type": content_type},
        body=body, received_at="", state="done", message="", handled_at=None, attempts=0, retry_at=None,
        signature="valid", again_of=None, pruned=False,
    )  # fmt: skip


def shown(document: object) -> str:
    return redaction.redact_body(delivery(json.dumps(document).encode()), SECRET)


@pytest.mark.parametrize(
    "document",
    [
        {"secret": "hidden-1"},
        {"hook": {"config": [{"webhook_secret": "hidden-1"}]}},
        {"Access-Token": 12345},
        {"credentials": {"user": "ada", "word": "hidden-1"}},
        {"clone_url": "https://ada:hidden-1@example.org/x.git"},
        {"clone_url": "https://hidden-1@example.org/x.git"},
        {"url": "ssh://ada:hid@den-1@example.org/x.git"},
        {"url": "https://example.org/x?a=b&private_token=hidden-1"},
        {"url": "https://example.org/x?key=hidden-1#top"},
        {"options": ["ci.variable=API_TOKEN=hidden-1"]},
        {"variable": {"DB_PASSWORD=hidden-1": 1}},
        {"anywhere": f"say {SECRET} aloud"},
    ],
)
def test_secrets_are_removed_from_json(document: object) -> None:
    text = shown(document)
    assert "(removed)" in text
    assert not any(hidden in text for hidden in ("hidden-1", "den-1", "12345", SECRET))


def test_the_rest_stays_as_it_is_with_line_breaks() -> None:
    document = {
        "ref": "refs/heads/main",
        "url": "ssh://git@example.org/x.git",
        "has_secret": False,
        "token": None,
        "n": [1, "ä"],
    }
    assert shown(document) == json.dumps(document, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"secret": "hidden-1", broken',
        b'{"secret" : "hid\\"den-1',
        b"pushmill-push 1\noption PASSWORD=hidden-1\noption token: hidden-1\n",
        b"base https://ada:hidden-1@example.org/",
        b'{"url": "https:\\/\\/ada:hidden-1@example.org", broken',
        b"[" * 2000 + b'{"secret": "hidden-1"}' + b"]" * 2000,
        b"[" * 500 + b'{"secret": "hidden-1"}' + b"]" * 500,
        b"x=1&secret=hidden-1&y=2",
    ],
)
def test_secrets_are_removed_from_what_is_no_json(body: bytes) -> None:
    text = redaction.redact_body(delivery(body), SECRET)
    assert "(removed)" in text
    assert "den-1" not in text


def test_json_in_a_form_is_read() -> None:
    form = urlencode({"payload": json.dumps({"secret": "hidden-1", "ref": "x"})}).encode()
    text = redaction.redact_body(delivery(form, redaction.FORM), SECRET)
    assert json.loads(text) == {"secret": "(removed)", "ref": "x"}


def test_headers_that_prove_something_keep_their_name_alone() -> None:
    given = {
        "x-hub-signature-256": "sha256=00", "x-gitlab-token": "t", "webhook-signature": "v1,x", "authorization": "Basic x",
        "x-gitea-signature": "00", "x-github-event": "push", "x-origin": "https://a:b@example.org",
    }  # fmt: skip
    removed = {name for name, value in redaction.redact_headers(given).items() if value == redaction.REMOVED}
    assert removed == {*given} - {"x-github-event", "x-origin"}
    assert redaction.redact_headers(given)["x-origin"] == "https://(removed)@example.org"


@given(st.binary(max_size=300), st.sampled_from(["application/json", redaction.FORM, ""]))
def test_any_body_can_be_shown(body: bytes, content_type: str) -> None:
    redaction.redact_body(delivery(body, content_type), SECRET)


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_can_be_shown(document: object) -> None:
    shown(document)


@pytest.mark.parametrize("piece", [b"secret", b'secret:"', b"://", b"token_", b"?key", b"a" * 64, b'"\\'])
def test_a_body_of_megabytes_that_was_made_to_be_slow_is_not(piece: bytes) -> None:
    body = b"{" + piece * (4_000_000 // len(piece))
    started = time.process_time()
    redaction.redact_body(delivery(body), SECRET)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://ada:pw@example.org", "https://(removed)@example.org"),
        (r"https:\/\/ada:pw@example.org", r"https:\/\/(removed)@example.org"),
        ("token=abc", "token=(removed)"),
        ("/hook?key=abc", "/hook?key=(removed)"),
        ("push", "push"),
    ],
)
def test_each_form_of_a_secret_is_found_in_a_header_without_the_others(value: str, shown: str) -> None:
    assert redaction.redact_headers({"x-origin": value}) == {"x-origin": shown}

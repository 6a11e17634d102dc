from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidDelivery
from core.model import PushEvent
from hooks import signatures
from hooks.forges.base import Forge
from hooks.forges.payload import Ignored
from hooks.forges.registry import FORGES

github, plain = FORGES["github"], FORGES["plain"]
A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
SECRET = b"It's a Secret to Everybody"
PLAIN = f"pushmill-push 1\nid 1700000000-42-abcdef\npusher ada\nref {A} {B} refs/heads/main\n".encode()


def payload(**changes: object) -> bytes:
    return json.dumps(
        {"ref": "refs/heads/main", "before": A, "after": B, "head_commit": {"id": B, "message": "m"}} | changes
    ).encode()


def parse_github(**changes: object) -> list[PushEvent] | Ignored:
    return github.parse({"x-github-event": "push"}, payload(**changes))


def test_githubs_published_signature_vector_is_verified() -> None:
    signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert github.verify({"x-hub-signature-256": signed}, b"Hello, World!", SECRET)
    assert signatures.sign(b"Hello, World!", SECRET) == signed


@pytest.mark.parametrize("forge", [github, plain])
@given(body=st.binary(min_size=1, max_size=200), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_body_with_one_flipped_bit_is_not_verified(forge: Forge, body: bytes, at: int, bit: int) -> None:
    headers = dict.fromkeys(("x-hub-signature-256", "x-pushmill-signature-256"), signatures.sign(body, SECRET))
    changed = bytearray(body)
    changed[at % len(body)] ^= 1 << bit
    assert forge.verify(headers, body, SECRET)
    assert not forge.verify(headers, bytes(changed), SECRET)
    assert not forge.verify({}, body, SECRET)


@pytest.mark.parametrize("forge", [github, plain])
def test_an_empty_secret_verifies_nothing(forge: Forge) -> None:
    headers = dict.fromkeys(("x-hub-signature-256", "x-pushmill-signature-256"), signatures.sign(b"body", b""))
    assert not forge.verify(headers, b"body", b"")


@pytest.mark.parametrize("forge", [github, plain])
@given(body=st.binary() | st.text().map(lambda text: f"pushmill-push 1\nid 12345678\n{text}".encode()))
def test_parsers_raise_invalid_delivery_and_nothing_else(forge: Forge, body: bytes) -> None:
    headers = {"x-github-event": "push"}
    for call in (forge.parse, forge.full_name, forge.delivery_id):
        try:
            call(headers, body)
        except InvalidDelivery:
            continue


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.sampled_from([A, B, ZERO, "refs/heads/x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("ref", "before", "after", "head_commit", "pusher", "repository", "deleted")


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_githubs_payloads_of_any_shape_are_parsed_or_refused(found: dict[str, object]) -> None:
    try:
        events = github.parse({"x-github-event": "push"}, json.dumps(found).encode())
        github.full_name({}, json.dumps(found).encode())
    except InvalidDelivery:
        return
    assert isinstance(events, Ignored) or all(isinstance(event, PushEvent) for event in events)


def test_githubs_identity_is_that_of_the_push_not_of_the_delivery() -> None:
    first, again = parse_github(), parse_github(pusher={"name": "else"})
    other = parse_github(before=ZERO)
    assert isinstance(first, list)
    assert isinstance(again, list)
    assert isinstance(other, list)
    assert first[0].identity == again[0].identity != other[0].identity


def test_githubs_annotated_tag_becomes_its_commit_and_a_branch_stays_what_it_is() -> None:
    (tag,) = parse_github(ref="refs/tags/v1", after=A, before=ZERO)  # type: ignore[misc]
    (branch,) = parse_github(after="c" * 40)  # type: ignore[misc]
    assert (tag.after, branch.after) == (B, "c" * 40)


def test_githubs_deleted_branch_has_no_head_commit() -> None:
    (event,) = parse_github(after=ZERO, head_commit=None, deleted=True)  # type: ignore[misc]
    assert event.deleted


def test_the_plain_push_has_its_pusher_options_and_every_ref() -> None:
    body = PLAIN + f"option a=b c\noption\noption ci.skip\nref {ZERO} {A} refs/tags/v1\n".encode()
    main, tag = plain.parse({}, body)  # type: ignore[misc]
    assert (main.ref, main.before, main.after, main.pusher) == ("refs/heads/main", A, B, "ada")
    assert main.options == ("a=b c", "", "ci.skip")
    assert tag.ref == "refs/tags/v1"
    assert main.identity != tag.identity


def test_a_line_feed_in_a_value_of_the_plain_push_adds_no_line() -> None:
    body = PLAIN.replace(b"push 1", b"push 2") + b"option a\\nref x\\\\n\\\n"
    (event,) = plain.parse({}, body)  # type: ignore[misc]
    assert event.options == ("a\nref x\\n\\",)


def test_only_a_line_feed_ends_a_line_of_the_plain_push() -> None:
    body = PLAIN + "option x\x0bref\x0c\u2028\x85\r\n".encode()
    (event,) = plain.parse({}, body)  # type: ignore[misc]
    assert event.options == ("x\x0bref\x0c\u2028\x85\r",)


@pytest.mark.parametrize(
    "line",
    ["ref", f"ref {A}", f"ref {A} {B}", f"ref {A} {B} main", f"ref x {B} refs/heads/a", f"ref {A} {B} refs/a..b"],
)
def test_a_plain_push_with_a_broken_ref_line_is_refused(line: str) -> None:
    with pytest.raises(InvalidDelivery):
        plain.parse({}, PLAIN + f"{line}\n".encode())


@pytest.mark.parametrize("identifier", ["", "short", "../../etc/passwd", "a" * 201, "with blank", "id\tid1234"])
def test_a_plain_push_needs_an_id_that_is_safe_anywhere(identifier: str) -> None:
    with pytest.raises(InvalidDelivery):
        plain.delivery_id({}, f"pushmill-push 1\nid {identifier}\n".encode())


def test_options_are_bounded() -> None:
    body = PLAIN + b"".join(b"option " + b"x" * 5000 + b"\n" for _ in range(100))
    (event,) = plain.parse({}, body)  # type: ignore[misc]
    assert len(event.options) == 32 + 1  # one more of each, which says that there were more
    assert {len(option) for option in event.options} == {1000 + 1}


@given(secret=st.binary(min_size=1, max_size=100), body=st.binary(max_size=100))
def test_hashing_with_the_pads_is_the_same_signature(secret: bytes, body: bytes) -> None:
    import hashlib

    inner, outer = signatures.compute_hmac_pads(secret)
    digest = hashlib.sha256(outer + hashlib.sha256(inner + body).digest()).hexdigest()
    assert f"sha256={digest}" == signatures.sign(body, secret)

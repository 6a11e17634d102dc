"""The events in each forge's deliveries, and which deliveries are accepted."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from forge_deliveries import (
    FORM,
    SENDERS,
    ZERO,
    Bitbucket,
    Forgejo,
    Gitea,
    GitHub,
    GitLab,
    Gogs,
    Moved,
    Sender,
    SigningGitLab,
    encoded,
    form,
    label,
)
from hostile_json import VALUES, spoil
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidDelivery
from core.model import PullRequestEvent, PushEvent
from hooks.forges.base import Forge
from hooks.forges.payload import Ignored
from hooks.forges.registry import FORGES, find_forge_by_host

A, B, C = "a" * 40, "b" * 40, "c" * 40
each = pytest.mark.parametrize("sender", SENDERS, ids=label)
SIGNERS = tuple(sender for sender in SENDERS if type(sender) is not GitLab)
FORMS = tuple(sender for sender in SENDERS if isinstance(sender, Gogs))


def lowered(headers: dict[str, str]) -> dict[str, str]:
    """As the server gives them."""
    return {name.lower(): value for name, value in headers.items()}


def forge(sender: Sender) -> Forge:
    return FORGES[sender.name]


def delivered(sender: Sender, payload: Any, event: str | None = None) -> list[PushEvent] | PullRequestEvent | Ignored:
    """What one verified delivery becomes, from what is stored of it."""
    body = encoded(payload)
    headers = lowered(sender.headers(body, "d-1", event))
    assert forge(sender).verify(headers, body, sender.key)
    kept = {name: value for name, value in headers.items() if name in forge(sender).KEPT_HEADERS}
    return forge(sender).parse(kept, body)


def one(sender: Sender, moved: Moved, **more: Any) -> PushEvent:
    events = delivered(sender, sender.push(moved, **more))
    assert isinstance(events, list)
    (event,) = events
    return event


def ignored(found: list[PushEvent] | PullRequestEvent | Ignored) -> str:
    assert isinstance(found, Ignored)
    return found.reason


@each
@pytest.mark.parametrize(
    "moved",
    [
        Moved(before=A, after=B, message="a subject\n\nand a body"),
        Moved(before=ZERO, after=B, ref="refs/heads/feature/ä-b"),
        Moved(before=B, after=A, message="forced back"),
        Moved(before=ZERO, after=B, ref="refs/tags/v1.0"),
    ],
    ids=["push", "new branch", "forced", "tag"],
)
def test_a_push_is_read_with_all_that_is_said_of_it(sender: Sender, moved: Moved) -> None:
    event = one(sender, moved)
    assert (event.ref, event.before, event.after) == (moved.ref, moved.before, moved.after)
    assert (event.pusher, event.message, event.options) == ("ada", moved.message, ())
    assert not event.deleted


@each
def test_a_deleted_ref_is_said_to_be_deleted(sender: Sender) -> None:
    for ref in ("refs/heads/old", "refs/tags/v0"):
        event = one(sender, Moved(ref=ref, before=A))
        told = isinstance(sender, Gitea) and ref.startswith("refs/heads/")
        assert (event.ref, event.before, event.deleted) == (ref, ZERO if told else A, True)


@each
def test_an_annotated_tag_is_its_commit_and_known_by_what_was_sent(sender: Sender) -> None:
    moved = Moved(ref="refs/tags/v1", after=C, commit=B)
    event = one(sender, moved)
    if isinstance(sender, Gogs) and not isinstance(sender, Gitea):
        assert event.after in (B, C)  # what Gogs sends of tags is another event
    else:
        assert event.after == B
    if not isinstance(sender, Bitbucket):  # which sends the commit alone
        assert event.identity == one(sender, replace(moved, commit="")).identity


@each
def test_a_new_branch_without_commits_is_read(sender: Sender) -> None:
    payload = sender.push(Moved(after=B)) | {"commits": []}
    if isinstance(sender, Bitbucket):
        payload["push"]["changes"][0]["commits"] = []
    events = delivered(sender, payload)
    assert isinstance(events, list)
    assert events[0].after == B


@each
def test_what_did_not_move_is_a_test_and_runs_nothing(sender: Sender) -> None:
    assert ignored(delivered(sender, sender.push(Moved(before=A, after=A))))
    assert ignored(delivered(sender, sender.push(Moved(ref="refs/tags/v1", before=ZERO, after=ZERO))))


@each
@pytest.mark.parametrize(
    "event", ["pull_request_review", "Note Hook", "pullrequest:comment_created", "issues", "wiki", "x" * 999]
)
def test_other_events_are_ignored_with_their_name(sender: Sender, event: str) -> None:
    reason = ignored(delivered(sender, {"action": "opened"}, event))
    assert event[:150] in reason
    assert len(reason) < 300


@each
def test_a_delivery_without_its_event_header_is_ignored_with_the_headers_name(sender: Sender) -> None:
    assert "header" in ignored(forge(sender).parse({}, encoded(sender.push(Moved(after=A)))))


@each
def test_the_delivery_is_known_by_the_forges_id_and_without_one_by_its_body(sender: Sender) -> None:
    body = encoded(sender.push(Moved(after=A)))
    known = forge(sender).delivery_id
    assert known(lowered(sender.headers(body, "d-7")), body) == "d-7"
    assert known({}, body) == known({}, body) != known({}, body + b" ")


@each
def test_the_payload_names_its_repository(sender: Sender) -> None:
    body = encoded(sender.push(Moved(after=A), repository="group/sub/model"))
    assert forge(sender).full_name({}, body) == "group/sub/model"
    assert forge(sender).full_name({}, b"{}") is None


@each
def test_two_deliveries_of_one_push_are_one_push_and_moving_it_on_is_another(sender: Sender) -> None:
    first, again, back = (one(sender, Moved(before=a, after=b)) for a, b in ((A, B), (A, B), (B, A)))
    assert first.identity == again.identity != back.identity


@each
@pytest.mark.parametrize("secret", [b"", b"wrong", b"whsec_", b"whsec_AAAA", b"whsec_!"])
def test_another_or_an_empty_secret_verifies_nothing(sender: Sender, secret: bytes) -> None:
    body = encoded(sender.push(Moved(after=A)))
    headers = lowered(sender.headers(body, "d-1"))
    assert forge(sender).verify(headers, body, sender.key)
    assert not forge(sender).verify(headers, body, secret)


@each
def test_an_empty_signature_of_an_empty_secret_is_refused(sender: Sender) -> None:
    class Open(type(sender)):  # type: ignore[misc]
        secret, key, raw_key = "", b"", b""

    headers = lowered(Open().headers(b"{}", "d-1"))
    assert not forge(sender).verify(headers, b"{}", b"")
    assert not forge(sender).verify(dict.fromkeys(headers, ""), b"{}", b"")


@each
def test_missing_or_damaged_signatures_are_refused(sender: Sender) -> None:
    body = encoded(sender.push(Moved(after=A)))
    headers = lowered(sender.headers(body, "d-1"))
    assert not forge(sender).verify({}, body, sender.key)
    for name in headers:
        if "signature" in name or "token" in name:
            for value in ("", "ü", headers[name][:-1], headers[name] + "0", "sha256=", "v1,", " "):
                damaged = {
                    key: value if "signature" in key or "token" in key else kept for key, kept in headers.items()
                }
                assert not forge(sender).verify(damaged, body, sender.key)


@pytest.mark.parametrize("sender", SIGNERS, ids=label)
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_in_the_body_is_refused(sender: Sender, at: int, bit: int) -> None:
    body = bytearray(encoded(sender.push(Moved(before=A, after=B))))
    headers = lowered(sender.headers(bytes(body), "d-1"))
    body[at % len(body)] ^= 1 << bit
    assert not forge(sender).verify(headers, bytes(body), sender.key)


@pytest.mark.parametrize("sender", SIGNERS, ids=label)
def test_the_same_json_written_otherwise_is_refused(sender: Sender) -> None:
    payload = sender.push(Moved(before=A, after=B))
    headers = lowered(sender.headers(encoded(payload), "d-1"))
    for other in (json.dumps(payload, indent=1), json.dumps(payload, separators=(",", ":")), json.dumps(payload) + " "):
        assert not forge(sender).verify(headers, other.encode(), sender.key)


@pytest.mark.parametrize("sender", FORMS, ids=label)
def test_the_json_inside_of_a_form_is_what_is_signed(sender: Sender) -> None:
    body = encoded(sender.push(Moved(after=A, message="a+b = ä & c %41")))
    headers = lowered(sender.headers(body, "d-1") | FORM)
    assert forge(sender).verify(headers, form(body), sender.key)
    events = forge(sender).parse(headers, form(body))
    assert isinstance(events, list)
    assert events[0].message == "a+b = ä & c %41"
    assert not forge(sender).verify(headers, form(body + b" "), sender.key)
    assert not forge(sender).verify(headers, b"other=1", sender.key)


@pytest.mark.parametrize("sender", FORMS, ids=label)
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_form_with_a_flipped_bit_is_refused_or_says_the_same(sender: Sender, at: int, bit: int) -> None:
    body = encoded(sender.push(Moved(after=A)))
    headers, sent = lowered(sender.headers(body, "d-1") | FORM), bytearray(form(body))
    expected = forge(sender).parse(headers, bytes(sent))
    sent[at % len(sent)] ^= 1 << bit
    if forge(sender).verify(headers, bytes(sent), sender.key):  # %7b for %7B
        assert forge(sender).parse(headers, bytes(sent)) == expected


@pytest.mark.parametrize("sender", FORMS, ids=label)
@given(body=st.binary())
def test_any_bytes_come_through_a_form_as_they_are(sender: Sender, body: bytes) -> None:
    headers = lowered(sender.headers(body, "d-1") | FORM)
    assert forge(sender).verify(headers, b"payload=" + quote_from_bytes(body).encode(), sender.key)


def test_githubs_signature_covers_the_form_itself() -> None:
    sender = GitHub()
    body = form(encoded(sender.push(Moved(after=A))))
    headers = lowered(sender.headers(body, "d-1") | FORM)
    assert forge(sender).verify(headers, body, sender.key)
    assert isinstance(forge(sender).parse(headers, body), list)


EVENTS = {
    "gitlab": ("Push Hook", "Tag Push Hook", "System Hook"),
    "gogs": ("push", "create", "delete"),
    "gitea": ("push", "create", "delete"),
    "forgejo": ("push", "delete"),
    "bitbucket": ("repo:push",),
    "github": ("push", "ping"),
}


@each
@given(data=st.data())
def test_a_payload_with_anything_in_any_place_is_parsed_or_refused(sender: Sender, data: st.DataObject) -> None:
    payload = json.loads(encoded(sender.push(Moved(before=A, after=B))))
    if isinstance(sender, Gogs) and data.draw(st.booleans()):
        payload = sender.created(Moved(ref="refs/tags/v1", after=B))
    spoil(data, payload)
    body = encoded(payload)
    headers = lowered(sender.headers(body, "d-1", data.draw(st.sampled_from(EVENTS[sender.name]))))
    try:
        forge(sender).full_name(headers, body)
        events = forge(sender).parse(headers, body)
    except InvalidDelivery:
        return
    assert isinstance(events, Ignored) or all(isinstance(event, PushEvent) for event in events)


@each
@given(body=st.binary() | VALUES.map(encoded), is_form=st.booleans())
def test_any_body_is_parsed_or_refused(sender: Sender, body: bytes, is_form: bool) -> None:
    for event in EVENTS[sender.name]:
        headers = lowered(sender.headers(body, "d-1", event) | (FORM if is_form else {}))
        for call in (forge(sender).parse, forge(sender).full_name, forge(sender).delivery_id):
            try:
                call(headers, body)
            except InvalidDelivery:
                continue


# what one forge alone does


def test_bitbuckets_one_delivery_has_every_ref() -> None:
    sender = Bitbucket()
    moved = [Moved(ref=f"refs/heads/b{n}", before=A, after=B) for n in range(50)] + [Moved(ref="refs/tags/t", after=B)]
    events = delivered(sender, sender.push(*moved, Moved(ref="refs/heads/gone", before=A)))
    assert isinstance(events, list)
    assert [event.ref for event in events] == [one.ref for one in moved] + ["refs/heads/gone"]
    assert len({event.identity for event in events}) == 52


def test_bitbuckets_refs_that_are_neither_branch_nor_tag_are_left_out() -> None:
    sender = Bitbucket()
    payload = sender.push(Moved(after=A), Moved(ref="refs/heads/main", after=B))
    payload["push"]["changes"][0]["new"]["type"] = "bookmark"
    events = delivered(sender, payload)
    assert isinstance(events, list)
    assert [event.after for event in events] == [B]
    assert "no branch or tag" in ignored(delivered(sender, {"push": {"changes": []}}))


def test_bitbuckets_ref_without_a_commit_is_refused_not_taken_for_deleted() -> None:
    sender = Bitbucket()
    payload = sender.push(Moved(before=A, after=B))
    del payload["push"]["changes"][0]["new"]["target"]["hash"]
    with pytest.raises(InvalidDelivery):
        delivered(sender, payload)


@pytest.mark.parametrize("sender", [Gitea(), Forgejo()], ids=label)
def test_giteas_create_and_the_delete_of_a_tag_are_ignored_for_their_push(sender: Gitea) -> None:
    assert "push" in ignored(delivered(sender, sender.created(Moved(ref="refs/heads/new", after=A)), "create"))
    assert "push" in ignored(delivered(sender, sender.created(Moved(ref="refs/tags/v1", after=A)), "delete"))


@pytest.mark.parametrize("sender", [Gitea(), Forgejo()], ids=label)
def test_each_deletion_of_giteas_branch_is_another_one(sender: Gitea) -> None:
    body = encoded(sender.push(Moved(ref="refs/heads/fix/a", before=A)))
    found = [forge(sender).parse(lowered(sender.headers(body, delivery)), body) for delivery in ("d-1", "d-2", "d-1")]
    events = [event for one in found if isinstance(one, list) for event in one]
    assert {(event.ref, event.before, event.after, event.pusher) for event in events} == {
        ("refs/heads/fix/a", ZERO, ZERO, "ada")
    }
    assert len({event.identity for event in events}) == 2


def test_a_test_delivery_of_gitea_and_gogs_says_that_the_webhook_works() -> None:
    for sender in (Gitea(), Gogs()):
        assert "the webhook works" in ignored(delivered(sender, sender.push(Moved(before=A, after=A))))


def test_gogs_tells_of_a_tag_by_its_creation_alone() -> None:
    sender = Gogs()
    events = delivered(sender, sender.created(Moved(ref="refs/tags/v1", after=A)), "create")
    assert isinstance(events, list)
    assert (events[0].ref, events[0].before, events[0].after, events[0].pusher) == ("refs/tags/v1", ZERO, A, "ada")
    assert "its push" in ignored(delivered(sender, sender.created(Moved(after=A)), "create"))
    assert "does not report its commit" in ignored(
        delivered(sender, sender.created(Moved(ref="refs/tags/v1", after="")), "create")
    )


def test_gogs_and_gitea_take_the_newest_commits_message() -> None:
    for sender in (Gogs(), Gitea()):
        payload = sender.push(Moved(before=A, after=B, message="newest"))
        payload["commits"].append({"id": A, "message": "older"})
        payload["head_commit"] = None
        events = delivered(sender, payload)
        assert isinstance(events, list)
        assert events[0].message == "newest"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ([], ()),
        (None, ()),
        ("text", ()),
        ({"ci": {"skip": True}}, ("ci.skip",)),
        ({"ci": {"variable": {"LR=0.1": 1, "N=2": 1}}}, ("ci.variable=LR=0.1", "ci.variable=N=2")),
        ({"pushmill": {"step": "train"}}, ("pushmill.step=train",)),
        ({"pushmill": {"step": {"train": 1, "test": 2}}}, ("pushmill.step=train", "pushmill.step=test")),
        ({"integrations": {"skip_ci": True}}, ("integrations.skip_ci", "ci.skip")),
        ({"ci": ["skip"], "x": 1}, ()),
    ],
)
def test_gitlabs_push_options_become_ours(given: Any, options: tuple[str, ...]) -> None:
    sender = GitLab()
    assert one(sender, Moved(after=A), options=given).options == options


def test_gitlabs_system_hooks_are_ignored_with_what_to_do() -> None:
    assert "project" in ignored(delivered(GitLab(), GitLab().push(Moved(after=A)), "System Hook"))


def test_gitlabs_message_is_that_of_the_commit_checked_out_not_of_the_tag() -> None:
    sender = GitLab()
    payload = sender.push(Moved(ref="refs/tags/v1", after=C, commit=B, message="of the commit"))
    payload["commits"].insert(0, {"id": A, "message": "older"})
    events = delivered(sender, payload)
    assert isinstance(events, list)
    assert (events[0].after, events[0].message) == (B, "of the commit")


SIGNING = SigningGitLab()
BODY = encoded(SIGNING.push(Moved(after=A)))


def verified(**changes: str) -> bool:
    headers = lowered(SIGNING.headers(BODY, "d-1")) | {name.replace("_", "-"): value for name, value in changes.items()}
    return forge(SIGNING).verify({name: value for name, value in headers.items() if value != "-"}, BODY, SIGNING.key)


def test_gitlabs_published_scheme_is_verified() -> None:
    """The example of https://www.standardwebhooks.com's own libraries, at its own time."""
    body, at = b'{"test": 2432232314}', 1614265330
    secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    key = base64.b64decode(secret.removeprefix(b"whsec_"))
    signed = SIGNING.signed(body, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, key)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert not forge(SIGNING).verify(signed, body, secret)  # years too late


def test_gitlabs_signature_covers_id_and_time() -> None:
    assert verified()
    assert not verified(webhook_id="d-2")
    assert not verified(webhook_timestamp=str(int(time.time()) + 7))
    for name in ("webhook_id", "webhook_timestamp", "webhook_signature"):
        assert not verified(**{name: "-"})
        assert not verified(**{name: ""})
    for at in ("x", "²", "-5", "1e9", "9" * 30):
        assert not verified(webhook_timestamp=at)


@pytest.mark.parametrize(("age", "accepted"), [(290, True), (-290, True), (310, False), (-310, False), (10**6, False)])
def test_gitlabs_signature_holds_for_five_minutes(age: int, accepted: bool) -> None:
    signed = SIGNING.signed(BODY, "d-1", int(time.time()) - age)
    assert forge(SIGNING).verify(signed, BODY, SIGNING.key) == accepted


def test_one_of_gitlabs_several_signatures_is_enough() -> None:
    right = SIGNING.headers(BODY, "d-1")["webhook-signature"]
    other = SIGNING.signed(BODY, "d-1", 0, b"another key")["webhook-signature"]
    assert verified(webhook_signature=f"{other} {right}")
    assert verified(webhook_signature=f"v1a,xyz {right} {other}")
    assert not verified(webhook_signature=f"{other} {other}")
    assert not verified(webhook_signature=" ".join([other] * 100 + [right]))


def test_where_gitlab_signs_its_token_counts_for_nothing() -> None:
    plain = GitLab()
    wrong = lowered(plain.headers(BODY, "d-1")) | {"webhook-signature": "v1,AAAA", "webhook-id": "d-1"}
    assert not forge(plain).verify(wrong, BODY, plain.key)
    assert not forge(SIGNING).verify({"x-gitlab-token": SIGNING.secret}, BODY, SIGNING.key)


@pytest.mark.parametrize("secret", [GitLab.secret.encode(), b"whsec_", b"whsec_!", b"whsec_AAA", b""])
def test_a_signature_by_no_key_proves_nothing_where_gitlab_has_no_signing_token(secret: bytes) -> None:
    signed = SIGNING.signed(BODY, "d-1", int(time.time()), b"")
    assert not forge(SIGNING).verify(signed, BODY, secret)


def test_gitlabs_signed_id_names_the_delivery_before_the_one_that_is_not_signed() -> None:
    headers = lowered(SIGNING.headers(BODY, "d-1")) | {"idempotency-key": "other"}
    assert forge(SIGNING).delivery_id(headers, BODY) == "d-1"


# where they are


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("github.com", "github"),
        ("GitHub.Example.org", "github"),
        ("gitlab.com", "gitlab"),
        ("gitlab.example.org", "gitlab"),
        ("bitbucket.org", "bitbucket"),
        ("bitbucket.example.org", None),  # Bitbucket's own server software has other webhooks
        ("codeberg.org", "gitea"),
        ("forgejo.example.org", "gitea"),
        ("gitea.com", "gitea"),
        ("try.gogs.io", "gogs"),
        ("example.org", None),
        ("", None),
    ],
)
def test_a_hosts_name_tells_its_forge(host: str, name: str | None) -> None:
    assert find_forge_by_host(host) == name


def test_each_forge_has_its_own_page_for_webhooks() -> None:
    assert {name: forge.NEW_WEBHOOK for name, forge in FORGES.items()} == {
        "bitbucket": "/admin/webhooks",
        "gitea": "/settings/hooks/gitea/new",
        "forgejo": "/settings/hooks/gitea/new",
        "github": "/settings/hooks/new",
        "gitlab": "/-/hooks",
        "gogs": "/settings/hooks/gogs/new",
        "plain": "",
    }


def test_the_page_that_lists_webhooks_is_not_the_one_that_makes_another() -> None:
    assert {name: forge.WEBHOOKS for name, forge in FORGES.items()} == {
        "bitbucket": "/admin/webhooks",
        "gitea": "/settings/hooks",
        "forgejo": "/settings/hooks",
        "github": "/settings/hooks",
        "gitlab": "/-/hooks",
        "gogs": "/settings/hooks",
        "plain": "",
    }


def test_each_forge_has_its_own_page_for_deploy_keys() -> None:
    assert {name: forge.DEPLOY_KEYS for name, forge in FORGES.items()} == {
        "bitbucket": "/admin/access-keys/",
        "gitea": "/settings/keys",
        "forgejo": "/settings/keys",
        "github": "/settings/keys/new",
        "gitlab": "/-/settings/repository",
        "gogs": "/settings/keys",
        "plain": "",
    }


def test_every_forge_that_can_be_chosen_stands_in_the_docs() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "pushing.md").read_text()
    assert [name for name in FORGES if f"`{name}`" not in text and f"--forge {name}" not in text] == []

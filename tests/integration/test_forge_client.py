"""Calls to a forge's API over HTTP, and how their answers are classified."""

from __future__ import annotations

import logging
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from fake_forge import KINDS, FakeForge, running
from fake_forge_apis import TOKEN

from hooks.apis import client as client_module
from hooks.apis.base import Answer, CommitState, CommitStatus
from hooks.apis.client import Client, Later, Outcome, Refused
from hooks.apis.registry import APIS

SHA = "a" * 40
each = pytest.mark.parametrize("forge", KINDS, indirect=True)
NAME = "ada/model"


def connected(forge: FakeForge, token: str = TOKEN) -> Client:
    return Client(forge.api_url, APIS[forge.kind].headers(token), token)


def post(forge: FakeForge, token: str = TOKEN, **more: Any) -> Outcome:
    given = {
        "context": "pushmill/train",
        "state": CommitState.RUNNING,
        "description": "d",
        "url": "https://p/1",
        "ref": "main",
    }
    with connected(forge, token) as client:
        return client.send(APIS[forge.kind].post_status(NAME, SHA, CommitStatus(**given | more)))


def refused(outcome: Outcome) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


def later(outcome: Outcome) -> Later:
    assert isinstance(outcome, Later), outcome
    return outcome


@each
def test_everything_that_is_asked_of_a_forge_is_answered(forge: FakeForge) -> None:
    api = APIS[forge.kind]
    with connected(forge) as client:

        def asked(call: Any) -> Any:
            answer = client.send(call)
            assert isinstance(answer, Answer), answer
            return answer.json

        described = api.parse_repository(asked(api.get_repository(NAME)))
        assert (described.full_name, described.default_branch) == (NAME, "main")
        assert api.parse_webhooks(asked(api.list_webhooks(NAME, 1))) == []
        asked(api.create_webhook(NAME, "https://p/hooks/m/x", "s" * 64))
        (hook,) = api.parse_webhooks(asked(api.list_webhooks(NAME, 1)))
        assert (hook.url, hook.active, bool(hook.id)) == ("https://p/hooks/m/x", True, True)
        made = api.parse_comment(asked(api.create_comment(NAME, 7, "**hello**")))
        asked(api.edit_comment(NAME, 7, made.id, "**bye**"))
        assert [(c.id, c.body) for c in api.parse_comments(asked(api.list_comments(NAME, 7, 1)))] == [
            (made.id, "**bye**")
        ]
        assert api.parse_comments(asked(api.list_comments(NAME, 8, 1))) == []
        status = CommitStatus(context="c", state=CommitState.SUCCESS, description="d", url="https://p/1", ref="main")
        answer = asked(api.post_status(NAME, SHA, status))
        assert bool(api.parse_pipeline(answer)) == (forge.kind == "gitlab")
    assert forge.shown(SHA) == {"c": (api.STATES[CommitState.SUCCESS], "d")}


@each
def test_a_wrong_token_and_a_repository_out_of_its_reach_are_refused_in_the_forges_words(forge: FakeForge) -> None:
    assert refused(post(forge, "wrong-token")).status == 401
    forge.forbidden.add("statuses")
    assert refused(post(forge)).reason == "403 Resource not accessible by personal access token"
    forge.full_name = "ada/other"
    assert refused(post(forge)).status == 404


def test_bitbucket_takes_a_user_with_a_password_as_well() -> None:
    with running("bitbucket") as forge:
        forge.token = "ada@example.org:secret"
        assert isinstance(post(forge, forge.token), Answer)


def test_a_limit_is_waited_for_as_long_as_the_forge_says(forge: FakeForge) -> None:
    reset = str(int(time.time()) + 90)
    limits: list[tuple[int, dict[str, str], float, float]] = [
        (429, {"Retry-After": "17"}, 17, 17),
        (403, {"Retry-After": "17"}, 17, 17),
        (503, {"Retry-After": formatdate(time.time() + 50, usegmt=True)}, 45, 51),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, 85, 91),
        (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": reset}, 85, 91),
        (429, {"Retry-After": "999999999999"}, 86400, 86400),
        (429, {"Retry-After": "0"}, 1, 1),
    ]
    for status, headers, least, most in limits:
        forge.fail(status, headers=headers, json={"message": "slow down"})
        wait_s = later(post(forge)).wait_s
        assert wait_s is not None
        assert least <= wait_s <= most, (status, headers)
    forge.fail(403, json={"message": "You have exceeded a secondary rate limit."})
    assert later(post(forge)).wait_s == 60
    forge.fail(403, headers={"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": reset}, json={"message": "no"})
    assert refused(post(forge)).status == 403


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(forge: FakeForge, status: int) -> None:
    forge.fail(status)
    assert later(post(forge)).wait_s is None
    assert isinstance(post(forge), Answer)


@pytest.mark.parametrize("status", [400, 404, 410, 422, 451])
def test_what_would_be_refused_again_is_refused(forge: FakeForge, status: int) -> None:
    forge.fail(status, json={"message": "no\x1b[31m\nway"})
    assert refused(post(forge)) == Refused(status=status, reason=f"{status} no [31m way")


def test_lost_connections_and_silence_are_tried_again(forge: FakeForge, monkeypatch: pytest.MonkeyPatch) -> None:
    forge.drop()
    assert "disconnected" in later(post(forge)).reason
    monkeypatch.setattr(client_module, "TIMEOUT_S", 0.3)
    answer = forge.hang()
    assert "Timeout" in later(post(forge)).reason
    answer.set()
    forge.server_close()
    assert later(post(forge))


def test_redirects_are_not_followed_and_answers_are_bounded(forge: FakeForge, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = f"{forge.origin}/api/v3/repos/ada/model/elsewhere"
    forge.fail(307, headers={"Location": elsewhere}, json={"message": "Moved"})
    assert refused(post(forge)).reason == f"307 Moved: it has moved to {elsewhere}"
    assert len(forge.calls) == 1
    monkeypatch.setattr(client_module, "ANSWER_BYTES", 1000)
    forge.fail(201, json=["x" * 1000])
    assert "more than 1,000 bytes" in later(post(forge)).reason


def test_the_token_is_neither_in_reasons_nor_in_logs(forge: FakeForge, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forge.fail(422, json={"message": f"the token {TOKEN} is bad"})
    assert refused(post(forge)).reason == "422 the token … is bad"
    illegal = "to\nken"
    assert illegal not in later(post(forge, illegal)).reason
    assert TOKEN not in caplog.text


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("ftp://host/api", "nonsense", "http://[::1"):
        with Client(url, {}, "t") as client:
            refused(client.send(APIS["github"].get_repository(NAME)))


def test_no_proxy_of_the_environment_sees_the_token(forge: FakeForge, monkeypatch: pytest.MonkeyPatch) -> None:
    with running("github") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.setenv("ALL_PROXY", proxy.origin)
        assert isinstance(post(forge), Answer)
        assert proxy.calls == []


def test_the_fake_makes_two_pipelines_of_two_first_posts_at_once_as_gitlab_does() -> None:
    with running("gitlab") as forge:
        forge.while_a_pipeline_is_made = threading.Barrier(2, timeout=20).wait
        threads = [threading.Thread(target=post, args=(forge,), kwargs={"context": name}) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(forge.pipelines) == 2
        assert forge.overlaps() == 1
        last = next(status for status in forge.statuses if status["pipeline_id"] == forge.pipelines[-1]["id"])
        assert refused(post(forge, context=last["name"])).reason.startswith(
            "400 Cannot transition status via :run from :running"
        )

"""The calls to each forge's API, as values."""

from __future__ import annotations

import hashlib

import pytest

from core.errors import InvalidInput
from hooks.apis.base import Api, CommitState, CommitStatus
from hooks.apis.client import extract_error_text
from hooks.apis.registry import APIS

SHA = "a" * 40
bitbucket, gitea, github, gitlab = (APIS[name] for name in ("bitbucket", "gitea", "github", "gitlab"))
EACH = pytest.mark.parametrize("api", [bitbucket, gitea, github, gitlab], ids=lambda api: type(api).__name__)


def status(**more: str) -> CommitStatus:
    given = {"context": "pushmill/train", "description": "accuracy 0.9", "url": "https://p/e/1", "ref": "main"}
    return CommitStatus(state=CommitState.FAILURE, **given | more)


@EACH
def test_every_verdict_has_a_word_on_every_forge(api: Api) -> None:
    assert set(api.STATES) == set(CommitState)


@EACH
def test_nothing_that_is_over_waits_on_any_forge(api: Api) -> None:
    """GitHub's `pending` would keep a required status from ever being settled."""
    unfinished = {api.STATES[CommitState.WAITING], api.STATES[CommitState.RUNNING]}
    assert unfinished.isdisjoint(
        api.STATES[state] for state in set(CommitState) - {CommitState.WAITING, CommitState.RUNNING}
    )


@EACH
def test_whom_to_blame_is_told_where_the_forge_can_tell_it_apart(api: Api) -> None:
    apart = api.STATES[CommitState.FAILURE] != api.STATES[CommitState.ERROR]
    assert apart == (api in (github, gitea))


@pytest.mark.parametrize(
    ("forge", "origin", "expected"),
    [
        ("github", "https://github.com", "https://api.github.com"),
        ("github", "https://ssh.github.com", "https://api.github.com"),
        ("github", "https://git.example.org:8443", "https://git.example.org:8443/api/v3"),
        ("gitlab", "https://gitlab.com", "https://gitlab.com/api/v4"),
        ("gitlab", "https://altssh.gitlab.com", "https://gitlab.com/api/v4"),
        ("gitea", "http://127.0.0.1:3000", "http://127.0.0.1:3000/api/v1"),
        ("forgejo", "https://codeberg.org", "https://codeberg.org/api/v1"),
        ("bitbucket", "https://bitbucket.org", "https://api.bitbucket.org/2.0"),
    ],
)
def test_the_api_is_found_by_the_address_of_the_pages(forge: str, origin: str, expected: str) -> None:
    assert APIS[forge].api_url(origin) == expected


@pytest.mark.parametrize(
    ("forge", "origin", "expected"),
    [
        ("github", "https://ssh.github.com", "https://github.com"),
        ("github", "https://git.example.org:8443", "https://git.example.org:8443"),
        ("gitlab", "https://altssh.gitlab.com", "https://gitlab.com"),
        ("gitea", "https://example.org/git", "https://example.org/git"),
    ],
)
def test_the_issuer_of_log_ins_is_found_by_the_address_of_the_api(forge: str, origin: str, expected: str) -> None:
    assert APIS[forge].issuer(APIS[forge].api_url(origin)) == expected


def test_statuses_are_posted_as_each_forge_documents_it() -> None:
    assert github.post_status("ada/model", SHA, status()).path == f"/repos/ada/model/statuses/{SHA}"
    assert github.post_status("ada/model", SHA, status()).json == {
        "state": "failure",
        "context": "pushmill/train",
        "description": "accuracy 0.9",
        "target_url": "https://p/e/1",
    }
    call = gitlab.post_status("group/sub/model", SHA, status(pipeline="17"))
    assert call.path == f"/projects/group%2Fsub%2Fmodel/statuses/{SHA}"
    assert (call.json or {})["pipeline_id"] == 17
    assert (call.json or {})["ref"] == "main"
    assert "pipeline_id" not in (gitlab.post_status("ada/model", SHA, status()).json or {})
    assert gitea.post_status("ada/model", SHA, status()).path == f"/repos/ada/model/statuses/{SHA}"
    assert (
        bitbucket.post_status("ada/model", SHA, status()).path == f"/repositories/ada/model/commit/{SHA}/statuses/build"
    )


def test_a_long_context_has_its_sha1_as_bitbuckets_key() -> None:
    body = bitbucket.post_status("ada/model", SHA, status(context="pushmill/" + "x" * 32)).json or {}
    assert body["key"] == hashlib.sha1(body["name"].encode()).hexdigest()
    assert (bitbucket.post_status("ada/model", SHA, status()).json or {})["key"] == "pushmill/train"


def test_gitlab_is_never_told_the_same_again_and_never_sent_back() -> None:
    assert gitlab.accepts(None, CommitState.WAITING)
    assert gitlab.accepts(CommitState.WAITING, CommitState.RUNNING)
    assert not gitlab.accepts(CommitState.WAITING, CommitState.WAITING)
    assert not gitlab.accepts(CommitState.RUNNING, CommitState.WAITING)
    assert not gitlab.accepts(
        CommitState.FAILURE, CommitState.ERROR
    )  # one word there: it would be a second, failed job
    assert gitlab.accepts(CommitState.FAILURE, CommitState.WAITING)  # it runs again


def test_gitlabs_refusal_of_a_repeated_state_says_that_it_shows_it() -> None:
    reason = (
        '400 Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via "enqueue")'
    )
    assert gitlab.shows_already(400, reason, CommitState.WAITING)
    assert not gitlab.shows_already(400, reason, CommitState.SUCCESS)
    assert not gitlab.shows_already(400, "400 description is too long", CommitState.WAITING)
    assert not github.shows_already(400, reason, CommitState.WAITING)


@EACH
@pytest.mark.parametrize("name", ["", "model", "../user", "ada/..", "ada//model", "./model"])
def test_a_name_that_would_lead_to_another_call_is_refused(api: Api, name: str) -> None:
    with pytest.raises(InvalidInput, match="not the name of a repository"):
        api.get_repository(name)


@EACH
def test_names_are_percent_encoded(api: Api) -> None:
    path = api.get_repository("ada/a?b#c d").path
    assert not set("?# ") & set(path)


@EACH
def test_answers_of_any_shape_are_read(api: Api) -> None:
    for answer in (None, [], {}, "x", 3, [None, 1, "x", {}], {"values": [3, {}], "id": True, "full_name": {}}):
        api.parse_repository(answer)
        api.parse_webhooks(answer)
        api.parse_comments(answer)
        assert api.parse_comment(answer).id == ""
        assert api.parse_collaborators(answer) == []
        assert api.parse_permission(answer).permission is None
        assert api.parse_pipeline(answer) == ""


def test_git_fetches_with_the_token_of_each_forge() -> None:
    assert github.git_login("t") == ("x-access-token", "t")
    assert gitlab.git_login("t") == ("oauth2", "t")
    assert gitea.git_login("t")[1] == "t"
    assert bitbucket.git_login("t") == ("x-token-auth", "t")
    assert bitbucket.git_login("ada:t") == ("ada", "t")
    assert bitbucket.git_login("ada@example.org:t") == ("x-bitbucket-api-token-auth", "t")


def test_what_a_forge_says_is_found_in_each_ones_form() -> None:
    too_long = {"message": "Validation Failed", "errors": [{"message": "description is too long", "code": "custom"}]}
    assert extract_error_text(too_long) == "Validation Failed: description is too long"
    assert extract_error_text({"message": {"name": ["is too long"]}}) == "name is too long"
    assert extract_error_text({"type": "error", "error": {"message": "key: Bad value"}}) == "key: Bad value"
    deep: object = "x"
    for _ in range(500):
        deep = {"a": deep}
    assert extract_error_text(deep) == ""

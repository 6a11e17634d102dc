"""The events in each forge's deliveries about pull requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from forge_deliveries import SENDERS, Bitbucket, Forgejo, Gitea, GitHub, GitLab, Gogs, Request, Sender, encoded, label
from hostile_json import VALUES, spoil
from hypothesis import given
from hypothesis import strategies as st
from test_forge_deliveries import delivered, forge, ignored, lowered

from core.errors import InvalidDelivery
from core.model import PullRequestEvent, PushEvent
from hooks.forges.payload import Ignored

A, B = "a" * 40, "b" * 40
TELLING = tuple(sender for sender in SENDERS if type(sender) is not Gogs)
LIKE_GITHUB = tuple(sender for sender in TELLING if isinstance(sender, GitHub | Gitea))
each = pytest.mark.parametrize("sender", TELLING, ids=label)
OPEN, CLOSED = ("opened", "updated", "reopened", "edited"), ("closed", "merged")


def told(sender: Sender, request: Request, action: str = "opened", **more: Any) -> PullRequestEvent:
    event, payload = sender.pull_request(request, action, **more)
    found = delivered(sender, payload, event)
    assert isinstance(found, PullRequestEvent)
    return found


@each
@pytest.mark.parametrize("action", OPEN)
def test_what_is_opened_or_changed_is_read_with_all_that_is_said_of_it(sender: Sender, action: str) -> None:
    request = Request(sha=A, branch="topic/ä-b", base="release/2")
    event = told(sender, request, action)
    assert (event.number, event.title, event.author) == (7, "Train longer", "ada")
    assert (event.head_branch, event.base_branch) == ("topic/ä-b", "release/2")
    assert event.sha == (A[:12] if isinstance(sender, Bitbucket) else A)
    assert event.url.startswith("https://forge.example.org/ada/model/")
    assert (event.closed, event.from_fork, event.fetch_url) == (False, False, "")


@each
def test_its_head_is_fetched_by_the_forges_own_ref(sender: Sender) -> None:
    kept = {"gitlab": "refs/merge-requests/7/head", "bitbucket": ""}
    for fork in ("", "mallory/model"):
        assert told(sender, Request(sha=A, fork=fork)).fetch_ref == kept.get(sender.name, "refs/pull/7/head")


@each
@pytest.mark.parametrize("action", CLOSED)
def test_what_is_closed_is_said_to_be_closed(sender: Sender, action: str) -> None:
    assert told(sender, Request(sha=A), action).closed
    assert told(sender, Request(sha=A, fork="gone"), action).closed


@each
def test_a_change_of_what_is_closed_opens_nothing(sender: Sender) -> None:
    state = {"github": "closed", "gitlab": "merged", "bitbucket": "DECLINED"}.get(sender.name, "closed")
    assert told(sender, Request(sha=A), "edited", state=state).closed


@each
@pytest.mark.parametrize("fork", ["mallory/model", "gone"])
def test_a_fork_is_told_from_the_repository_also_when_it_is_gone(sender: Sender, fork: str) -> None:
    for action in (*OPEN, *CLOSED):
        assert told(sender, Request(sha=A, fork=fork), action).from_fork


@each
def test_labels_approvals_and_comments_are_ignored_with_the_reason(sender: Sender) -> None:
    event, payload = sender.pull_request(Request(sha=A), "labeled")
    assert len(ignored(delivered(sender, payload, event))) > 20
    assert ignored(delivered(sender, payload, "pull_request_review"))


def test_gogs_tells_of_pushes_alone() -> None:
    assert "pull_request" in ignored(delivered(Gogs(), {"action": "opened"}, "pull_request"))


@each
@pytest.mark.parametrize(
    "branch", ["-x", "a..b", "a b", "x:refs/heads/main", "a*", "", "a\n", "/a", "a.lock", "x" * 1100]
)
def test_a_branch_that_git_would_not_take_is_refused_or_only_a_name(sender: Sender, branch: str) -> None:
    for request in (Request(sha=A, branch=branch), Request(sha=A, base=branch)):
        event, payload = sender.pull_request(request)
        if branch == "-x":
            assert delivered(sender, payload, event)  # it never stands alone in a command line
            continue
        with pytest.raises(InvalidDelivery):
            delivered(sender, payload, event)


@each
@pytest.mark.parametrize("number", [0, -1, 2**31, True, None, "7", 7.0, "../../heads/main"])
def test_only_a_whole_positive_number_of_bounded_size_is_one(sender: Sender, number: Any) -> None:
    event, payload = sender.pull_request(Request(sha=A, number=1))
    inner = {"gitlab": "object_attributes", "bitbucket": "pullrequest"}.get(sender.name)
    key = {"gitlab": "iid", "bitbucket": "id"}.get(sender.name, "number")
    (payload[inner] if inner else payload)[key] = number
    with pytest.raises(InvalidDelivery, match="number"):
        delivered(sender, payload, event)


@each
@pytest.mark.parametrize("sha", ["", "0" * 40, "0" * 12, "a" * 11, "A" * 40, "main", "--upload-pack=x", "a" * 65])
def test_what_names_no_commit_is_refused(sender: Sender, sha: str) -> None:
    event, payload = sender.pull_request(Request(sha=sha))
    if isinstance(sender, Bitbucket) and len(sha) >= 12 and sha[0] == "a":
        return
    with pytest.raises(InvalidDelivery, match="not a commit name"):
        delivered(sender, payload, event)


@each
@pytest.mark.parametrize("site", ["javascript:alert(1)//", "ftp://x", "//x", "https://a b", "https://" + "x" * 3000])
def test_an_address_that_is_none_of_the_web_is_refused(sender: Sender, site: str) -> None:
    event, payload = sender.pull_request(Request(sha=A, site=site))
    with pytest.raises(InvalidDelivery, match="not a web address"):
        delivered(sender, payload, event)


@each
def test_titles_and_names_are_cut(sender: Sender) -> None:
    event = told(sender, Request(sha=A, title="t" * 100_000, author="a" * 100_000))
    assert (len(event.title), len(event.author)) == (500, 200)


@each
@given(data=st.data())
def test_a_payload_with_anything_in_any_place_is_parsed_or_refused(sender: Sender, data: st.DataObject) -> None:
    fork = data.draw(st.sampled_from(["", "mallory/model", "gone"]))
    action = data.draw(st.sampled_from([*OPEN, *CLOSED, "labeled"]))
    event, said = sender.pull_request(Request(sha=A, fork=fork), action)
    payload = json.loads(encoded(said))
    spoil(data, payload)
    body = encoded(payload)
    try:
        found = forge(sender).parse(lowered(sender.headers(body, "d-1", event)), body)
    except InvalidDelivery:
        return
    assert isinstance(found, Ignored | PullRequestEvent)
    assert not isinstance(found, PushEvent)


@each
@given(data=st.data())
def test_no_change_of_a_payload_makes_a_fork_the_repository(sender: Sender, data: st.DataObject) -> None:
    """Anything but equal names or numbers is a fork: what the repository's own people wrote runs with its secrets."""
    event, said = sender.pull_request(Request(sha=A, fork="mallory/model"))
    payload = json.loads(encoded(said))
    sides = {"gitlab": ("object_attributes",), "bitbucket": ("pullrequest", "source")}.get(
        sender.name, ("pull_request", "head")
    )
    container = payload
    for name in sides:
        container = container[name]
    key = {"gitlab": "source_project_id", "bitbucket": "repository"}.get(sender.name, "repo")
    container[key] = data.draw(VALUES.filter(lambda value: value != 7))
    body = encoded(payload)
    try:
        found = forge(sender).parse(lowered(sender.headers(body, "d-1", event)), body)
    except InvalidDelivery:
        return
    assert isinstance(found, PullRequestEvent)
    assert found.from_fork


# what one forge alone does


@pytest.mark.parametrize("sender", LIKE_GITHUB, ids=label)
def test_two_missing_numbers_are_not_the_same_repository(sender: Sender) -> None:
    event, payload = sender.pull_request(Request(sha=A))
    for side in ("head", "base"):
        payload["pull_request"][side]["repo"] = {}
    found = delivered(sender, payload, event)
    assert isinstance(found, PullRequestEvent)
    assert found.from_fork


@pytest.mark.parametrize("sender", [Gitea(), Forgejo()], ids=label)
def test_a_head_that_a_stranger_pushed_without_a_fork_counts_as_a_forks(sender: Sender) -> None:
    """AGit: the head's repository is the base's, and its ref is no branch."""
    event, payload = sender.pull_request(Request(sha=A))
    payload["pull_request"]["head"] |= {"ref": "refs/pull/7/head", "label": ""}
    found = delivered(sender, payload, event)
    assert isinstance(found, PullRequestEvent)
    assert (found.from_fork, found.fetch_ref) == (True, "refs/pull/7/head")


def test_of_gitlabs_people_only_the_author_is_taken_for_the_author() -> None:
    assert told(GitLab(), Request(sha=A), author_id=2).author == "ada"
    assert told(GitLab(), Request(sha=A), author_id=3).author == ""


def test_gitlabs_merge_request_without_a_commit_waits_for_one() -> None:
    event, payload = GitLab().pull_request(Request(sha=A), last_commit=None)
    assert "no commit yet" in ignored(delivered(GitLab(), payload, event))
    assert told(GitLab(), Request(sha=A), "closed", last_commit=None).sha == ""


@pytest.mark.parametrize(
    ("site", "address"),
    [
        ("https://bitbucket.org", "https://bitbucket.org/mallory/model.git"),
        ("https://git.example.org:8443/bitbucket", "https://git.example.org:8443/bitbucket/mallory/model.git"),
    ],
)
def test_bitbuckets_fork_is_fetched_from_where_its_repository_lies(site: str, address: str) -> None:
    event = told(Bitbucket(), Request(sha=A, fork="mallory/model", site=site))
    assert (event.fetch_url, event.fetch_ref) == (address, "")
    assert told(Bitbucket(), Request(sha=A, fork="gone")).fetch_url == ""


@pytest.mark.parametrize("name", ["mallory", "../x", "a/../../b", "a/b/c", "a/b?c", "@evil.org/x", "a b/c", ""])
def test_bitbuckets_fork_must_have_a_name_of_two_plain_parts(name: str) -> None:
    event, payload = Bitbucket().pull_request(Request(sha=A, fork="mallory/model"))
    payload["pullrequest"]["source"]["repository"]["full_name"] = name
    with pytest.raises(InvalidDelivery, match="does not name a repository"):
        delivered(Bitbucket(), payload, event)


def test_bitbucket_may_tell_no_commit_of_a_branch_that_is_gone() -> None:
    event, payload = Bitbucket().pull_request(Request(sha=A))
    payload["pullrequest"]["source"]["commit"] = None
    assert "its branch was deleted" in ignored(delivered(Bitbucket(), payload, event))
    event, _ = Bitbucket().pull_request(Request(sha=A), "merged")
    found = delivered(Bitbucket(), payload, event)
    assert isinstance(found, PullRequestEvent)
    assert (found.closed, found.sha) == (True, "")

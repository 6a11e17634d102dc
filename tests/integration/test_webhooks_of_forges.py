"""Each forge from a signed delivery to executions; repositories are fetched over HTTP from a real git server."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import command_line
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
from git_over_http import served
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository, step

from web.services.presentation import badges
from web.services.repositories import hosting
from web.services.repositories.polling import Poller
from web.store import projects
from web.store.db import execute

each = pytest.mark.parametrize("sender", SENDERS, ids=label)


class Forge:
    """A repository on a forge, a project that follows it, and a person who pushes to it."""

    def __init__(self, pushes: PushServer, checkout: Checkout, root: Path, url: str, sender: Sender) -> None:
        self.pushes, self.checkout, self.sender = pushes.with_git(allow_http=True), checkout, sender
        self.path = bare_repository(root / "ada" / "model.git")
        self.url = url
        pushes.add_project("model", sender.name, url)
        hosting.set_secret(pushes.context, projects.get_by_name(pushes.db, "model"), sender.secret)

    def push(self, *refs: str, step_name: str = "train", message: str = "work") -> list[Moved]:
        """Commit, push to all of `refs`, and what the forge says of them."""
        before = {ref: self._sha(ref) for ref in refs}
        sha = self.checkout.commit({"valohai.yaml": step(step_name)}, message)
        self.checkout.git("push", "-q", "-f", str(self.path), *(f"HEAD:{ref}" for ref in refs))
        return [Moved(ref=ref, before=before[ref], after=sha, message=message) for ref in refs]

    def tag(self, name: str) -> Moved:
        """An annotated tag."""
        self.checkout.git("tag", "-a", name, "-m", "of the tag")
        self.checkout.git("push", "-q", str(self.path), name)
        sha = self.checkout.git("rev-parse", "HEAD").stdout.strip()
        return Moved(ref=f"refs/tags/{name}", after=self.checkout.git("rev-parse", name).stdout.strip(), commit=sha)

    def deliver(self, payload: Any, delivery: str = "d-1", event: str | None = None) -> int:
        body = encoded(payload)
        return self.post(body, self.sender.headers(body, delivery, event))

    def post(self, body: bytes, headers: dict[str, str]) -> int:
        return self.pushes.post(f"/hooks/model/{self.sender.name}", body, **headers).status_code

    def tell(self, *moved: Moved, delivery: str = "d") -> list[int]:
        """All deliveries that a push of these refs makes."""
        payloads = self.sender.payloads(moved)
        return [self.deliver(payload, f"{delivery}-{number}") for number, payload in enumerate(payloads)]

    def delete(self, gone: Moved) -> bool:
        """Delete a branch; whether the forge tells of it."""
        self.checkout.git("push", "-q", str(self.path), f":{gone.ref}")
        return self.tell(gone, delivery="gone") == [202]

    def pass_all(self) -> None:
        """As if all executions had ended well."""
        self.pushes.drain()
        execute(self.pushes.db, "UPDATE execution SET state = 'complete', ended_at = created_at")

    def badge(self, branch: str) -> str:
        projects.set_badge_public(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id, True)
        question = badges.BadgeQuery(project="model", branch=branch)
        return badges.make_badge(self.pushes.context, question).message

    def later(self, poller: Poller) -> None:
        """Time goes by for what was seen."""
        for seen in poller._seen.values():
            for move in seen:
                seen[move] -= self.pushes.config.git.poll_grace + 1

    def outcomes(self) -> list[tuple[str, str]]:
        """(ref, outcome) of each recorded push."""
        self.pushes.drain()
        return [(push.ref, push.outcome) for push in self.pushes.pushes("model")]

    def _sha(self, ref: str) -> str:
        found = subprocess.run(
            ["git", f"--git-dir={self.path}", "rev-parse", "--verify", "-q", ref], capture_output=True, text=True
        )
        return found.stdout.strip() or "0" * 40


@pytest.fixture
def git_url(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path / "forge") as server:
        yield f"http://runner:s3cret-token@127.0.0.1:{server.server_port}/git/ada/model.git"


@pytest.fixture
def forge(sender: Sender, pushes: PushServer, checkout: Checkout, tmp_path: Path, git_url: str) -> Forge:
    return Forge(pushes, checkout, tmp_path / "forge", git_url, sender)


@each
def test_a_signed_delivery_leads_to_an_execution(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main", message="one step")
    assert forge.tell(moved) == [202]
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]
    assert forge.pushes.steps("model") == ["train"]
    (push,) = forge.pushes.pushes("model")
    assert (push.after, push.pusher, push.message) == (moved.after, "ada", "one step\n")


@each
def test_every_ref_of_a_push_runs(forge: Forge) -> None:
    refs = [f"refs/heads/b{number}" for number in range(5)]
    moved = forge.push(*refs)
    assert set(forge.tell(*moved)) == {202}
    assert forge.outcomes() == [(ref, "1 execution") for ref in refs]


@each
def test_a_push_forward_back_by_force_and_a_deletion_are_each_followed(forge: Forge) -> None:
    (first,) = forge.push("refs/heads/main")
    (second,) = forge.push("refs/heads/main", message="more")
    back = replace(second, before=second.after, after=first.after)
    gone = Moved(ref="refs/heads/main", before=first.after)
    for number, moved in enumerate((first, second, back)):
        assert forge.tell(moved, delivery=str(number)) == [202]
    assert [outcome for _, outcome in forge.outcomes()] == ["1 execution"] * 3
    told = len(forge.tell(gone, delivery="gone"))
    assert [outcome for _, outcome in forge.outcomes()][3:] == ["deleted"] * told
    assert [push.after for push in forge.pushes.pushes("model")][:3] == [first.after, second.after, first.after]


@each
def test_the_badge_of_a_deleted_branch_shows_nothing_until_it_is_pushed_again(forge: Forge) -> None:
    forge.push("refs/heads/main")
    (first,) = forge.push("refs/heads/topic")
    forge.tell(first, delivery="first")
    forge.pass_all()
    assert forge.badge("topic") == "passing"
    if not forge.delete(Moved(ref=first.ref, before=first.after)):  # Gogs: polling finds it
        poller = Poller()
        for _ in range(3):
            forge.later(poller)
            poller.poll(forge.pushes.context, forge.pushes.deliveries("model")[0].repository_id)
            forge.pushes.drain()
    assert forge.outcomes()[-1] == ("refs/heads/topic", "deleted")
    assert forge.badge("topic") == "unknown"
    (again,) = forge.push("refs/heads/topic", message="again")
    forge.tell(again, delivery="again")
    forge.pushes.drain()
    assert forge.badge("topic") == "running"


@pytest.mark.parametrize("sender", [Gitea(), Forgejo()], ids=label)
def test_a_deletion_that_is_told_late_does_not_count_for_the_branch_that_is_there_again(forge: Forge) -> None:
    (first,) = forge.push("refs/heads/main")
    forge.tell(first, delivery="first")
    forge.pass_all()
    assert forge.tell(Moved(ref=first.ref, before=first.after), delivery="late") == [202]
    forge.pushes.drain()
    assert forge.badge("main") == "passing"


@each
def test_replays_and_redeliveries_make_one_set(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main")
    assert forge.tell(moved) + forge.tell(moved) == [202, 200]
    forge.pushes.drain()
    assert forge.tell(moved) + forge.tell(moved, delivery="redelivered") == [200, 202]
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]
    assert "was recorded before" in forge.pushes.deliveries("model")[-1].message


@each
def test_an_annotated_tag_leads_to_its_commit(forge: Forge) -> None:
    forge.push("refs/heads/main")
    tag = forge.tag("v1")
    if type(forge.sender) is Gogs:
        assert forge.deliver(forge.sender.created(tag), event="create") == 202
    else:
        assert forge.tell(tag) == [202]
    assert forge.outcomes() == [("refs/tags/v1", "tag recorded")]
    (push,) = forge.pushes.pushes("model")
    assert push.commit_id == forge.pushes.commit("model", tag.commit).id


@pytest.mark.parametrize("sender", [Gitea(), Gogs()], ids=label)
def test_two_events_for_one_push_make_one_set_whichever_comes_first(forge: Forge) -> None:
    assert isinstance(forge.sender, Gogs)
    for number, turned in enumerate((False, True)):
        (moved,) = forge.push(f"refs/heads/new{number}")
        events = [(forge.sender.push(moved), "push"), (forge.sender.created(moved), "create")]
        for payload, event in reversed(events) if turned else events:
            assert forge.deliver(payload, f"{event}-{number}", event) == 202
    assert forge.outcomes() == [("refs/heads/new0", "1 execution"), ("refs/heads/new1", "1 execution")]


@pytest.mark.parametrize("sender", [Gitea(), Gogs()], ids=label)
@pytest.mark.parametrize("turned", [False, True], ids=["create last", "create first"])
def test_a_tag_that_is_told_by_its_creation_and_by_a_push_is_recorded_once(forge: Forge, turned: bool) -> None:
    assert isinstance(forge.sender, Gogs)
    forge.push("refs/heads/main")
    tag = forge.tag("v1")
    events = [(forge.sender.push(tag), "push"), (forge.sender.created(tag), "create")]
    for payload, event in reversed(events) if turned else events:
        assert forge.deliver(payload, event, event) == 202
    assert forge.outcomes() == [("refs/tags/v1", "tag recorded")]
    assert forge.pushes.pushes("model")[0].commit_id == forge.pushes.commit("model", tag.commit).id
    assert [delivery.state for delivery in forge.pushes.deliveries("model")].count("stored") == 0


@each
def test_pushes_that_are_told_in_another_order_run_once_each(forge: Forge) -> None:
    (first,) = forge.push("refs/heads/main", message="first")
    (second,) = forge.push("refs/heads/main", message="second")
    gone = Moved(ref="refs/heads/main", before=second.after)
    told = len(forge.sender.payloads([gone]))
    (anew,) = forge.push("refs/heads/main", message="third")
    anew = replace(anew, before=ZERO)
    for number, moved in enumerate((anew, second, gone, first, second, anew, first)):
        assert forge.tell(moved, delivery=str(number)) == [202] * (1 if moved.after != ZERO else told)
    expected = [(anew.after, "1 execution"), (second.after, "1 execution"), (first.after, "1 execution")]
    expected[2:2] = [(ZERO, "deleted")] * told
    forge.pushes.drain()
    assert [(push.after, push.outcome) for push in forge.pushes.pushes("model")] == expected
    assert [delivery.state for delivery in forge.pushes.deliveries("model")] == ["done"] * (6 + told)


@each
def test_what_is_of_no_use_is_accepted_and_said(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main")
    at_rest = replace(moved, before=moved.after)
    assert forge.tell(at_rest) == [202]
    assert forge.deliver({"action": "opened"}, "other", "issues") == 202
    assert forge.deliver(forge.sender.push(moved, repository="ada/other"), "stranger") == 202
    assert forge.outcomes() == []
    found = [(delivery.state, delivery.message) for delivery in forge.pushes.deliveries("model")]
    assert [state for state, _ in found] == ["ignored"] * 3
    assert "has not changed" in found[0][1] or "no branch or tag" in found[0][1]
    assert "issues" in found[1][1]
    assert found[2][1].startswith(
        "this webhook is for ada/model, the delivery is about ada/other; if that is its name now"
    )


@each
def test_a_first_delivery_cannot_claim_the_secret_for_another_repository(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main")
    for number, name in enumerate(("mallory/model", "model-of/ada/model", "da/model")):
        assert forge.deliver(forge.sender.push(moved, repository=name), f"claim-{number}") == 202
    assert forge.tell(moved) == [202]
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]
    assert [delivery.state for delivery in forge.pushes.deliveries("model")] == ["ignored"] * 3 + ["done"]


@each
def test_wrong_and_missing_proofs_are_the_same_refusal_and_no_body_is_stored(forge: Forge) -> None:
    body = encoded(forge.sender.push(Moved(after="a" * 40)))
    right = forge.sender.headers(body, "d-1")
    wrong = {name: value[:-2] for name, value in right.items()}
    missing = {name: value for name, value in right.items() if "ignature" not in name and "Token" not in name}
    assert forge.post(body, wrong) == forge.post(body, missing) == forge.post(body, {}) == 401
    wait_for(lambda: len(forge.pushes.deliveries("model")) == 3)
    assert {(delivery.state, delivery.body) for delivery in forge.pushes.deliveries("model")} == {("refused", b"")}


@each
def test_the_case_of_header_names_does_not_matter(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main")
    body = encoded(forge.sender.push(moved))
    headers = {
        name.upper() if n % 2 else name.lower(): v
        for n, (name, v) in enumerate(forge.sender.headers(body, "d").items())
    }
    assert forge.post(body, headers) == 202
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]


@each
def test_no_secret_is_stored_with_a_delivery(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main")
    body = encoded(forge.sender.push(moved))
    more = {"Authorization": "Bearer of-a-proxy", "X-Api-Key": "of-a-proxy", "Cookie": "of-a-proxy"}
    assert forge.post(body, forge.sender.headers(body, "d-1") | more) == 202
    (delivery,) = forge.pushes.deliveries("model")
    kept = json.dumps(dict(delivery.headers))
    assert forge.sender.secret not in kept
    assert "of-a-proxy" not in kept
    assert "User-Agent" in kept.title()
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]


@pytest.mark.parametrize("sender", [GitHub(), Gitea(), Gogs()], ids=label)
def test_forms_are_read(forge: Forge) -> None:
    (moved,) = forge.push("refs/heads/main", message="a+b & ä")
    body = encoded(forge.sender.push(moved))
    signed = form(body) if isinstance(forge.sender, GitHub) else body
    assert forge.post(form(body), forge.sender.headers(signed, "d-1") | FORM) == 202
    assert forge.outcomes() == [("refs/heads/main", "1 execution")]


@pytest.mark.parametrize("sender", [Bitbucket()], ids=label)
def test_one_delivery_of_fifty_refs_is_fifty_pushes(forge: Forge) -> None:
    moved = forge.push(*(f"refs/heads/b{number}" for number in range(50)))
    assert forge.tell(*moved) == [202]
    assert len(forge.outcomes()) == 50
    assert len(forge.pushes.steps("model")) == 50


@pytest.mark.parametrize("sender", [GitLab()], ids=label)
@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"ci": {"skip": True}}, "skipped: -o ci.skip"),
        ({"integrations": {"skip_ci": True}}, "skipped: -o ci.skip"),
        ({"pushmill": {"step": "train"}}, "1 execution"),
    ],
)
def test_gitlabs_push_options_count(forge: Forge, options: Any, outcome: str) -> None:
    assert isinstance(forge.sender, GitLab)
    (moved,) = forge.push("refs/heads/main")
    assert forge.deliver(forge.sender.push(moved, options=options)) == 202
    assert forge.outcomes() == [("refs/heads/main", outcome)]


@pytest.mark.parametrize("sender", [SigningGitLab()], ids=label)
def test_a_replay_of_gitlabs_signature_after_its_time_is_refused(forge: Forge) -> None:
    assert isinstance(forge.sender, SigningGitLab)
    body = encoded(forge.sender.push(Moved(after="a" * 40)))
    old = forge.sender.signed(body, "d-1", int(time.time()) - 3600)
    assert forge.post(body, forge.sender.headers(body, "d-1") | old) == 401


def pushmill(pushes: PushServer, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return command_line.pushmill(pushes.config.data, "project", *arguments, stdin=stdin)


def test_adding_a_project_tells_its_forge_and_where_to_enter_what(pushes: PushServer) -> None:
    done = pushmill(pushes, "add", "model", "--repo", "git@gitlab.example.org:group/sub/model.git", "--json")
    shown = json.loads(done.stdout)
    assert shown["forge"] == "gitlab"
    assert shown["webhook_url"].endswith("/hooks/model/gitlab")
    assert shown["webhook_page"] == "https://gitlab.example.org/group/sub/model/-/hooks"
    assert len(shown["webhook_secret"]) == 64
    assert done.stderr == ""
    printed = pushmill(pushes, "show", "model").stdout
    assert all(shown[name] in printed for name in ("webhook_url", "webhook_page", "webhook_secret"))
    added = pushmill(pushes, "add", "fourth", "--repo", "https://github.com/ada/model")
    assert "[server]" in added.stderr  # the address is one that nobody but this machine reaches
    assert "webhook_page" not in pushmill(pushes, "add", "other", "--repo", "https://git.example.org/a/b").stdout
    chosen = pushmill(pushes, "add", "third", "--repo", "https://git.example.org/a/b", "--forge", "forgejo", "--json")
    assert json.loads(chosen.stdout)["webhook_page"] == "https://git.example.org/a/b/settings/hooks/gitea/new"


def test_a_secret_that_the_forge_made_is_taken_and_shown(pushes: PushServer) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://gitlab.com/ada/model.git")
    sender, body = SigningGitLab(), encoded(SigningGitLab().push(Moved(after="a" * 40)))
    assert pushes.post("/hooks/model/gitlab", body, **sender.headers(body, "d-1")).status_code == 401
    done = pushmill(pushes, "set-secret", "model", stdin=sender.secret + "\n")
    assert done.returncode == 0
    assert sender.secret not in done.stdout + done.stderr
    assert sender.secret in pushmill(pushes, "show", "model").stdout
    assert pushes.post("/hooks/model/gitlab", body, **sender.headers(body, "d-1")).status_code == 202


@pytest.mark.parametrize("secret", ["", "short", "with a blank in it", "ümlaut-ümlaut-ümlaut", "x" * 501])
def test_a_secret_that_is_none_is_refused_with_the_rule(pushes: PushServer, secret: str) -> None:
    pushmill(pushes, "add", "model", "--repo", "https://gitlab.com/ada/model.git")
    done = pushmill(pushes, "set-secret", "model", stdin=secret)
    assert done.returncode == 1
    assert "16 to 500 ASCII characters" in done.stderr


def test_a_project_without_a_webhook_takes_no_secret(pushes: PushServer) -> None:
    pushmill(pushes, "add", "model")
    done = pushmill(pushes, "set-secret", "model", stdin="5ca1ab1e" * 8)
    assert done.returncode == 1
    assert "pushed to this server" in done.stderr

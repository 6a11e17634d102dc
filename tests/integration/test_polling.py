"""Polling of repositories elsewhere: real remotes, and webhooks that arrive in time, late or never."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from git_over_http import served
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository, step
from test_webhooks import ZERO, Forge, payload

from core import git
from core.errors import GitError
from core.model import Repository
from web.services.repositories import polling, ref_updates, remotes
from web.services.repositories.polling import Poller
from web.store import projects

TRAIN = {"valohai.yaml": step("train")}
MAIN = "refs/heads/main"


class Polled(Forge):
    """A project on a forge, polled when a test says so."""

    def __init__(self, pushes: PushServer, checkout: Checkout, path: Path) -> None:
        super().__init__(pushes, checkout, path)
        self.poller = Poller()

    @property
    def repository(self) -> Repository:
        return projects.list_repositories(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id)[0]

    def poll(self) -> bool:
        """Poll; return whether there is something new to ingest."""
        return self.poller.poll(self.pushes.context, self.repository.id)

    def found(self) -> bool:
        """Poll, and ingest the result."""
        new = self.poll()
        self.pushes.drain()
        return new

    def found_in_the_end(self) -> bool:
        """Poll, and once more after the grace period of webhooks."""
        assert not self.poll()
        self.wait()
        return self.found()

    def wait(self) -> None:
        """Time goes by for what was seen."""
        for seen in self.poller._seen.values():
            for move in seen:
                seen[move] -= self.pushes.config.git.poll_grace + 1

    def next_look(self) -> float:
        """Return the seconds until the next poll."""
        return self.poller._next[self.repository.id] - time.monotonic()

    def told(self, *moves: tuple[str, str], ref: str = MAIN) -> None:
        """Deliver and handle the forge's webhooks for these ref updates."""
        for before, after in moves:
            assert self.deliver(payload(after, before, ref), delivery=f"{before[:9]}-{after[:9]}-{ref[5:9]}") == 202
        self.pushes.drain()

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(push.ref, push.after, push.outcome) for push in self.pushes.pushes("model")]

    def messages(self) -> list[str]:
        return [delivery.message for delivery in self.pushes.deliveries("model")]


@pytest.fixture
def polled(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Polled:
    return Polled(pushes, checkout, tmp_path / "forge.git")


def test_the_first_look_records_where_refs_are_and_runs_nothing(polled: Polled) -> None:
    sha = polled.push(TRAIN)
    assert not polled.found()
    assert polled.outcomes() == [(MAIN, sha, "existed when the project was added")]
    assert (polled.pushes.steps("model"), polled.pushes.deliveries("model")) == ([], [])
    assert polled.repository.polled_at is not None
    assert not polled.found()


def test_what_moves_later_is_one_delivery_and_runs(polled: Polled) -> None:
    polled.push(TRAIN)
    polled.push({"a": "1"}, "gone")
    polled.poll()
    main, topic = polled.push({"a": "2"}), polled.push({"a": "3"}, "topic")
    polled.checkout.git("push", "-q", str(polled.path), ":gone")
    assert polled.found()
    (delivery,) = polled.pushes.deliveries("model")
    assert (delivery.source, delivery.state) == ("poll", "done")
    assert polled.outcomes()[2:] == [
        ("refs/heads/gone", ZERO, "deleted"),
        (MAIN, main, "1 execution"),
        ("refs/heads/topic", topic, "1 execution"),
    ]
    assert not polled.found()


def test_there_and_back_and_there_again_is_told_each_time(polled: Polled) -> None:
    a = polled.push(TRAIN)
    polled.poll()
    b = polled.push({"a": "1"})
    assert polled.found()
    for sha in (a, b, a):
        polled.checkout.git("push", "-q", "-f", str(polled.path), f"{sha}:main")
        assert polled.found()
    assert [after for _, after, _ in polled.outcomes()] == [a, b, a, b, a]


def test_what_was_told_and_not_yet_ingested_is_told_once(polled: Polled) -> None:
    polled.push(TRAIN)
    polled.poll()
    polled.push({"a": "1"})
    another = Poller()
    assert [polled.poll(), polled.poll(), another.poll(polled.pushes.context, polled.repository.id)] == [
        True,
        False,
        False,
    ]
    polled.pushes.drain()
    assert polled.pushes.steps("model") == ["train"]


def test_what_moved_on_before_it_was_ingested_runs_at_where_it_is_then(polled: Polled) -> None:
    polled.push(TRAIN)
    polled.poll()
    polled.push({"a": "1"})
    polled.poll()
    c = polled.push({"a": "2"})
    polled.poll()
    polled.pushes.drain()
    assert polled.outcomes()[1:] == [(MAIN, c, "1 execution")]


def test_a_push_whose_webhook_was_on_its_way_at_the_first_look_runs(polled: Polled) -> None:
    sha = polled.push(TRAIN)
    polled.poll()
    polled.told((ZERO, sha))
    assert polled.pushes.steps("model") == ["train"]


def test_an_annotated_tag_is_told_once_whatever_its_webhook_calls_it(polled: Polled) -> None:
    sha = polled.push(TRAIN)
    polled.poll()
    polled.checkout.git("tag", "-a", "-m", "one", "v1")
    polled.checkout.git("push", "-q", str(polled.path), "v1")
    tag = polled.checkout.git("rev-parse", "v1").stdout.strip()
    assert polled.found()
    assert polled.outcomes()[1:] == [("refs/tags/v1", sha, "tag recorded")]
    assert not polled.found()
    for number, after in enumerate((sha, tag)):
        polled.deliver(payload(after, ref="refs/tags/v1", head_commit=None), delivery=f"tag-{number}")
    polled.pushes.drain()
    assert len(polled.outcomes()) == 2


class TestWithWebhooks:
    """One push was told of, so the rest is watched as a net."""

    @pytest.fixture
    def a(self, polled: Polled) -> str:
        sha = polled.push(TRAIN)
        polled.poll()
        polled.told((ZERO, sha))
        return sha

    def test_polling_waits_for_the_webhook_and_then_does_nothing(self, polled: Polled, a: str) -> None:
        b = polled.push({"a": "1"})
        assert not polled.poll()
        polled.told((a, b))
        polled.wait()
        assert not polled.poll()
        assert polled.pushes.steps("model") == ["train"] * 2

    def test_one_that_never_comes_is_made_good_after_a_while(self, polled: Polled, a: str) -> None:
        b = polled.push({"a": "1"})
        assert polled.found_in_the_end()
        assert polled.outcomes()[-1] == (MAIN, b, "1 execution")
        assert polled.pushes.deliveries("model")[-1].source == "poll"

    def test_a_worker_that_was_killed_meanwhile_only_delays(self, polled: Polled, a: str) -> None:
        b = polled.push({"a": "1"})
        assert not polled.poll()
        polled.wait()
        polled.poller = Poller()
        assert polled.found_in_the_end()
        assert polled.outcomes()[-1] == (MAIN, b, "1 execution")

    def test_the_second_look_comes_after_the_grace_and_not_after_a_whole_interval(self, polled: Polled, a: str) -> None:
        polled.poll()
        assert polled.next_look() > 590
        polled.push({"a": "1"})
        polled.poll()
        assert 110 < polled.next_look() <= 120
        polled.push({"b": "1"}, "topic")
        polled.wait()
        assert polled.found()
        assert 110 < polled.next_look() <= 120  # for what was seen at the second look
        polled.wait()
        assert polled.found()
        polled.poll()
        assert polled.next_look() > 590
        assert polled.pushes.steps("model") == ["train"] * 3

    def test_what_cannot_be_ingested_is_not_looked_at_all_the_time(self, polled: Polled, a: str) -> None:
        polled.push({"a": "1"})
        polled.poll()
        polled.wait()
        assert polled.poll()  # and nobody ingests it
        assert polled.next_look() > 110
        polled.wait()
        assert not polled.poll()
        assert polled.next_look() > 110

    def test_what_goes_on_moving_has_its_time_anew(self, polled: Polled, a: str) -> None:
        for number in range(3):
            polled.push({"a": str(number)})
            assert not polled.poll()
            polled.wait()
        assert polled.found()

    def test_webhooks_that_come_late_run_nothing_twice(self, polled: Polled, a: str) -> None:
        b, c, d = (polled.push({"a": str(number)}) for number in range(3))
        assert polled.found_in_the_end()
        polled.told((a, b), (b, c), (c, d))
        assert polled.outcomes()[2:] == [(MAIN, d, "1 execution")]
        assert set(polled.messages()[2:]) == {f"{MAIN}: was recorded before"}
        e = polled.push({"a": "e"})
        polled.told((d, e))
        assert polled.outcomes()[3:] == [(MAIN, e, "1 execution")]

    def test_late_webhooks_in_the_wrong_order_run_nothing_twice(self, polled: Polled, a: str) -> None:
        b, c = polled.push({"a": "1"}), polled.push({"a": "2"})
        assert polled.found_in_the_end()
        polled.told((b, c), (a, b))
        assert polled.outcomes()[2:] == [(MAIN, c, "1 execution")]

    def test_webhooks_in_the_wrong_order_leave_polling_nothing_to_tell(self, polled: Polled, a: str) -> None:
        b, c = polled.push({"a": "1"}), polled.push({"a": "2"})
        polled.told((b, c), (a, b))
        assert [after for _, after, _ in polled.outcomes()[2:]] == [c, b]
        assert not polled.poll()
        polled.wait()
        assert not polled.found()
        d = polled.push({"a": "3"})
        polled.told((c, d))
        assert polled.outcomes()[4:] == [(MAIN, d, "1 execution")]

    def test_going_back_to_a_commit_that_polling_passed_over_is_a_push(self, polled: Polled, a: str) -> None:
        b, c = polled.push({"a": "1"}), polled.push({"a": "2"})
        assert polled.found_in_the_end()
        polled.checkout.git("push", "-q", "-f", str(polled.path), f"{b}:main")
        polled.told((c, b))
        assert polled.outcomes()[2:] == [(MAIN, c, "1 execution"), (MAIN, b, "1 execution")]

    def test_a_late_webhook_of_a_deleted_branch_is_known(self, polled: Polled, a: str) -> None:
        b = polled.push({"a": "1"}, "topic")
        polled.told((ZERO, b), ref="refs/heads/topic")
        polled.checkout.git("push", "-q", str(polled.path), ":topic")
        assert polled.found_in_the_end()
        before = polled.outcomes()
        assert before[-1] == ("refs/heads/topic", ZERO, "deleted")
        polled.told((b, ZERO), ref="refs/heads/topic")
        assert polled.outcomes() == before


def test_one_that_was_missed_between_two_others_does_not_make_the_second_run_twice(polled: Polled) -> None:
    a, b, c = polled.push(TRAIN), polled.push({"a": "1"}), polled.push({"a": "2"})
    polled.told((ZERO, a), (a, c))  # b was missed; the forge sends it again as it was
    polled.told((b, c))
    assert [after for _, after, _ in polled.outcomes()] == [a, c]


def test_a_remote_that_is_away_is_asked_less_and_less_often_and_the_reason_is_kept(polled: Polled) -> None:
    polled.push(TRAIN)
    away = polled.path.rename(polled.path.with_name("away"))
    waits = []
    for _ in range(9):
        polled.poll()
        waits.append(round(polled.poller._next[polled.repository.id] - time.monotonic()))
    assert waits == sorted(waits)
    assert 110 < waits[0] < 150
    assert 3590 < waits[-1] < 3600 * (1 + polling.SPREAD)
    assert str(polled.path) in polled.repository.fetch_problem
    assert polled.poller.due(polled.pushes.context) == []
    away.rename(polled.path)
    polled.poll()
    assert polled.repository.fetch_problem == ""
    assert polled.poller._next[polled.repository.id] - time.monotonic() < 60 * 1.2


def test_how_often_says_the_configuration_and_whether_a_webhook_has_told(polled: Polled) -> None:
    assert polled.poller.due(polled.pushes.context) == [polled.repository.id]  # never looked at
    sha = polled.push(TRAIN)
    polled.poll()
    assert polled.poller.due(polled.pushes.context) == []
    assert 50 < polled.poller._next[polled.repository.id] - time.monotonic() < 60 * 1.2
    polled.told((ZERO, sha))
    polled.poll()
    assert 590 < polled.poller._next[polled.repository.id] - time.monotonic() < 600 * 1.2
    assert Poller().due(polled.pushes.with_git(poll=0.0, poll_webhooks=0.0).context) == []


def test_repositories_that_wait_longest_are_polled_first(pushes: PushServer, tmp_path: Path) -> None:
    context = pushes.with_git(allow_local=True, poll=0.001).context
    for name in ("a", "b", "c"):
        pushes.add_project(name, "plain", str(bare_repository(tmp_path / f"{name}.git")))
    poller = Poller()
    first, second, third = poller.due(context)
    for repository_id in (second, first):
        assert not poller.poll(context, repository_id)
    wait_for(lambda: len(poller.due(context)) == 3)
    assert poller.due(context) == [third, second, first]


def test_repositories_are_not_asked_all_at_once_again(polled: Polled) -> None:
    for number in range(100):
        polled.pushes.add_project(f"p{number}", "github", f"file://{polled.path}")
    for number in range(2, 10):
        polled.poller.poll(polled.pushes.context, number)
    again = [polled.poller._next[number] for number in range(2, 10)]
    assert max(again) - min(again) > 8


def test_a_start_asks_every_repository_at_once_however_lately_it_was_asked(polled: Polled) -> None:
    polled.push(TRAIN)
    polled.poll()
    assert polled.poller.due(polled.pushes.context) == []
    assert Poller().due(polled.pushes.context) == [polled.repository.id]


def test_more_refs_than_are_followed_are_a_problem_that_is_said(polled: Polled) -> None:
    sha = polled.push(TRAIN)
    lines = "".join(f"create refs/tags/t{number} {sha}\n" for number in range(10_001))
    subprocess.run(["git", f"--git-dir={polled.path}", "update-ref", "--stdin"], input=lines, text=True, check=True)
    assert not polled.poll()
    assert "10,002 branches and tags; at most 10,000" in polled.repository.fetch_problem
    assert polled.outcomes() == []
    polled.checkout.git("push", "-q", str(polled.path), ":t1", ":t2")
    polled.poll()
    assert (polled.repository.fetch_problem, len(polled.outcomes())) == ("", 10_000)


def test_a_listing_is_bounded_in_time_and_bytes(
    polled: Polled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled.push(TRAIN)
    monkeypatch.setattr("core.git.remotes.LISTING_BYTES", 20)
    with pytest.raises(GitError, match="more than 20 bytes"):
        git.list_remote_refs(
            tmp_path / "none.git", git.make_remote_source(str(polled.path), allow_local=True, allow_http=False)
        )


def test_the_allow_list_holds_for_polling(polled: Polled, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for url in (f"ext::sh -c touch% {owned}", f"--upload-pack=touch {owned}", f"file://{polled.path}"):
        with pytest.raises(GitError, match="cannot be fetched"):
            git.list_remote_refs(
                tmp_path / "none.git", git.make_remote_source(url, allow_local=False, allow_http=False)
            )
    assert not owned.exists()


def test_the_worker_finds_what_nobody_told_of(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> None:
    pushes.with_git(poll=0.1)
    forge = Polled(pushes, checkout, tmp_path / "forge.git")
    with pushes.worker():
        wait_for(lambda: forge.repository.polled_at)
        sha = forge.push(TRAIN)
        wait_for(lambda: pushes.steps("model") == ["train"])
    assert forge.outcomes() == [(MAIN, sha, "1 execution")]


def test_a_push_that_was_lost_while_nothing_ran_here_runs_soon_after_the_start(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    git = replace(pushes.config.git, poll=0.1, poll_webhooks=3600.0, poll_grace=0.5)
    pushes.config = replace(pushes.config, git=git)
    forge = Polled(pushes, checkout, tmp_path / "forge.git")
    first = forge.push(TRAIN)
    with pushes.worker():
        wait_for(lambda: forge.repository.polled_at)
        forge.told((ZERO, first))
    lost = forge.push({"a": "1"})
    with pushes.worker():
        wait_for(lambda: pushes.steps("model") == ["train"] * 2)
    assert forge.outcomes()[-1] == (MAIN, lost, "1 execution")


def test_remotes_that_do_not_answer_hold_up_no_other_work(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    import socket

    pushes.with_git(allow_local=True, allow_http=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for number in range(6):
            pushes.add_project(f"slow{number}", "plain", f"http://127.0.0.1:{silent.getsockname()[1]}/x.git")
        forge = Forge(pushes, checkout, tmp_path / "forge.git")
        with pushes.worker():
            taken = [silent.accept()[0] for _ in range(4)]  # each is being asked, and gets no answer
            sha = forge.push(TRAIN)
            forge.deliver(payload(sha))
            wait_for(lambda: pushes.steps("model") == ["train"])
            for connection in taken:
                connection.close()
            silent.close()


@pytest.fixture
def away(pushes: PushServer, tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """A project whose forge refuses every request; these."""
    (tmp_path / "served").mkdir()
    bare_repository(tmp_path / "served" / "model.git")
    pushes.with_git(allow_http=True)
    with served(tmp_path / "served", password="another") as server:
        host = server.url.removeprefix("http://")
        pushes.add_project("model", "plain", f"http://ada:wrong@{host}/git/model.git")
        yield server.requests


def test_a_remote_that_is_away_is_not_asked_by_every_delivery(pushes: PushServer, away: list[tuple[str, str]]) -> None:
    repository = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]

    def deliver(number: int) -> None:
        ref_updates.store_ref_updates(
            pushes.db, repository, "plain", f"delivery-{number}", {MAIN: (ZERO, f"{number:040x}")}
        )
        pushes.drain()

    deliver(1)
    asked = len(away)
    assert asked > 0
    for number in range(2, 8):
        deliver(number)
    assert len(away) == asked
    assert [delivery.attempts for delivery in pushes.deliveries("model")] == [1, 0, 0, 0, 0, 0, 0]
    assert (
        "its user and password are missing, wrong or not enough"
        in projects.get_repository(pushes.db, repository.id).fetch_problem
    )

    def asked_again() -> bool:
        pushes.drain()
        return len(away) > asked

    wait_for(asked_again)
    assert [delivery.attempts for delivery in pushes.deliveries("model")] == [2, 0, 0, 0, 0, 0, 0]
    with pytest.raises(GitError):
        remotes.list_refs(pushes.context, repository)

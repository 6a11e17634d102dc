"""The comment on a pull request: a single one, correct, safe, and found again after any kill."""

from __future__ import annotations

import re

import pytest
from fake_forge import KINDS
from forge_deliveries import Request
from instance import wait_for
from told_forge import URL, ToldForge

from core.states import FailureReason, State
from web.services.forges import comments as comment_service
from web.services.forges import enqueue
from web.services.forges import publisher as outbox_service
from web.services.presentation import comment_text
from web.store import outbox, projects
from web.store.db import execute, fetch_row, insert, transaction

each = pytest.mark.parametrize("forge", KINDS, indirect=True)


class Pull:
    """A pull request of branch `work` onto main, where `train` has been complete with an accuracy of 0.9."""

    def __init__(self, told: ToldForge) -> None:
        self.told, self.forge = told, told.forge
        comment_service.set_comments(told.db, projects.get_by_name(told.db, "model"), True)
        told.push("train")
        told.printed("train", accuracy=0.9, loss=0.5)
        told.move("train", State.COMPLETE)
        told.tell()
        self.id = self.sha = ""

    def push(self, *steps: str) -> str:
        self.sha = self.told.push(*steps, ref="work")
        if self.id:
            execute(self.told.db, "UPDATE pull_request SET sha = ?", (self.sha,))
        else:
            values = {
                "repository_id": self.told.repository.id, "number": 7, "sha": self.sha, "title": "t", "author": "ada",
                "url": "https://f/7", "head_branch": "work", "base_branch": "main", "from_fork": 0,
                "changed_at": "2026-11-25T00:00:00Z",
            }  # fmt: skip
            with transaction(self.told.db):
                self.id = str(insert(self.told.db, "pull_request", values))
        return self.sha

    def mark(self) -> None:
        with transaction(self.told.db):
            outbox.enqueue(self.told.db, self.told.repository.id, outbox.OutboxKind.COMMENT, "7")

    @property
    def comments(self) -> list[str]:
        return [comment["body"] for comment in self.forge.comments]

    @property
    def calls(self) -> list[str]:
        return [
            call.method for call in self.forge.calls if re.search(r"/(issues|merge_requests|pullrequests)/", call.path)
        ]


@pytest.fixture
def pull(told: ToldForge) -> Pull:
    return Pull(told)


def cells(comment: str, step: str = "train") -> list[str]:
    """The row of a step."""
    (found,) = [line for line in comment.split("\n") if line.startswith(f"| [`{step}`")]
    return [cell.strip() for cell in found.strip("|").split("|")]


@each
def test_one_comment_is_made_and_edited_in_place(pull: Pull) -> None:
    sha = pull.push("train", "eval")
    pull.told.tell()
    (comment,) = pull.comments
    assert comment.startswith(f"**pushmill** [`{sha[:8]}`]({URL}/p/model/commits/{sha}/): 2 queued.")
    assert pull.calls == ["GET", "POST"]
    pull.told.printed("train", epoch=2, accuracy=0.942, loss=0.75)
    pull.told.move("train", State.COMPLETE)
    pull.told.move("eval", State.ERROR, FailureReason.OUT_OF_MEMORY)
    pull.told.tell()
    (comment,) = pull.comments
    assert "1 succeeded, 1 failed. Metrics are compared with the newest run on `main`." in comment
    link, state, parameters, metrics, time = cells(comment)
    assert link == f"[`train` #2]({URL}/p/model/executions/2/)"
    assert (state, parameters) == ("✓ Succeeded", "")
    assert metrics == "`accuracy` 0.942 (+0.042), `loss` 0.75 (+0.25), `epoch` 2"
    assert time == "0.0 s"
    assert cells(comment, "eval")[1] == "✕ Failed: out of memory"
    assert pull.calls == ["GET", "POST", {"github": "PATCH", "gitea": "PATCH"}.get(pull.forge.kind, "PUT")]


RATE = """- step:
    name: train
    image: busybox
    command: run {parameters}
    parameters:
      - {name: rate, type: float, default: %s}
      - {name: epochs, type: integer, default: 3}
"""


def test_a_parameter_whose_default_the_pull_request_changes_is_named_with_what_it_was(pull: Pull) -> None:
    pull.told.push(files={"valohai.yaml": RATE % 0.1})
    pull.told.checkout.commit({"valohai.yaml": RATE % 0.02}, "slower")
    sha = pull.told.checkout.git("rev-parse", "HEAD").stdout.strip()
    pull.told.ask(Request(sha=sha))
    pull.told.tell()
    assert cells(pull.comments[-1])[2] == "`rate = 0.02` (was `0.1`)"


def test_a_counter_that_is_where_it_was_has_no_difference(pull: Pull) -> None:
    pull.told.push("train")
    pull.told.printed("train", epoch=3, accuracy=0.9)
    pull.told.move("train", State.COMPLETE)
    pull.push("train")
    pull.told.printed("train", epoch=3, accuracy=0.9)
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    assert cells(pull.comments[-1])[3] == "`accuracy` 0.9 (±0), `epoch` 3"


@pytest.mark.parametrize(
    ("files", "message", "said"),
    [
        ({"valohai.yaml": "- nonsense"}, "work", "`valohai.yaml is not valid: "),
        ({"valohai.yaml": "[]"}, "work", "`valohai.yaml has no steps, and on main it has`."),
        ({"a": "b"}, "work\n\nPushmill-Step: trian", '`trian: there is no step "trian": did you mean "train"?`.'),
    ],
)
def test_a_pull_request_of_which_nothing_can_run_gets_a_comment_that_says_why(
    pull: Pull, files: dict[str, str], message: str, said: str
) -> None:
    sha = pull.told.checkout.commit(files, message)
    pull.told.ask(Request(sha=sha))
    pull.told.tell()
    (comment,) = pull.comments
    assert comment.startswith(f"**pushmill** [`{sha[:8]}`]({URL}/p/model/commits/{sha}/): {said}")


def test_a_pull_request_that_github_tells_of_gets_a_comment(pull: Pull) -> None:
    sha = pull.told.checkout.commit({"ours": "x"})
    pull.told.ask(Request(sha=sha))
    pull.told.tell()
    (comment,) = pull.comments
    assert f"`{sha[:8]}`" in comment
    assert "1 queued" in comment


def test_a_pull_request_of_a_branch_that_ran_before_gets_its_comment_too(pull: Pull) -> None:
    sha = pull.told.push("train", ref="topic")
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    said = pull.told.ask(Request(sha=sha, branch="topic"))
    assert "everything was skipped" in said
    pull.told.tell()
    (comment,) = pull.comments
    assert "1 succeeded" in comment


def test_the_same_text_is_not_sent_again(pull: Pull) -> None:
    pull.push("train")
    pull.told.tell()
    calls = list(pull.calls)
    pull.mark()
    enqueue.enqueue_recent(pull.told.db)
    pull.told.tell()
    assert pull.calls == calls


@each
def test_a_comment_whose_name_was_lost_is_found_by_its_marker(pull: Pull) -> None:
    for number in range(130):
        pull.forge.comments.append({"id": number, "number": 7, "body": f"noise {number}"})
    pull.push("train")
    pull.told.tell()
    execute(pull.told.db, "UPDATE pull_request SET comment_id = '', comment_sha256 = ''")
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    ours = [body for body in pull.comments if "pushmill" in body]
    assert len(ours) == 1
    assert "1 succeeded" in ours[0]


def test_a_worker_that_dies_after_the_comment_was_made_makes_no_second(pull: Pull) -> None:
    """As a kill between the answer and its record, or an answer that was lost."""
    pull.forge.drop(method="POST", path="/comments", applied=True)
    pull.push("train")
    pull.told.tell()
    assert len(pull.comments) == 1
    found = fetch_row(pull.told.db, "SELECT comment_id FROM pull_request")
    assert found is not None
    assert found["comment_id"] == str(pull.forge.comments[0]["id"])


def test_a_marker_that_somebody_copied_does_not_lead_us_astray(pull: Pull) -> None:
    pull.push("train")
    pull.told.tell()
    pull.forge.comments.append({"id": 5, "number": 7, "body": pull.comments[0]})
    execute(pull.told.db, "UPDATE pull_request SET comment_id = '', comment_sha256 = ''")
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    assert "1 succeeded" in pull.comments[0]
    assert "1 succeeded" not in pull.comments[1]


@each
def test_a_comment_that_was_deleted_is_made_anew(pull: Pull) -> None:
    pull.push("train")
    pull.told.tell()
    pull.forge.comments.clear()
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    (comment,) = pull.comments
    assert "1 succeeded" in comment


def test_a_new_head_is_told_in_the_same_comment(pull: Pull) -> None:
    pull.push("train")
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    sha = pull.push("train", "eval")
    pull.told.tell()
    (comment,) = pull.comments
    assert sha[:8] in comment
    assert "2 queued" in comment


def test_closed_pull_requests_and_projects_that_want_none_get_no_comment(pull: Pull) -> None:
    project = projects.get_by_name(pull.told.db, "model")
    comment_service.set_comments(pull.told.db, project, False)
    pull.push("train")
    pull.told.tell()
    comment_service.set_comments(pull.told.db, project, True)
    execute(pull.told.db, "UPDATE pull_request SET closed = 1")
    pull.told.move("train", State.COMPLETE)
    pull.mark()
    pull.told.tell()
    assert pull.calls == []
    execute(pull.told.db, "UPDATE pull_request SET closed = 0")
    comment_service.set_comments(pull.told.db, project, True)
    pull.told.tell()
    assert len(pull.comments) == 1


def test_a_token_that_may_not_comment_still_tells_statuses(pull: Pull) -> None:
    pull.forge.forbidden.add("comments")
    sha = pull.push("train")
    pull.told.tell()
    assert pull.told.states(sha) == pull.told.wanted(sha)
    assert pull.told.repository.api_problem == ""
    (line,) = outbox.list_failing(pull.told.db, pull.told.repository.id)
    assert (line.kind, line.subject) == (outbox.OutboxKind.COMMENT, "7")
    assert line.problem == "403 Resource not accessible by personal access token"
    pull.forge.forbidden.clear()
    outbox_service.retry_now(pull.told.db, pull.told.repository)
    pull.told.tell()
    assert len(pull.comments) == 1


def test_failures_of_the_forge_leave_one_comment(pull: Pull) -> None:
    pull.forge.fail(500, times=2, path="/comments")
    pull.forge.drop(path="/comments", times=2, applied=True)
    pull.push("train")
    pull.told.tell()
    pull.told.move("train", State.COMPLETE)
    pull.told.tell()
    (comment,) = pull.comments
    assert "1 succeeded" in comment


def test_parameters_that_differ_from_the_defaults_are_told(pull: Pull) -> None:
    text = (
        "- step:\n    name: train\n    image: busybox\n    command: run {parameters}\n    parameters:\n"
        "      - {name: epochs, type: integer, default: 3}\n      - {name: rate, type: float, default: 0.1}\n"
    )
    pull.sha = pull.told.push(files={"valohai.yaml": text}, ref="work")
    sha, pull.sha = pull.sha, ""
    pull.push("eval")
    execute(pull.told.db, "UPDATE pull_request SET sha = ?", (sha,))
    execute(
        pull.told.db,
        'UPDATE execution SET parameters = \'{"epochs": 5, "rate": 0.1}\' WHERE id = ?',
        (pull.told.execution("train").id,),
    )
    pull.mark()
    pull.told.tell()
    assert cells(pull.comments[0])[2] == "`epochs = 5`"


HOSTILE = [
    "|<img src=x onerror=alert(1)>",
    "@everyone",
    "`@ada` #1 [x](javascript:1)",
    "/close | b |",
    "\u202e**x**",
]


def test_what_users_wrote_is_harmless_markdown(pull: Pull) -> None:
    pull.push(*HOSTILE)
    for step in HOSTILE:
        pull.told.printed(step, **{"@here|<b>\n/close\n": 1.5})
        pull.told.move(step, State.ERROR, FailureReason.COMMAND_FAILED, failure_message="@channel | <script>")
    pull.told.tell()
    (comment,) = pull.comments
    table = [line for line in comment.split("\n") if line.startswith("|")]
    assert len(table) == 2 + len(HOSTILE)
    assert {line.count("|") for line in table} == {6}
    outside = re.sub(r"`[^`]*`", "", comment)
    assert not re.search(r"@|<|\*\*x|javascript|/close|\u202e|script", outside)
    assert not re.search(r"[\u202e\x00-\x09]", comment)


def test_a_comment_is_bounded(pull: Pull) -> None:
    pull.push(*(f"step {number} {'x' * 300}" for number in range(40)))
    for execution in pull.told.server.executions("model"):
        execute(
            pull.told.db,
            "UPDATE execution SET parameters = ? WHERE id = ?",
            ('{"' + '":1,"'.join(str(n) + "p" * 300 for n in range(20)) + '":1}', execution.id),
        )
    pull.mark()
    pull.told.tell()
    (comment,) = pull.comments
    assert len(comment) <= comment_text.TEXT_CHARS
    assert comment.count("| [`step") == comment_text.ROWS
    assert "10 more on the [commit page]" in comment


def test_comments_are_apart(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(outbox.GAP_S, outbox.OutboxKind.COMMENT, 3600.0)
    pull.push("train")
    wait_for(lambda: pull.told.tick() and pull.told.states(pull.sha) == pull.told.wanted(pull.sha))
    assert pull.calls == []
    assert pull.told.due() == 1


def test_the_gap_between_two_comments_is_ten_seconds_at_least() -> None:
    assert outbox.GAP_S[outbox.OutboxKind.COMMENT] >= 10

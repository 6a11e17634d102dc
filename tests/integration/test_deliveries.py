"""The page of a delivery: its result and reason, also of refused ones, and processing it again."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from api_server import ApiServer
from flask import request_started
from instance import Checkout, wait_for
from push_server import bare_repository, drain, step
from ruled_project import ALL
from site_client import Person
from werkzeug.test import TestResponse

from core import clock
from hooks import signatures
from web.http import webhooks
from web.http.api import commits as api_commits
from web.services import pipelines, tasks
from web.services.repositories import hosting
from web.store import deliveries, executions, projects, pushes
from web.store.db import execute, transaction
from web.store.deliveries import Delivery, DeliveryState, Received
from web.store.selection import Selection

ZERO = "0" * 40


class Hub:
    """A project whose repository lies on GitHub, with the whole server and somebody at its pages."""

    def __init__(self, api: ApiServer, checkout: Checkout, path: Path) -> None:
        self.api, self.checkout, self.path = api, checkout, bare_repository(path)
        url = f"file://{path}"
        self.project, self.secret = hosting.add_project(api.context, "model", api.admin.id, forge="github", url=url)
        self.person = Person(api)
        self.person.log_in()

    @property
    def server(self) -> Any:
        return self.api.app.extensions["pushmill"]

    def push(self, files: dict[str, str], message: str = "work") -> str:
        sha = self.checkout.commit(files, message)
        self.checkout.git("push", "-q", "-f", str(self.path), "HEAD:main")
        return sha

    def deliver(self, payload: Any, delivery: str = "d-1", event: str = "push", **headers: str) -> TestResponse:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "Content-Type": "application/json"}
        given["X-Hub-Signature-256"] = signatures.sign(body, self.secret.encode())
        return self.post("/hooks/model/github", body, **(given | headers))

    def post(self, path: str, body: bytes = b"{}", **headers: str) -> TestResponse:
        """Post a delivery, and wait until a refusal is recorded."""
        answer = self.api.client.post(path, data=body, headers=headers, buffered=True)
        self.api.app.extensions[webhooks.EXTENSION].recorder.settle()
        return answer

    def drain(self) -> None:
        drain(self.api.context, self.server.queues)

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries, newest first."""
        return deliveries.list_deliveries(self.api.db, self.project.id)

    def page(self, number: int) -> str:
        answer = self.person.get(f"/p/model/deliveries/{number}/")
        assert answer.status_code == 200
        return answer.text

    def again(self, number: int) -> TestResponse:
        return self.person.post(f"/p/model/deliveries/{number}/again", "/p/model/settings/")

    def steps(self) -> list[str]:
        found, _ = executions.search(self.api.db, Selection(projects=[self.project.id], order="counter"))
        return [execution.step for execution in found]

    def badge(self) -> str:
        projects.set_badge_public(self.api.db, self.project.id, True)
        return str(self.api.client.get("/badge/model.json").json["message"])

    def end_all(self, state: str) -> None:
        """End all unfinished executions in this state."""
        sql = "UPDATE execution SET state = ?, ended_at = created_at WHERE ended_at IS NULL AND project_id = ?"
        execute(self.api.db, sql, (state, self.project.id))


def payload(after: str, before: str = ZERO, **more: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main", "before": before, "after": after, "repository": {"full_name": "ada/model"},
        "pusher": {"name": "ada"}, "head_commit": {"id": after, "message": "work"},
    } | more  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, checkout: Checkout) -> Iterator[Hub]:
    api = ApiServer(tmp_path / "data", git={"allow_local": True}, server={"hook_body": "1 MiB"})
    yield Hub(api, checkout, tmp_path / "forge.git")
    api.close()


def test_a_delivery_leads_to_its_commit_and_its_executions(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train") + step("test")})
    hub.deliver(payload(sha))
    hub.drain()
    (delivery,) = hub.deliveries()
    page = hub.page(delivery.id)
    assert f'href="/p/model/commits/{sha}/"' in page
    assert set(re.findall(r"/p/model/executions/\d+/", page)) == {"/p/model/executions/1/", "/p/model/executions/2/"}
    assert "refs/heads/main: 2 executions" in page
    assert "<dt>Signature</dt><dd>valid</dd>" in page


def test_a_delivery_leads_to_the_tasks_and_pipelines_themselves_not_to_what_they_make(hub: Hub) -> None:
    with transaction(hub.api.db):
        projects.set_rules(hub.api.db, hub.project.id, '[[rule]]\nname = "r"\ntasks = ["*"]\npipelines = ["*"]\n')
    hub.deliver(payload(hub.push({"valohai.yaml": ALL})))
    hub.drain()
    pipelines.advance(hub.api.context)
    tasks.advance(hub.api.context)
    assert sorted(hub.steps()) == ["check", "train", "train", "train"]
    page = hub.page(hub.deliveries()[0].id)
    led_to = page.split('<ul class="led-to">')[1].split("</ul>")[0]
    assert re.findall(r'href="([^"]+)">([^<]+)<', led_to) == [
        ("/p/model/tasks/1/", "!1 task train"),
        ("/p/model/pipelines/1/", "=1 pipeline full"),
    ]
    assert re.findall(r'aria-label="(\w+)"', led_to) == ["Waiting", "Running"]


def test_the_list_is_paged_newest_first_and_the_settings_lead_to_it(hub: Hub) -> None:
    for number in range(52):
        hub.deliver({"zen": number}, delivery=f"d-{number}", event="ping")

    def shown(path: str) -> list[int]:
        return [int(number) for number in re.findall(r"/p/model/deliveries/(\d+)/", hub.person.get(path).text)]

    numbers = [delivery.id for delivery in hub.deliveries()]
    assert shown("/p/model/activity/") == numbers[:50]
    assert shown("/p/model/activity/?page=2") == numbers[50:]
    assert shown("/p/model/settings/") == numbers[:5]
    assert 'href="/p/model/deliveries/"' in hub.person.get("/p/model/settings/").text


def test_one_that_waits_says_for_what_and_until_when_and_can_be_tried_now(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    away = hub.path.rename(hub.path.with_name("away"))
    hub.deliver(payload(sha))
    hub.drain()
    (delivery,) = hub.deliveries()
    retry_at = clock.add_to_now(600)
    execute(hub.api.db, "UPDATE delivery SET retry_at = ?", (retry_at,))
    page = hub.page(delivery.id)
    assert delivery.message in html.unescape(page)
    assert str(hub.path) in delivery.message
    assert f"1 failed, next at {clock.parse(retry_at):%Y-%m-%d %H:%M:%S} UTC" in page
    away.rename(hub.path)
    hub.drain()
    assert hub.steps() == []
    assert hub.again(delivery.id).location == f"/p/model/deliveries/{delivery.id}/"
    hub.drain()
    assert hub.steps() == ["train"]
    assert len(hub.deliveries()) == 1


def test_running_it_again_does_not_wait_until_the_remote_is_asked_again(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    (repository,) = projects.list_repositories(hub.api.db, hub.project.id)
    projects.set_fetch_problem(hub.api.db, repository.id, "it was away", clock.add_to_now(600))
    hub.again(hub.deliveries()[0].id)
    hub.drain()
    assert hub.steps() == ["train"] * 2
    assert projects.get_repository(hub.api.db, repository.id).fetch_problem == ""


def test_running_it_again_runs_its_pushes_again_though_they_are_known(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    (first,) = hub.deliveries()
    answer = hub.again(first.id)
    hub.drain()
    second = hub.deliveries()[0]
    assert answer.location == f"/p/model/deliveries/{second.id}/"
    assert (second.again_of, second.state, second.message) == (first.id, "done", "refs/heads/main: 1 execution")
    assert hub.steps() == ["train", "train"]
    assert f'<a href="/p/model/deliveries/{first.id}/">{first.id}</a>' in hub.page(second.id)
    assert f'<a href="/p/model/deliveries/{second.id}/">{second.id}</a>' in hub.page(first.id)
    assert "repeated, ada" in hub.person.get(f"/p/model/commits/{sha}/").text
    hub.again(second.id)
    hub.drain()
    assert hub.steps() == ["train"] * 3


def test_a_replay_is_known_after_a_deliberate_repetition_too(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    hub.again(hub.deliveries()[0].id)
    hub.drain()
    hub.deliver(payload(sha), delivery="d-2")
    hub.drain()
    assert hub.steps() == ["train", "train"]
    assert "was recorded before" in hub.deliveries()[0].message


def test_a_repetition_that_is_handled_twice_runs_once(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    hub.again(hub.deliveries()[0].id)
    for _ in range(2):  # as after a kill between its push and its end
        execute(hub.api.db, "UPDATE delivery SET state = 'stored' WHERE again_of IS NOT NULL")
        hub.drain()
        assert hub.deliveries()[0].state == "done"
    assert hub.steps() == ["train", "train"]


def test_pressing_twice_is_one_repetition(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    hub.drain()
    (first,) = hub.deliveries()
    assert hub.again(first.id).location == hub.again(first.id).location
    assert len(hub.deliveries()) == 2


def test_what_never_ran_is_recorded_as_if_it_came_now(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    (first,) = hub.deliveries()
    deliveries.finish(hub.api.db, first.id, DeliveryState.FAILED, "given up")
    hub.again(first.id)
    for _ in range(2):
        execute(hub.api.db, "UPDATE delivery SET state = 'stored' WHERE again_of IS NOT NULL")
        hub.drain()
    assert hub.steps() == ["train"]
    (push,) = pushes.list_for_delivery(hub.api.db, hub.deliveries()[0].id)
    assert push.again_of is None
    hub.deliver(payload(sha), delivery="d-2")
    hub.drain()
    assert hub.steps() == ["train"]


def test_an_old_push_that_is_run_again_moves_neither_the_badge_nor_the_branch(hub: Hub) -> None:
    a = hub.push({"valohai.yaml": step("train")}, message="A")
    hub.deliver(payload(a))
    hub.drain()
    hub.end_all("complete")
    b = hub.push({}, message="B")
    hub.deliver(payload(b, a), delivery="d-2")
    hub.drain()
    hub.end_all("error")
    newer, older = hub.deliveries()
    hub.again(older.id)
    hub.drain()
    assert hub.badge() == "failing"
    repository = projects.list_repositories(hub.api.db, hub.project.id)[0]
    assert pushes.map_commits_by_ref(hub.api.db, repository.id) == {"refs/heads/main": b}
    hub.again(newer.id)
    hub.drain()
    assert hub.badge() == "running"


def test_secrets_are_neither_kept_in_headers_nor_shown(hub: Hub) -> None:
    more = {"hook": {"config": {"secret": hub.secret}}, "clone_url": "https://ada:word-1@example.org/x.git"}
    hub.deliver(payload("a" * 40, **more), **{"X-Gitlab-Token": hub.secret, "X-Note": f"is {hub.secret}"})
    (delivery,) = hub.deliveries()
    stored = deliveries.get(hub.api.db, delivery.id)
    assert stored is not None
    assert stored.headers["x-hub-signature-256"] == "(removed)"
    assert not {"x-gitlab-token", "x-note"} & stored.headers.keys()
    download = hub.person.get(f"/p/model/deliveries/{delivery.id}/body.txt")
    for text in (hub.page(delivery.id), download.text):
        assert hub.secret not in text
        assert "word-1" not in text
    assert json.loads(download.text)["hook"]["config"]["secret"] == "(removed)"
    assert download.headers["Content-Disposition"] == f"attachment; filename=model-delivery-{delivery.id}.txt"


def test_the_settings_page_shows_no_password_of_the_repository(hub: Hub) -> None:
    repository = projects.list_repositories(hub.api.db, hub.project.id)[0]
    projects.set_url(hub.api.db, repository.id, "https://ada:word-1@example.org/x.git")
    page = hub.person.get("/p/model/settings/").text
    assert "https://example.org/x.git" in page
    assert "word-1" not in page


def test_of_a_large_body_the_beginning_is_shown_and_all_of_it_downloaded(hub: Hub) -> None:
    hub.deliver(payload("a" * 40, filling=["x" * 99] * 5000))
    (delivery,) = hub.deliveries()
    page = hub.page(delivery.id)
    assert 64 * 1024 < len(page) < 90 * 1024
    assert "Only the beginning is shown." in page
    download = hub.person.get(f"/p/model/deliveries/{delivery.id}/body.txt")
    assert len(json.loads(download.text)["filling"]) == 5000


def refused(hub: Hub) -> tuple[str, str, str]:
    """The newest one, which must be refused: its signature, its reason, and its event."""
    newest = hub.deliveries()[0]
    stored = deliveries.get(hub.api.db, newest.id)
    assert stored is not None
    assert (stored.state, stored.body) == ("refused", b"")
    page = hub.page(newest.id)
    assert "Process again" not in page
    assert "The bodies of rejected deliveries are not stored." in page
    assert hub.again(newest.id).status_code == 409
    return newest.signature, newest.message, newest.event


def test_what_was_refused_says_why(hub: Hub) -> None:
    body = json.dumps(payload("a" * 40)).encode()
    wrong = {"X-Hub-Signature-256": signatures.sign(body, b"other"), "X-GitHub-Event": "push"}
    assert hub.post("/hooks/model/github", body, **wrong).status_code == 401
    signature, message, event = refused(hub)
    assert (signature, event) == ("wrong", "push")
    assert "pushmill project show model" in message
    assert hub.post("/hooks/model/github", body).status_code == 401
    assert refused(hub)[:2] == (
        "missing",
        "The signature is missing: enter the secret in the webhook settings of the Git host.",
    )
    assert hub.post("/hooks/model/plain", body).status_code == 401
    assert refused(hub)[1] == "Sent to /hooks/model/plain, but this project's webhook is /hooks/model/github."
    assert hub.deliver(b"x" * 1024**2 + b"x").status_code == 413
    assert refused(hub)[:2] == ("unchecked", "The body is larger than 1,048,576 bytes ([server] hook_body).")
    assert hub.deliver(body, **{"Content-Encoding": "gzip"}).status_code == 415
    assert "Compressed" in refused(hub)[1]
    assert hub.deliver(body).status_code == 202
    assert hub.deliver(b"no JSON", delivery="d-2").status_code == 400
    signature, message, _ = refused(hub)
    assert (signature, "the body is not valid JSON" in message) == ("valid", True)


def test_a_refused_delivery_takes_no_true_ones_name(hub: Hub) -> None:
    sha = hub.push({"valohai.yaml": step("train")})
    assert hub.deliver(payload(sha), delivery="d-7", **{"X-Hub-Signature-256": "sha256=00"}).status_code == 401
    assert hub.deliver(payload(sha), delivery="d-7").status_code == 202
    hub.drain()
    assert hub.steps() == ["train"]


def test_a_flood_of_refused_deliveries_leaves_few_rows_and_takes_no_other(hub: Hub) -> None:
    hub.deliver({"zen": "x"}, event="ping")
    for _ in range(15):
        assert hub.post("/hooks/model/github", **{"X-Long": "x" * 5000}).status_code == 401
    found = hub.deliveries()
    assert [delivery.state for delivery in found] == ["refused"] * deliveries.REFUSED_PER_MINUTE + ["stored"]
    assert max(len(value) for value in found[0].headers.values()) <= 300
    repository = projects.list_repositories(hub.api.db, hub.project.id)[0]
    for _ in range(120):
        with transaction(hub.api.db):
            deliveries.refuse(hub.api.db, hub.project.id, Received(repository.id, "github", "push"), "wrong", "")
    assert deliveries.count(hub.api.db, hub.project.id) == deliveries.REFUSED_KEPT + 1
    execute(hub.api.db, "UPDATE delivery SET received_at = '2026-01-01T00:00:00.000000Z'")
    hub.post("/hooks/model/github")
    assert hub.deliveries()[0].received_at > "2026-02"


def test_nothing_is_kept_of_what_was_sent_to_a_project_that_is_not_there(hub: Hub) -> None:
    for path in ("/hooks/none/github", "/hooks/none/none", "/hooks/%00%ff/github"):
        assert hub.post(path).status_code == 401
    assert hub.post("/hooks/none/github", b"{}", **{"Content-Encoding": "gzip"}).status_code == 415
    (count,) = hub.api.db.execute("SELECT COUNT(*) FROM delivery").fetchone()
    assert count == 0


def test_a_delivery_is_shown_and_run_in_its_own_project_alone(hub: Hub) -> None:
    hub.deliver({"zen": "x"}, event="ping")
    (delivery,) = hub.deliveries()
    for path in ("", "body.txt"):
        assert hub.person.get(f"/p/demo/deliveries/{delivery.id}/{path}").status_code == 404
    assert hub.person.post(f"/p/demo/deliveries/{delivery.id}/again", "/p/demo/settings/").status_code == 404
    assert hub.person.get("/p/model/deliveries/9223372036854775807/").status_code == 404
    assert hub.person.get("/p/model/deliveries/9223372036854775808/").status_code == 404
    assert len(hub.deliveries()) == 1


def test_the_settings_say_how_a_repository_is_watched_and_what_hinders_it(hub: Hub) -> None:
    (repository,) = projects.list_repositories(hub.api.db, hub.project.id)
    projects.set_url(hub.api.db, repository.id, "git@github.com:ada/model.git")
    hosting.replace_deploy_key(hub.api.context, hub.project)
    projects.set_fetch_problem(hub.api.db, repository.id, "<it> is away")
    page = hub.person.get("/p/model/settings/").text
    assert 'href="https://github.com/ada/model/settings/hooks/new"' in page
    assert 'href="https://github.com/ada/model/settings/keys/new"' in page
    assert projects.get_repository(hub.api.db, repository.id).deploy_key in page
    assert "Fetching failed: &lt;it&gt; is away" in page
    assert "<dd>every 1 min</dd>" in page
    hub.deliver({"zen": 1}, event="ping")
    projects.set_polled(hub.api.db, repository.id)
    page = hub.person.get("/p/model/settings/").text
    assert "<dd>every 10 min; checked " in page
    assert "Fetching failed" not in page


class TestOldDeliveries:
    """Deliveries that were handled long ago."""

    @pytest.fixture
    def three(self, hub: Hub) -> list[int]:
        """A push that ran, a ping, and one that still waits: all came long ago."""
        sha = hub.push({"valohai.yaml": step("train")})
        hub.deliver(payload(sha))
        hub.deliver({"zen": 1}, "d-2", "ping")
        hub.drain()
        hub.deliver(payload("a" * 40, sha), "d-3")
        self.age(hub, 100)
        return [delivery.id for delivery in hub.deliveries()[::-1]]

    def age(self, hub: Hub, days: float) -> None:
        """Make all deliveries that old."""
        then = clock.format_moment(datetime.now(UTC) - timedelta(days=days))
        execute(hub.api.db, "UPDATE delivery SET received_at = ?", (then,))
        execute(hub.api.db, "UPDATE delivery SET handled_at = ? WHERE handled_at IS NOT NULL", (then,))

    def test_they_lose_their_bodies_and_go_when_nothing_refers_to_them(self, hub: Hub, three: list[int]) -> None:
        deliveries.prune(hub.api.db, 90 * 86400.0)
        left = {delivery.id: delivery.pruned for delivery in hub.deliveries()}
        assert left == {three[0]: True, three[2]: False}
        found = deliveries.get(hub.api.db, three[0])
        assert found is not None
        assert (found.body, found.headers, found.state) == (b"", {}, "done")
        page = hub.page(three[0])
        assert "cannot be processed again" in page
        assert "Process again" not in page
        assert "/p/model/executions/1/" in page
        assert hub.again(three[0]).status_code == 409
        deliveries.prune(hub.api.db, 90 * 86400.0)
        assert len(hub.deliveries()) == 2

    def test_what_is_no_longer_kept_is_known_all_the_same(self, hub: Hub, three: list[int]) -> None:
        body = deliveries.get(hub.api.db, three[0])
        assert body is not None
        deliveries.prune(hub.api.db, 90 * 86400.0)
        execute(hub.api.db, "DELETE FROM delivery WHERE state = 'stored'")
        hub.deliver(body.body, "d-9")
        hub.drain()
        assert hub.steps() == ["train"]

    @pytest.mark.parametrize(
        ("days", "age_s", "kept"), [(2.9, 1.0, 3), (3.1, 1.0, 2), (9999, 0.0, 3), (80, 90 * 86400.0, 3)]
    )
    def test_three_days_are_always_kept_and_0_is_for_ever(
        self, hub: Hub, three: list[int], days: float, age_s: float, kept: int
    ) -> None:
        self.age(hub, days)
        deliveries.prune(hub.api.db, age_s)
        assert len(hub.deliveries()) == kept

    def test_very_many_are_dropped_a_little_at_a_time(self, hub: Hub, three: list[int]) -> None:
        sql = (
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
            " INSERT INTO delivery (repository_id, source, delivery_id, event, headers, body, received_at, state, handled_at)"
            " SELECT ?, 'github', 'many-' || i, 'ping', '{}', randomblob(300), ?, 'ignored', ? FROM n"
        )
        old = "2020-01-01T00:00:00.000000Z"
        with transaction(hub.api.db):
            execute(hub.api.db, sql, (projects.list_repositories(hub.api.db, hub.project.id)[0].id, old, old))
        started = time.thread_time()
        deliveries.prune(hub.api.db, 90 * 86400.0)
        assert time.thread_time() - started < 5 * deliveries.PRUNING_S
        assert 3 < deliveries.count(hub.api.db, hub.project.id) < 100_003

        def done() -> bool:
            deliveries.prune(hub.api.db, 90 * 86400.0)
            return deliveries.count(hub.api.db, hub.project.id) == 2

        wait_for(done, 60)


def test_what_waits_is_found_without_looking_at_what_was_handled(hub: Hub) -> None:
    """Each sweep asks, so that a server must not become slower with every delivery that it ever got."""
    (repository,) = projects.list_repositories(hub.api.db, hub.project.id)
    received = Received(repository.id, "github", "push", body=b"x")
    with transaction(hub.api.db):
        for number in range(1000):
            deliveries.store(hub.api.db, received, f"d-{number}", ignored="of no use")
    deliveries.store(hub.api.db, received, "new")
    thousands_of_steps: list[None] = []
    hub.api.db.conn.set_progress_handler(lambda: thousands_of_steps.append(None), 1000)
    assert deliveries.list_due_repositories(hub.api.db) == [repository.id]
    found = deliveries.find_next_stored(hub.api.db, repository.id, 0)
    hub.api.db.conn.set_progress_handler(None, 0)
    assert found is not None
    assert (found.delivery_id, thousands_of_steps) == ("new", [])


def test_vh_finds_a_commit_whose_push_is_still_being_read(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """`vh exec run` comes right after `git push`; a commit that is not listed makes it ask a question."""
    monkeypatch.setattr(api_commits, "READ_S", 60)
    sha = hub.push({"valohai.yaml": step("train")})
    hub.deliver(payload(sha))
    agent = hub.api.as_admin | {"User-Agent": "valohai-cli/0.37.0"}
    begun = Event()
    path = f"/api/v0/commits/?project={hub.project.uuid}"
    with ThreadPoolExecutor() as pool, request_started.connected_to(lambda *_, **__: begun.set()):
        answer = pool.submit(lambda: hub.api.app.test_client().get(path, headers=agent).get_json())
        assert begun.wait(60)
        hub.drain()
        assert [item["identifier"] for item in answer.result(60)["results"]] == [sha]

"""The badge is always an image, the same bytes for the same state, and never an error."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from typing import Any

import by_hand
import pytest
from api_server import ApiServer
from site_client import Person

from core.model import EventKind, Execution, PullRequestEvent, PushEvent
from web.config.steps.resolve import resolve
from web.http.badges import COLOURS, render_svg
from web.services import launch
from web.services.presentation import badges
from web.services.presentation.badges import merge_badges
from web.services.repositories import hosting
from web.store import metadata, projects, pull_requests, pushes
from web.store.db import execute, transaction
from web.store.pushes import NewPush, PushOutcome


def pushed(
    api: ApiServer,
    branch: str = "main",
    *,
    ref: str = "",
    before: str = "0" * 40,
    kind: EventKind = EventKind.PUSH,
    pull_request_id: int | None = None,
) -> Execution:
    """Add an execution of a push to a branch."""
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    ref = ref or f"refs/heads/{branch}"
    event = PushEvent(kind=kind, ref=ref, before=before, after=api.commit.identifier, identity=f"{ref} {before}")
    with transaction(api.db):
        push = pushes.add_push(
            api.db,
            NewPush(repository_id=repository.id, event=event, pull_request_id=pull_request_id),
        )
        assert push is not None
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id, text="1 execution"))
        resolved = resolve(api.commit.config, "Train model")
        return by_hand.execution(api.context, api.demo, api.commit, resolved, api.admin, push_id=push)


def end(api: ApiServer, execution: Execution, state: str) -> None:
    sql = "UPDATE execution SET state = ?, ended_at = '2026-11-22T23:50:00.000000Z' WHERE id = ?"
    execute(api.db, sql, (state, execution.id))


def printed(api: ApiServer, execution: Execution, **values: Any) -> None:
    with transaction(api.db):
        metadata.add(api.db, execution.id, [(0, values)])


def words(image: str) -> str:
    return ET.fromstring(image).attrib["aria-label"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("queued", "running"),
        ("started", "running"),
        ("complete", "passing"),
        ("error", "failing"),
        ("stopped", "stopped"),
    ],
)
def test_it_says_how_the_newest_push_went(api: ApiServer, state: str, word: str) -> None:
    end(api, pushed(api), state)
    answer = api.client.get("/badge/demo.svg")
    assert (answer.status_code, words(answer.text)) == (200, f"demo: {word}")
    assert answer.mimetype == "image/svg+xml"
    assert words(api.client.get("/badge/demo.svg?step=Train model").text) == f"Train model: {word}"


@pytest.mark.parametrize(
    "path",
    [
        "none.svg", "demo.svg", "demo.svg?branch=none", "demo.svg?step=none", "%00%ff%3Cb.svg", "demo.svg?branch=%ff",
        "demo.svg?event=tag", "demo.svg?event=none", "demo.svg?metric=none", "none.svg?metric=accuracy",
        "demo.svg?metric=%00%ff&label=%EF%BF%BE%ED%A0%80", "none.svg?token=%ff",
    ],
)  # fmt: skip
def test_what_is_unknown_is_an_image_too(api: ApiServer, path: str) -> None:
    answer = api.client.get(f"/badge/{path}")
    assert answer.status_code == 200
    assert words(answer.text).endswith(": unknown")


def test_a_commit_that_its_pull_request_ran_before_the_push_was_told_is_shown(api: ApiServer) -> None:
    end(api, pushed(api, "feature"), "complete")
    execute(api.db, "UPDATE push SET commit_id = NULL")  # it was another commit
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    head = PullRequestEvent(
        number=7, sha=api.commit.identifier, title="", author="", url="", head_branch="feature", base_branch="main",
        from_fork=False,
    )  # fmt: skip
    with transaction(api.db):
        request = pull_requests.save(api.db, repository.id, head, head.sha, "2026-11-22T23:40:00.000000Z")
    ran = pushed(api, ref="refs/pull/7/head", kind=EventKind.PULL_REQUEST, pull_request_id=request.id)
    end(api, ran, "error")
    assert words(api.client.get("/badge/demo.svg?branch=feature").text) == "demo: passing"
    event = PushEvent(ref="refs/heads/feature", before="1" * 40, after=api.commit.identifier, identity="second")
    with transaction(api.db):
        push = pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event))
        assert push is not None
        pushes.finish_push(
            api.db, push, PushOutcome(commit_id=api.commit.id, text="nothing runs: everything was skipped")
        )
    assert words(api.client.get("/badge/demo.svg?branch=feature").text) == "demo: failing"
    assert words(api.client.get("/badge/demo.svg?branch=main").text) == "demo: unknown"
    execute(api.db, "UPDATE pull_request SET from_fork = 1")
    assert words(api.client.get("/badge/demo.svg?branch=feature").text) == "demo: passing"


def test_caches_can_tell_a_change(api: ApiServer) -> None:
    execution = pushed(api)
    first = api.client.get("/badge/demo.svg")
    etag = first.headers["ETag"]
    assert not etag.startswith("W/")
    assert api.client.get("/badge/demo.svg").data == first.data
    again = api.client.get("/badge/demo.svg", headers={"If-None-Match": etag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    end(api, execution, "complete")
    after = api.client.get("/badge/demo.svg", headers={"If-None-Match": etag})
    assert (after.status_code, after.headers["Last-Modified"]) == (200, "Sun, 22 Nov 2026 23:50:00 GMT")
    assert after.headers["ETag"] != etag


def test_it_carries_no_cookie_and_no_script(api: ApiServer) -> None:
    token = api.client.get("/login").text.split('name="csrf_token" value="')[1].split('"')[0]
    form = {"username": "admin", "token": api.token, "csrf_token": token}
    assert api.client.post("/login", data=form).status_code == 303
    headers = api.client.get("/badge/demo.svg").headers
    assert "Set-Cookie" not in headers
    assert "Vary" not in headers
    assert headers["Cache-Control"] == "no-cache, max-age=0"
    assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_names_are_escaped_and_cut() -> None:
    image = render_svg("<script>\"'&\u202e\x00\ufffe\uffff" + "x" * 100, "passing", COLOURS["passing"])
    ET.fromstring(image)
    assert "<script>" not in image
    assert len(words(image)) <= 64 + len(": passing")


def test_it_shows_the_newest_push_of_its_branch_only(api: ApiServer) -> None:
    end(api, pushed(api, "main"), "complete")
    end(api, pushed(api, "wild"), "error")
    assert words(api.client.get("/badge/demo.svg").text) == "demo: passing"
    assert words(api.client.get("/badge/demo.svg?branch=wild").text) == "demo: failing"


def test_no_execution_is_unknown() -> None:
    assert merge_badges(()) == "unknown"


def test_one_that_was_run_again_counts_by_its_last_try(api: ApiServer) -> None:
    failed = pushed(api)
    end(api, failed, "error")
    with transaction(api.db):
        again = launch.rerun(api.context, failed, api.admin, "Runs again")
    end(api, again, "complete")
    assert words(api.client.get("/badge/demo.svg").text) == "demo: passing"


def test_a_tag_is_asked_for_by_its_event(api: ApiServer) -> None:
    end(api, pushed(api), "complete")
    end(api, pushed(api, ref="refs/tags/v1"), "complete")
    end(api, pushed(api, ref="refs/tags/v2"), "error")
    assert words(api.client.get("/badge/demo.svg?event=tag").text) == "demo: failing"
    assert words(api.client.get("/badge/demo.svg?event=push").text) == "demo: passing"


def test_a_metric_is_the_latest_value_of_the_newest_completed_execution_that_has_it(api: ApiServer) -> None:
    first, without, failed, running = (pushed(api, before=digit * 40) for digit in "0123")
    elsewhere = pushed(api, "wild")
    printed(api, first, accuracy=0.5)
    printed(api, first, accuracy=0.93456)
    for execution in (failed, running, elsewhere):
        printed(api, execution, accuracy=0.1, note="<b>\u202e")
    for execution, state in ((first, "complete"), (without, "complete"), (failed, "error"), (elsewhere, "complete")):
        end(api, execution, state)
    answer = api.client.get("/badge/demo.svg?metric=accuracy")
    assert words(answer.text) == "accuracy: 0.9346"
    assert answer.headers["Last-Modified"] == "Sun, 22 Nov 2026 23:50:00 GMT"
    assert words(api.client.get("/badge/demo.svg?metric=accuracy&label=test set").text) == "test set: 0.9346"
    assert words(api.client.get("/badge/demo.svg?metric=accuracy&branch=wild").text) == "accuracy: 0.1"
    assert words(api.client.get("/badge/demo.svg?metric=accuracy&step=Train model").text) == "accuracy: 0.9346"
    assert words(api.client.get("/badge/demo.svg?metric=accuracy&step=none").text) == "accuracy: unknown"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"), (3, "3"), ("0.25", "0.25"), ("a secret", "no value"), ("<b>\u202e", "no value"), (True, "no value"),
        (None, "no value"), ([1, 2], "no value"), ({"loss": 1}, "no value"), ("nan", "no value"), ("1" * 400, "no value"),
    ],
)  # fmt: skip
def test_a_metric_is_a_number_or_nothing(api: ApiServer, value: Any, shown: str) -> None:
    execution = pushed(api)
    printed(api, execution, note=value)
    end(api, execution, "complete")
    assert words(api.client.get("/badge/demo.svg?metric=note").text) == f"note: {shown}"
    assert api.client.get("/badge/demo.json?metric=note").json["message"] == shown


def test_shields_io_draws_the_same(api: ApiServer) -> None:
    execution = pushed(api)
    printed(api, execution, accuracy=0.75)
    end(api, execution, "complete")
    answer = api.client.get("/badge/demo.json?step=Train model")
    expected = {"schemaVersion": 1, "label": "Train model", "message": "passing", "color": "2e7d32"}
    assert (answer.json, answer.mimetype) == (expected, "application/json")
    assert api.client.get("/badge/demo.json?metric=accuracy").json["message"] == "0.75"
    assert api.client.get("/badge/none.json").json["message"] == "unknown"
    etag = answer.headers["ETag"]
    assert api.client.get("/badge/demo.json?step=Train model", headers={"If-None-Match": etag}).status_code == 304


def test_an_etag_that_a_proxy_weakened_still_counts(api: ApiServer) -> None:
    etag = api.client.get("/badge/demo.svg").headers["ETag"]
    assert api.client.get("/badge/demo.svg", headers={"If-None-Match": f"W/{etag}"}).status_code == 304


def test_a_private_badge_shows_nothing_without_its_token_and_not_even_that_there_is_a_project(api: ApiServer) -> None:
    execution = pushed(api)
    printed(api, execution, accuracy=0.75)
    end(api, execution, "complete")
    token = badges.compute_token(api.app.extensions["pushmill"].vault, api.demo)
    other = badges.compute_token(api.app.extensions["pushmill"].vault, api.project("other"))
    with transaction(api.db):
        projects.set_badge_public(api.db, api.demo.id, False)
    for given in ("", f"&token={other}", f"&token={token[:-1]}", f"&token={token}x", "&token=%ff%00"):
        for form in ("svg", "json"):
            asked = f"{form}?metric=accuracy{given}"
            refused = api.client.get(f"/badge/demo.{asked}")
            assert "0.75" not in refused.text
            missing = api.client.get(f"/badge/none.{asked}")
            assert (refused.data, dict(refused.headers)) == (missing.data, dict(missing.headers)), asked
    assert words(api.client.get(f"/badge/demo.svg?token={token}").text) == "demo: passing"
    assert api.client.get(f"/badge/demo.json?metric=accuracy&token={token}").json["message"] == "0.75"


def test_a_private_and_an_unknown_project_take_the_same_steps(api: ApiServer) -> None:
    with transaction(api.db):
        projects.set_badge_public(api.db, api.demo.id, False)

    def steps(question: badges.BadgeQuery) -> list[str]:
        """The statements that an answer takes, without their values."""
        found: list[str] = []
        api.db.conn.set_trace_callback(found.append)
        badges.make_badge(api.context, question)
        api.db.conn.set_trace_callback(None)
        return [re.sub(r"(= |IN \()('[^']*'|[0-9]+)", r"\1?", statement) for statement in found]

    asked: list[dict[str, str]] = [
        {}, {"metric": "accuracy"}, {"token": "x"}, {"event": "tag"}, {"event": "none"}, {"step": "train"},
    ]  # fmt: skip
    for more in asked:
        private, unknown = (steps(badges.BadgeQuery(project=name, **more)) for name in ("demo", "none"))
        assert private == unknown
        assert len(private) == 2


@pytest.mark.parametrize("forge", [projects.HOSTED, "plain", "github"])
def test_a_new_project_has_a_private_badge(api: ApiServer, forge: str) -> None:
    url = None if forge == projects.HOSTED else "https://git.example.org/ada/model.git"
    made, _ = hosting.add_project(api.context, "model", api.admin.id, forge=forge, url=url)
    assert not made.badge_public
    person = Person(api)
    person.log_in()
    assert (
        f"/badge/model.svg?token={badges.compute_token(api.context.vault, made)}"
        in person.get("/p/model/settings/badge/").text
    )


def markdown(page: str) -> tuple[str, str]:
    """Return the alternative text and the address in the Markdown that the settings page offers."""
    found = re.search(
        r"\[!\[(.*)\]\((http://localhost/badge/[^ ()]+)\)\]\(http://localhost/p/demo/\)", html.unescape(page)
    )
    assert found is not None
    return found[1], found[2]


def test_the_settings_page_gives_the_markdown_of_what_was_chosen(api: ApiServer) -> None:
    person = Person(api)
    person.log_in()
    step = "fit (big), [v2] & more"
    execution = pushed(api, "a/b c")
    printed(api, execution, accuracy=0.75, note="text")
    end(api, execution, "complete")
    execute(api.db, "UPDATE execution SET step = ?", (step,))
    page = person.get("/p/demo/settings/badge/").text
    assert markdown(page) == ("demo", "http://localhost/badge/demo.svg")
    picker = page.split('id="badge-choice"')[1].split("</form>")[0]
    assert [html.unescape(value) for value in re.findall(r'<option value="([^"]+)"', picker)] == [
        "tag",
        "schedule",
        "a/b c",
        step,
        "accuracy",
    ]
    chosen = {"branch": "a/b c", "step": step}
    text, address = markdown(person.get("/p/demo/settings/badge/", query_string=chosen).text)
    assert text == r"fit \(big\), \[v2\] \& more"
    assert words(api.client.get(address).text) == f"{step}: passing"
    _, address = markdown(person.get("/p/demo/settings/badge/", query_string=chosen | {"metric": "accuracy"}).text)
    assert words(api.client.get(address).text) == "accuracy: 0.75"


def test_a_private_badge_is_copied_with_its_token(api: ApiServer) -> None:
    person = Person(api)
    person.log_in()
    end(api, pushed(api), "complete")
    assert person.post("/p/demo/settings/badge", "/p/demo/settings/").status_code == 303
    assert words(api.client.get("/badge/demo.svg").text) == "demo: unknown"
    page = person.get("/p/demo/settings/badge/?step=Train model").text
    assert words(api.client.get(markdown(page)[1]).text) == "Train model: passing"
    assert 'name="public" checked' not in page
    assert person.post("/p/demo/settings/badge", "/p/demo/settings/", public="on").status_code == 303
    assert words(api.client.get("/badge/demo.svg").text) == "demo: passing"

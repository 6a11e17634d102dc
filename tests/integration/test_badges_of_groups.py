"""Badges of tasks and pipelines show their own states, and no metric of a single trial."""

from __future__ import annotations

import pytest
from api_server import ApiServer
from made_groups import Groups
from site_client import Person
from test_badges import end, markdown, printed, pushed, words

from core.model import EventKind, PullRequestEvent, PushEvent
from core.states import FailureReason, State
from web.services.presentation import badges
from web.services.presentation.badges import BadgeQuery
from web.store import projects, pull_requests, pushes
from web.store.db import execute, fetch_row, transaction
from web.store.pushes import NewPush, PushOutcome


def only(
    api: ApiServer, *, branch: str = "main", kind: EventKind = EventKind.PUSH, request: int | None = None
) -> Groups:
    """A push by which nothing runs yet."""
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    ref = f"refs/pull/{request}/head" if request else f"refs/heads/{branch}"
    with transaction(api.db):
        found = fetch_row(api.db, "SELECT COUNT(*) AS n FROM push")
        assert found is not None
        event = PushEvent(kind=kind, ref=ref, before="0" * 40, after=api.commit.identifier, identity=str(found["n"]))
        push = pushes.add_push(api.db, NewPush(repository_id=repository.id, event=event, pull_request_id=request))
        assert push is not None
        pushes.finish_push(api.db, push, PushOutcome(commit_id=api.commit.id))
    return Groups(
        db=api.db,
        context=api.context,
        project=api.demo,
        commit=api.commit,
        user=api.admin,
        push_id=push,
        step="Train model",
    )


def shown(api: ApiServer, query: str = "") -> str:
    return words(api.client.get(f"/badge/demo.svg{query}").text)


STATES = [
    (State.CREATED, "running"),
    (State.STARTED, "running"),
    (State.COMPLETE, "passing"),
    (State.ERROR, "failing"),
    (State.STOPPED, "stopped"),
]


@pytest.mark.parametrize("kind", ["task", "pipeline"])
@pytest.mark.parametrize(("state", "word"), STATES)
def test_a_group_counts_by_its_own_state_from_its_beginning_on(
    api: ApiServer, kind: str, state: State, word: str
) -> None:
    end(api, pushed(api), "stopped" if state is State.COMPLETE else "complete")
    groups = only(api)
    group = groups.task("full") if kind == "task" else groups.pipeline("full", "a")
    if state is not State.CREATED:
        groups.move(group, state)
    assert shown(api) == f"demo: {word}"
    assert shown(api, f"?{kind}=full") == f"full: {word}"
    assert shown(api, f"?{kind}=none") == "none: unknown"


def test_what_failed_inside_a_group_that_goes_on_fails_nothing(api: ApiServer) -> None:
    """The task says what its failed executions mean, and the pipeline what its nodes do."""
    groups = only(api)
    task, pipeline = groups.task("search"), groups.pipeline("full", "a", "tune")
    inner = groups.task("tune", node=groups.node(pipeline, "tune"))
    groups.end(groups.trial(task, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.end(groups.trial(inner, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.end(groups.run(pipeline, "a"), State.ERROR, FailureReason.COMMAND_FAILED)
    groups.move(inner, State.ERROR)
    groups.move(task, State.COMPLETE)
    groups.move(pipeline, State.COMPLETE)
    assert shown(api) == "demo: passing"
    assert shown(api, "?task=search") == "search: passing"
    assert shown(api, "?task=tune") == "tune: unknown"
    end(api, pushed(api, before="1" * 40), "error")
    assert shown(api) == "demo: failing"
    assert shown(api, "?pipeline=full") == "full: passing"


def test_the_worst_of_all_that_a_push_made_is_shown(api: ApiServer) -> None:
    groups = only(api)
    groups.move(groups.task("search"), State.COMPLETE)
    assert shown(api) == "demo: passing"
    pipeline = groups.pipeline("full", "a")
    assert shown(api) == "demo: running"
    groups.move(pipeline, State.ERROR)
    assert shown(api) == "demo: failing"
    headers = api.client.get("/badge/demo.svg?pipeline=full").headers
    assert headers["Last-Modified"]


def test_a_step_is_shown_by_its_nodes_but_not_by_trials(api: ApiServer) -> None:
    groups = only(api)
    task, pipeline = groups.task("search"), groups.pipeline("full", "a")
    groups.end(groups.trial(task, 0), State.ERROR, FailureReason.COMMAND_FAILED)
    assert shown(api, "?step=Train model") == "Train model: unknown"
    groups.end(groups.run(pipeline, "a"), State.ERROR, FailureReason.COMMAND_FAILED)
    assert shown(api, "?step=Train model") == "Train model: failing"
    groups.end(groups.run(pipeline, "a"))  # the node was begun again
    assert shown(api, "?step=Train model") == "Train model: passing"


def test_a_metric_is_never_a_trials_but_its_tasks_best(api: ApiServer) -> None:
    single = pushed(api)
    printed(api, single, accuracy=0.5)
    end(api, single, "complete")
    groups = only(api)
    task = groups.task("search", 3)
    for place, accuracy in enumerate((0.1, 0.75, 0.3)):
        groups.end(groups.trial(task, place), accuracy=accuracy, note=f"trial {place}", place=place)
    assert shown(api, "?metric=accuracy&task=search") == "accuracy: unknown"  # it may get better
    groups.move(task, State.COMPLETE)
    failed = groups.task("search", 1)
    groups.end(groups.trial(failed, 0), accuracy=0.9)
    groups.move(failed, State.ERROR)
    assert shown(api, "?metric=accuracy") == "accuracy: 0.5"
    assert shown(api, "?metric=accuracy&step=Train model") == "accuracy: 0.5"
    assert shown(api, "?metric=accuracy&task=search") == "accuracy: 0.75"
    assert shown(api, "?metric=place&task=search") == "place: 1"
    assert shown(api, "?metric=note&task=search") == "note: no value"
    assert shown(api, "?metric=none&task=search") == "none: unknown"
    assert shown(api, "?metric=accuracy&task=none") == "accuracy: unknown"


def test_a_pipelines_metric_is_that_of_its_newest_execution_that_has_it(api: ApiServer) -> None:
    groups = only(api)
    pipeline = groups.pipeline("full", "train", "tune", "eval", "deploy")
    groups.end(groups.run(pipeline, "train"), accuracy=0.5)
    inner = groups.task("tune", node=groups.node(pipeline, "tune"))
    groups.end(groups.run(pipeline, "eval"), accuracy=0.625)
    groups.end(groups.trial(inner, 0), accuracy=0.9)
    groups.end(groups.run(pipeline, "deploy"))
    later = groups.pipeline("other", "a")
    groups.end(groups.run(later, "a"), accuracy=0.1)
    assert shown(api, "?metric=accuracy&pipeline=full") == "accuracy: 0.625"
    assert shown(api, "?metric=accuracy") == "accuracy: 0.1"
    assert shown(api, "?metric=accuracy&pipeline=none") == "accuracy: unknown"


def test_groups_that_its_pull_request_ran_are_those_of_a_push_of_the_same_commit(api: ApiServer) -> None:
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    head = PullRequestEvent(
        number=7, sha=api.commit.identifier, title="", author="", url="", head_branch="main", base_branch="x",
        from_fork=False,
    )  # fmt: skip
    with transaction(api.db):
        request = pull_requests.save(api.db, repository.id, head, head.sha, "2026-11-22T23:40:00.000000Z")
    asked = only(api, kind=EventKind.PULL_REQUEST, request=request.id)
    asked.move(asked.task("search"), State.COMPLETE)
    asked.move(asked.pipeline("full", "a"), State.ERROR)
    assert shown(api) == "demo: unknown"
    only(api)  # nothing runs twice
    assert shown(api) == "demo: failing"
    assert shown(api, "?task=search") == "search: passing"
    assert shown(api, "?pipeline=full") == "full: failing"
    execute(api.db, "UPDATE pull_request SET from_fork = 1")
    assert shown(api) == "demo: unknown"


def test_what_was_begun_by_hand_is_not_shown(api: ApiServer) -> None:
    groups = only(api)
    execute(api.db, "UPDATE pipeline SET push_id = NULL WHERE id = ?", (groups.pipeline("full", "a").id,))
    assert shown(api) == "demo: unknown"
    assert shown(api, "?pipeline=full") == "full: unknown"


def test_the_settings_page_offers_the_tasks_and_pipelines_that_there_are(api: ApiServer) -> None:
    person = Person(api)
    person.log_in()
    page = person.get("/p/demo/settings/badge/").text
    assert 'name="pipeline"' not in page
    groups = only(api)
    groups.move(groups.task("find (lr)"), State.ERROR)
    groups.move(groups.pipeline("full", "a"), State.COMPLETE)
    page = person.get("/p/demo/settings/badge/").text
    assert '<option value="find (lr)"' in page
    text, address = markdown(person.get("/p/demo/settings/badge/", query_string={"task": "find (lr)"}).text)
    assert text == r"find \(lr\)"
    assert words(api.client.get(address).text) == "find (lr): failing"
    _, address = markdown(person.get("/p/demo/settings/badge/", query_string={"pipeline": "full"}).text)
    assert words(api.client.get(address).text) == "full: passing"


def test_a_badge_costs_much_the_same_however_many_executions_a_task_has(api: ApiServer) -> None:
    groups = only(api)
    task = groups.task("search", 300)
    groups.end(groups.trial(task, 0), accuracy=0.5)
    asked = [
        BadgeQuery(project="demo"),
        BadgeQuery(project="demo", step="Train model"),
        BadgeQuery(project="demo", pipeline="none"),
        BadgeQuery(project="demo", metric="accuracy"),
        BadgeQuery(project="demo", metric="accuracy", step="Train model"),
    ]
    before = max(work(api, question) for question in asked)
    for place in range(1, 300):
        groups.trial(task, place)
    assert max(work(api, question) for question in asked) <= before + 3


def work(api: ApiServer, question: BadgeQuery) -> int:
    """What the database does to answer, in hundreds of its steps."""
    done = []
    api.db.conn.set_progress_handler(lambda: done.append(1), 100)
    badges.make_badge(api.context, question)
    api.db.conn.set_progress_handler(None, 0)
    return len(done)

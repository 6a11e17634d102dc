"""The page Activity: its pushes and deliveries, their order, and its filter."""

from __future__ import annotations

from api_server import ApiServer

from core.model import PushEvent
from core.states import State
from web.store import activity, deliveries, projects, pushes
from web.store.activity import Entry
from web.store.db import execute, transaction
from web.store.deliveries import DeliveryState, Received
from web.store.pushes import NewPush, PushOutcome, PushResult


def deliver(
    api: ApiServer, name: str, state: DeliveryState = DeliveryState.DONE, pushed: int = 0, launches: bool = False
) -> int:
    """Add a delivery with that many pushes, each of which launches an execution or nothing."""
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    row, _ = deliveries.store(api.db, Received(repository.id, "github", "push"), name)
    deliveries.finish(api.db, row, state, name)
    for number in range(pushed):
        event = PushEvent(ref=f"refs/heads/{number}", before="0" * 40, after="1" * 40, identity=f"{name} {number}")
        outcome = PushOutcome(text="outcome", commit_id=api.commit.id, result=PushResult.NOTHING)
        with transaction(api.db):
            push = pushes.add_push(
                api.db, NewPush(repository_id=repository.id, event=event, outcome=outcome, delivery_id=row)
            )
        if launches:
            execution = api.add_execution()
            execute(api.db, "UPDATE execution SET push_id = ? WHERE id = ?", (push, execution.id))
    return row


def find_refs(api: ApiServer) -> None:
    repository = projects.list_repositories(api.db, api.demo.id)[0]
    with transaction(api.db):
        pushes.add_found(api.db, repository.id, {"refs/heads/old": "2" * 40}, "found when the project was connected")


def names(found: list[Entry]) -> list[str]:
    return [entry.delivery.delivery_id if entry.delivery else entry.pushes[0].name for entry in found]


def test_pushes_without_a_delivery_are_among_the_deliveries_newest_first(api: ApiServer) -> None:
    deliver(api, "first", pushed=7)
    find_refs(api)
    deliver(api, "last")
    found = activity.list_entries(api.db, api.demo.id, 10, 0)
    assert names(found) == ["last", "old", "first"]
    assert (len(found[2].pushes), found[2].count) == (5, 7)
    assert activity.count(api.db, api.demo.id) == 3
    pages = [names(activity.list_entries(api.db, api.demo.id, 1, offset)) for offset in range(4)]
    assert pages == [["last"], ["old"], ["first"], []]


def test_failed_and_ignored_ones_are_all_that_ran_nothing_or_failed(api: ApiServer) -> None:
    deliver(api, "ran", pushed=1, launches=True)
    deliver(api, "ran nothing", pushed=1)
    deliver(api, "ignored", DeliveryState.IGNORED)
    deliver(api, "rejected", DeliveryState.REFUSED)
    deliver(api, "closed a pull request")
    failed = deliver(api, "its run failed", pushed=1, launches=True)
    sql = "UPDATE execution SET state = ? WHERE push_id IN (SELECT id FROM push WHERE delivery_id = ?)"
    execute(api.db, sql, (State.ERROR, failed))
    find_refs(api)
    found, total = activity.list_failed_and_ignored(api.db, api.demo.id, 10, 0)
    assert names(found) == ["old", "its run failed", "rejected", "ignored", "ran nothing"]
    assert total == 5
    assert names(activity.list_failed_and_ignored(api.db, api.demo.id, 2, 1)[0]) == ["its run failed", "rejected"]


def test_other_projects_have_no_part_in_it(api: ApiServer) -> None:
    deliver(api, "here", pushed=1)
    with transaction(api.db):
        other = projects.add(api.db, "other", api.demo.owner_id)
    assert activity.list_entries(api.db, other.id, 10, 0) == []
    assert activity.list_failed_and_ignored(api.db, other.id, 10, 0) == ([], 0)

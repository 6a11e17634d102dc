"""Which runner an execution is placed on."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.model import Runner
from web.services.scheduling.placement import compute_capacity, place
from web.store.executions import WaitingExecution
from web.store.runners import Load


def runner(
    number: int,
    slots: int = 2,
    gpus: int = 0,
    environments: tuple[str, ...] = ("default",),
    projects: tuple[str, ...] = (),
) -> Runner:
    info: dict[str, Any] = {"gpus": [{"uuid": f"GPU-{number}-{n}"} for n in range(gpus)]}
    return Runner(
        id=number, uuid=str(number), name=f"r{number}", environments=environments, slots=slots, draining=False,
        last_seen_at=None, info=info, most_slots=slots, projects=projects,
    )  # fmt: skip


def wants(number: int, gpus: int = 0, environment: str = "default") -> WaitingExecution:
    return WaitingExecution(number, 1, "demo", environment, gpus)


def placed(rooms: list[Any], waiting: list[WaitingExecution]) -> dict[int, int]:
    return {execution.id: chosen.id for execution, chosen in place(rooms, waiting)}


def test_the_runner_with_the_most_room_is_chosen() -> None:
    rooms = [compute_capacity(runner(1), Load(1, 0)), compute_capacity(runner(2))]
    assert placed(rooms, [wants(1), wants(2), wants(3), wants(4)]) == {1: 2, 2: 1, 3: 2}


def test_gpus_and_slots_are_counted_apart() -> None:
    rooms = [compute_capacity(runner(1, slots=1, gpus=2))]
    assert placed(rooms, [wants(1, 2), wants(2, 1), wants(3), wants(4)]) == {1: 1, 3: 1}


def test_only_runners_of_the_environment_count() -> None:
    rooms = [compute_capacity(runner(1)), compute_capacity(runner(2, environments=("gpu", "default"), gpus=1))]
    assert placed(rooms, [wants(1, 1, "gpu"), wants(2, 0, "other")]) == {1: 2}


def test_only_runners_that_take_the_project_count() -> None:
    rooms = [
        compute_capacity(runner(1, slots=9, projects=("other",))),
        compute_capacity(runner(2, slots=1, projects=("other", "demo"))),
    ]
    assert placed(rooms, [wants(1), wants(2)]) == {1: 2}


def test_one_that_needs_many_gpus_is_not_passed_by_those_that_need_few() -> None:
    rooms = [compute_capacity(runner(1, gpus=4), Load(0, 2)), compute_capacity(runner(2, gpus=1))]
    assert placed(rooms, [wants(1, 4), wants(2, 1), wants(3, 1)]) == {2: 2}


def test_one_that_no_runner_could_ever_take_holds_nobody_back() -> None:
    assert placed([compute_capacity(runner(1, gpus=2))], [wants(1, 8), wants(2, 2)]) == {2: 1}


@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=4),
    gpus=st.lists(st.integers(0, 5), max_size=20),
)
def test_no_runner_is_ever_given_more_than_it_has(sizes: list[tuple[int, int]], gpus: list[int]) -> None:
    fleet = [runner(number, slots, devices) for number, (slots, devices) in enumerate(sizes, 1)]
    chosen = list(place([compute_capacity(item) for item in fleet], [wants(n, count) for n, count in enumerate(gpus)]))
    for item, (slots, devices) in zip(fleet, sizes, strict=True):
        mine = [execution for execution, where in chosen if where.id == item.id]
        assert sum(not execution.gpus for execution in mine) <= slots
        assert sum(execution.gpus for execution in mine) <= devices

"""What a declared task runs: values and their order, the number of executions, and messages of refused ones."""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hostile_json import VALUES, places, spoil
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput, NotFound
from web.config.steps.parse import parse
from web.config.tasks.blueprint import OnChildError, list_task_names, load_task
from web.config.tasks.plan import load_search, plan

STEP = {
    "step": {
        "name": "train",
        "image": "busybox",
        "command": "train {parameters}",
        "parameters": [
            {"name": "lr", "type": "float", "default": 0.1},
            {"name": "n", "type": "integer", "default": 3, "min": 1, "max": 64},
            {"name": "opt", "type": "string", "default": "adam", "choices": ["adam", "sgd"]},
            {"name": "layers", "type": "integer", "multiple": "separate", "default": [1, 2]},
            {"name": "augment", "type": "flag"},
        ],
    }
}


def config(*variants: tuple[str, str, dict[str, Any]], **keys: Any) -> list[Any]:
    parameters = [{"name": name, "style": style, "rules": rules} for name, style, rules in variants]
    task = {"name": "search", "step": "train", "parameters": parameters}
    return [STEP, {"task": task | {key.replace("_", "-"): value for key, value in keys.items()}}]


def tried(declared: list[Any], given: dict[str, Any] | None = None, seed: int | None = None) -> list[dict[str, Any]]:
    found = load_search(declared, "search", given or {}, seed)
    return [found.values(trial) for trial in range(found.count)]


def refused(declared: list[Any], given: dict[str, Any] | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        plan(declared, "search", parameters=given)
    return str(caught.value)


def of(name: str, declared: list[Any], **more: Any) -> list[Any]:
    return [values[name] for values in tried(declared, **more)]


def test_a_grid_tries_all_combinations_in_declared_order_the_last_parameter_fastest() -> None:
    declared = config(
        ("opt", "multiple", {"items": ["sgd", "adam"]}), ("n", "linear", {"start": 1, "end": 5, "step": 2})
    )
    assert [(values["opt"], values["n"]) for values in tried(declared)] == [
        *(("sgd", 1), ("sgd", 3), ("sgd", 5)),
        *(("adam", 1), ("adam", 3), ("adam", 5)),
    ]
    found = plan(declared, "search")
    assert found.count == 6
    assert found.first.parameters == {"lr": 0.1, "n": 1, "opt": "sgd", "layers": [1, 2], "augment": False}
    assert found.first.commands == ("train --lr=0.1 --n=1 --opt=sgd --layers=1,2",)


@pytest.mark.parametrize(
    ("rules", "values"),
    [
        ({"start": 0, "end": 1, "step": 0.1}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),
        ({"start": 0, "end": 1, "step": 0.3333333333}, [0, 0.3333333333, 0.6666666666, 0.9999999999]),
        ({"start": 0, "end": 1, "step": 0.4}, [0, 0.4, 0.8]),
        ({"start": 3, "end": 1, "step": -1}, [3, 2, 1]),
        ({"start": 2, "end": 2, "step": 1}, [2]),
        ({"start": 0, "end": 2, "step": 0.5, "integerify": True}, [0, 1, 2]),
    ],
)
def test_linear_includes_its_end(rules: dict[str, Any], values: list[float]) -> None:
    assert of("lr", config(("lr", "linear", rules))) == values


@pytest.mark.parametrize(
    ("rules", "values"),
    [
        ({"start": -5, "end": -1, "count": 5}, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        ({"min": -5, "max": -1, "count": 5}, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        ({"start": 0, "end": 3, "count": 4, "base": 2}, [1, 2, 4, 8]),
        ({"start": 2, "end": 2, "count": 1}, [100]),
        ({"start": 0, "end": 1, "count": 5, "integerify": True}, [1, 2, 3, 6, 10]),
        ({"start": 0, "end": 0.3, "count": 3, "integerify": True}, [1, 2]),
    ],
)
def test_logspace_goes_by_the_exponents_and_whole_numbers_come_once(rules: dict[str, Any], values: list[float]) -> None:
    assert of("lr", config(("lr", "logspace", rules))) == pytest.approx(values)


def test_values_take_the_type_that_the_step_declares() -> None:
    declared = config(
        ("lr", "multiple", {"items": ["1e-3"], "numberify": True}),
        ("n", "logspace", {"start": 0, "end": 1, "count": 2}),
        ("augment", "multiple", {"items": [True, False]}),
        ("layers", "multiple", {"items": [[3, 4], 5]}),
    )
    first = plan(declared, "search").first.parameters
    assert first == {"lr": 0.001, "n": 1, "opt": "adam", "layers": [3, 4], "augment": True}
    assert plan(declared, "search").count == 8


def test_a_single_value_is_not_varied() -> None:
    assert tried(config(("n", "single", {"value": 7}))) == [{"n": 7}]


def test_a_grid_draws_the_values_of_the_style_random_once_whole_ones_without_repeats() -> None:
    declared = config(
        ("n", "random", {"min": 1, "max": 4, "count": 9, "seed": 5}), ("lr", "random", {"min": 0, "max": 1, "count": 3})
    )
    first = tried(declared)
    assert len(first) == 12
    assert {values["n"] for values in first} == {1, 2, 3, 4}
    assert len({values["lr"] for values in first}) == 3
    assert tried(declared) == first
    assert tried(declared, seed=6) != first


def test_a_random_search_draws_each_execution_by_seed_and_place() -> None:
    declared = config(
        ("lr", "random", {"min": 0.001, "max": 1, "distribution": "loguniform"}),
        ("n", "random", {"min": 1, "max": 64}),
        ("opt", "multiple", {"items": ["adam", "sgd"]}),
        type="random_search",
        execution_count=200,
    )
    first = tried(declared, seed=1)
    assert len(first) == plan(declared, "search").count == 200
    assert tried(declared, seed=1) == first
    assert tried(declared, seed=2) != first
    assert {values["opt"] for values in first} == {"adam", "sgd"}
    assert all(type(values["n"]) is int and 1 <= values["n"] <= 64 for values in first)
    below = sum(values["lr"] < 0.0316 for values in first)
    assert 60 < below < 140  # half of the decades, not half of the range
    shorter = copy.deepcopy(declared)
    shorter[1]["task"]["execution-count"] = 5
    assert tried(shorter, seed=1) == first[:5]


@pytest.mark.parametrize("distribution", ["uniform", "log", "loguniform", "normal"])
@pytest.mark.parametrize("whole", [True, False])
def test_draws_stay_between_min_and_max(distribution: str, whole: bool) -> None:
    rules = {"min": 1.5, "max": 4.5, "distribution": distribution, "integerify": whole}
    declared = config(("lr", "random", rules), type="random-search", execution_count=300)
    values = of("lr", declared)
    assert all(1.5 <= value <= 4.5 for value in values)
    assert set(values) == {2, 3, 4} if whole else len(set(values)) > 250


def test_searches_without_a_count_run_ten_and_thirty() -> None:
    rules = {"min": 0, "max": 1}
    assert plan(config(("lr", "random", rules), type="random_search"), "search").count == 10
    bayesian = config(("lr", "random", rules), type="bayesian_tpe", optimization_target_metric="loss")
    assert plan(bayesian, "search").count == 30


def test_a_bayesian_search_is_no_longer_than_there_are_combinations() -> None:
    few = ("opt", "multiple", {"items": ["adam", "sgd"]}), ("n", "random", {"min": 1, "max": 3})
    assert plan(config(*few, type="bayesian_tpe", optimization_target_metric="loss"), "search").count == 6


def test_a_manual_search_runs_its_sets() -> None:
    declared = config(
        ("opt", "single", {"value": "sgd"}),
        type="manual_search",
        parameter_sets=[{"n": 1, "layers": [3, 4]}, {"n": 2, "lr": None}, {"opt": "adam"}],
    )
    assert tried(declared) == [{"opt": "sgd", "n": 1, "layers": [3, 4]}, {"opt": "sgd", "n": 2}, {"opt": "adam"}]


def test_a_manual_search_without_sets_takes_lists_side_by_side() -> None:
    lists = ("n", "multiple", {"items": [1, 2]}), ("lr", "multiple", {"items": [0.1, 0.2]})
    declared = config(*lists, ("opt", "single", {"value": "sgd"}), type="manual_search")
    assert tried(declared) == [{"opt": "sgd", "n": 1, "lr": 0.1}, {"opt": "sgd", "n": 2, "lr": 0.2}]


def test_a_given_parameter_is_no_longer_varied() -> None:
    declared = config(("opt", "multiple", {"items": ["adam", "sgd"]}), ("n", "multiple", {"items": [1, 2, 3]}))
    found = plan(declared, "search", parameters={"n": "64", "lr": None})
    assert found.count == 2
    assert found.first.parameters["n"] == 64
    sets = config(type="manual_search", parameter_sets=[{"n": 1, "lr": 1}, {"n": 2, "lr": 2}])
    assert tried(sets, {"n": 5}) == [{"lr": 1}, {"lr": 2}]
    assert plan(declared, "search", parameters={"n": 5, "opt": "sgd"}).count == 1


def test_a_task_without_variants_runs_its_step_once() -> None:
    assert plan(config(), "search").count == 1


def test_the_plan_keeps_what_the_task_needs_and_no_more() -> None:
    declared = [*config(), {"step": STEP["step"] | {"name": "other"}}]
    found = plan(declared, "search", parameters={"n": 1}, inputs={}, environment_variables={"A": "b"})
    assert found.config == [declared[1], STEP]
    assert (found.parameters, found.environment_variables) == ({"n": 1}, {"A": "b"})
    assert plan(found.config, "search").count == 1


def test_what_is_given_is_checked_as_for_a_step() -> None:
    assert refused(config(), {"nope": 1}).startswith(
        'task "search" cannot run: there is no parameter "nope"; there are: lr'
    )
    assert "65 is greater than the maximum allowed (64)" in refused(config(), {"n": 65})


def test_names_and_the_last_of_two_with_one_name() -> None:
    declared = [*config(("n", "multiple", {"items": [1, 2]})), *config(("n", "multiple", {"items": [1, 2, 3]}))]
    assert list_task_names(declared) == ("search",)
    assert plan(declared, "search").count == 3
    with pytest.raises(NotFound, match='there is no task "x"; there are: search'):
        load_task(declared, "x")
    assert list_task_names(None) == list_task_names([{"step": {"name": "a"}}]) == ()


REFUSED = [
    (("lr", "linear", {"start": 0, "end": 1, "step": 0}), "step is 0; it must lead from start to end"),
    (("lr", "linear", {"start": 0, "end": 1, "step": 1e-300}), "more than 1,000,000,000,000,000 values; use a larger step"),
    (("lr", "linear", {"start": 0, "end": 1, "step": 1e-5}), "it would create 100,001 executions; a task has at most 1,000"),
    (("lr", "linear", {"start": 0, "end": 1, "step": -1}), "a step of -1 does not lead from 0 to 1"),
    (("lr", "linear", {"start": 0, "end": 1}), "its rules need step"),
    (("lr", "linear", {"start": "0", "end": 1, "step": 1}), "start is '0', which is not a usable number"),
    (("lr", "linear", {"start": float("nan"), "end": 1, "step": 1}), "start is nan, which is not a usable number"),
    (("lr", "linear", {"start": 0, "end": float("inf"), "step": 1}), "end is inf, which is not a usable number"),
    (("lr", "linear", {"start": 0, "end": 10**400, "step": 1}), "which is not a usable number"),
    (("lr", "linear", {"start": True, "end": 1, "step": 1}), "start is True, which is not a usable number"),
    (("lr", "logspace", {"start": 0, "end": 1, "count": 1e12}), "there are 1,000,000,000,000 values; at most 1,000 are allowed"),
    (("lr", "logspace", {"start": 0, "end": 1, "count": 1.5}), "count is 1.5; it must be a whole number, 1 or more"),
    (("lr", "logspace", {"start": 0, "end": 1, "count": 0}), "count is 0; it must be a whole number, 1 or more"),
    (("lr", "logspace", {"start": 0, "end": 1}), "its rules need count"),
    (("lr", "logspace", {"end": 1, "count": 1}), "its rules need start or min"),
    (("lr", "logspace", {"start": 0, "end": 400, "count": 2}), "10 to the power of 400 is too large a number"),
    (("lr", "logspace", {"start": -400, "end": 0, "count": 2}), "10 to the power of -400 is too small a number"),
    (("lr", "logspace", {"start": 0, "end": 1, "count": 2, "base": -2}), "base is -2; it must be greater than 0"),
    (("lr", "random", {"min": 0, "max": 1}), "its rules need count"),
    (("lr", "random", {"min": 1, "max": 0, "count": 1}), "min is 1 and max is 0, which is less"),
    (("lr", "random", {"min": 0, "max": 1, "count": 1, "distribution": "log"}), "on a logarithmic scale it must be greater than 0"),
    (("lr", "random", {"min": 0, "max": 1, "count": 1, "distribution": "zipf"}), 'there is no distribution "zipf"; there are: '),
    (("n", "random", {"min": 1.2, "max": 1.8, "count": 1}), "there is no whole number between min and max"),
    (("n", "linear", {"start": 1, "end": 2, "step": 0.5}), '"n": 1.5 is not an integer'),
    (("n", "multiple", {"items": [1, 65]}), '"n": 65 is greater than the maximum allowed (64)'),
    (("opt", "multiple", {"items": ["adam", "lion"]}), "lion is not among the choices allowed"),
    (("opt", "linear", {"start": 1, "end": 2, "step": 1}), "the style linear cannot use its choices"),
    (("augment", "random", {"min": 0, "max": 1, "count": 1}), "the style random cannot use its choices"),
    (("lr", "multiple", {"items": [1, {"a": 1}]}), "{'a': 1} is not a value of type float"),
    (("lr", "multiple", {"items": [[1, 2]]}), "one value is expected, got [1, 2]"),
    (("lr", "multiple", {"items": []}), "the style multiple needs items"),
    (("lr", "multiple", {"items": [0.1] * 1001}), "there are 1,001 values; at most 1,000 are allowed"),
    (("lr", "single", {}), "the style single needs a value"),
    (("nope", "single", {"value": 1}), 'there is no parameter "nope"; there are: lr, n, opt, layers, augment'),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "said"), REFUSED)
def test_rules_that_cannot_be_used_are_refused_in_a_sentence(
    variant: tuple[str, str, dict[str, Any]], said: str
) -> None:
    message = refused(config(variant))
    assert message.startswith('task "search" cannot run: ')
    assert said in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"type": "distributed"}, "distributed tasks are not supported here"),
        ({"type": "simulated_annealing"}, "is not a valid TaskType"),
        ({"type": "bayesian_tpe"}, "needs optimization-target-metric"),
        ({"parameter_sets": [{"n": 1}]}, "parameter-sets are for `type: manual_search`, but the type is grid_search"),
        ({"type": "manual_search", "parameter_sets": [{"nope": 1}]}, 'there is no parameter "nope"'),
        ({"type": "manual_search", "parameter_sets": [{"n": 1}, {"n": [1]}]}, "one value is expected, got [1]"),
        ({"type": "manual_search", "parameter_sets": [{"n": 1}] * 1001}, "it would create 1,001 executions"),
        ({"type": "random_search", "execution_count": 10**9}, "it would create 1,000,000,000 executions"),
        ({"type": "random_search", "execution_count": 0}, "execution-count is 0; it must be a whole number, 1 or more"),
        ({"maximum_queued_executions": -1}, "maximum-queued-executions is -1"),
        ({"execution_batch_size": True}, "execution-batch-size is True"),
        ({"on_child_error": "panic"}, "is not a valid TaskOnChildError"),
        ({"stop_condition": "9**9**9"}, "stop-condition: '9**9**9' is not a valid condition"),
        ({"step": "gone"}, 'there is no step "gone"; there are: train'),
        (
            {"parameters": [{"name": "n", "style": "single", "rules": {"value": 1}}] * 2},
            'parameter "n" is declared 2 times',
        ),
    ],
)
def test_tasks_that_cannot_run_are_refused_in_a_sentence(keys: dict[str, Any], said: str) -> None:
    assert said in refused(config(**keys))


def test_a_manual_search_of_lists_of_unequal_length_is_refused() -> None:
    lists = ("n", "multiple", {"items": [1, 2]}), ("lr", "multiple", {"items": [1, 2, 3]})
    assert "all parameters need as many items as there are executions: n 2, lr 3" in refused(
        config(*lists, type="manual_search")
    )
    sets = config(*lists[:1], type="manual_search", parameter_sets=[{"lr": 1}])
    assert "with parameter-sets, a parameter has one value, but n has several" in refused(sets)
    linear = config(("n", "linear", {"start": 1, "end": 2, "step": 1}), type="manual_search")
    assert "takes the styles single and multiple; change n" in refused(linear)


def test_a_grid_of_huge_dimensions_is_counted_and_not_expanded() -> None:
    step = copy.deepcopy(STEP)
    step["step"]["parameters"] = [{"name": f"p{i}", "type": "float"} for i in range(1000)]
    rules = {"start": -3, "end": 3, "count": 1000}
    parameters = [{"name": f"p{i}", "style": "logspace", "rules": rules} for i in range(1000)]
    began = time.thread_time()
    said = refused([step, {"task": {"name": "search", "step": "train", "parameters": parameters}}])
    assert "it would create more than 1,000,000,000,000,000 executions" in said
    assert time.thread_time() - began < 2


def test_keys_without_effect_are_noted() -> None:
    declared = config(
        ("lr", "random", {"min": 0, "max": 1}),
        type="bayesian_tpe",
        optimization_target_metric="loss",
        engine="hyperopt",
        reuse_children=True,
    )
    assert load_task(declared, "search").notes == (
        "reuse-children is ignored: every execution runs",
        'engine "hyperopt" is ignored: only optuna is supported',
        'there is no optimization-target-value: "loss" is minimized if its name contains loss or error, else maximized',
    )
    grid = load_task(config(execution_count=4, execution_batch_size=2), "search")
    assert [note.partition(" is ignored")[0] for note in grid.notes] == ["execution-count", "execution-batch-size"]
    assert grid.on_child_error is OnChildError.CONTINUE_AND_ERROR


def test_the_commit_page_says_which_tasks_cannot_run() -> None:
    advice = parse(
        b"""
- step: {name: train, image: a, command: b, parameters: [{name: n, type: integer, default: 1}]}
- task: {name: good, step: train, parameters: [{name: n, style: multiple, rules: {items: [1, 2]}}]}
- task: {name: lost, step: gone, parameters: []}
- task: {name: many, step: train, type: distributed, parameters: []}
- task: {name: huge, step: train, parameters: [{name: n, style: linear, rules: {start: 1, end: 5000, step: 1}}]}
- task: {name: again, step: train, reuse-children: true, parameters: []}
"""
    ).problems
    assert advice == (
        'task "lost": there is no step "gone"; there are: train',
        'task "many" cannot run: distributed tasks are not supported here; a step of one execution can use several GPUs',
        'task "huge" cannot run: it would create 5,000 executions; a task has at most 1,000',
        'task "again": reuse-children is ignored: every execution runs',
    )


def test_the_example_of_the_documentation_runs_without_advice() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    found = parse(text.encode())
    assert {name: plan(found.config, name).count for name in list_task_names(found.config)} == {
        "lr-search": 8,
        "tune": 40,
    }
    assert found.problems == ()


HOSTILE_NUMBERS = st.sampled_from(
    [0, 1, -1, 1e-300, 1e300, 1e308, -1e308, 10**30, 1e12, float("nan"), float("inf"), "1", True]
)
RULES = st.dictionaries(
    st.sampled_from(
        ["start", "end", "step", "min", "max", "count", "base", "value", "items", "distribution", "seed", "integerify"]
    ),
    HOSTILE_NUMBERS | VALUES | st.lists(HOSTILE_NUMBERS, max_size=3),
)
VARIANTS = st.tuples(
    st.sampled_from(["lr", "n", "opt", "layers", "augment", "nope"]),
    st.sampled_from(["single", "multiple", "linear", "logspace", "random"]),
    RULES,
)
TYPES = st.sampled_from(["grid_search", "random_search", "manual_search", "bayesian_tpe"])


@settings(max_examples=200)
@given(st.lists(VARIANTS, max_size=3), TYPES, st.integers(0, 3))
def test_hostile_rules_are_refused_or_plan_values_that_the_step_takes(variants: Any, kind: str, seed: int) -> None:
    declared = config(*variants, type=kind, optimization_target_metric="loss")
    began = time.thread_time()
    try:
        found = load_search(declared, "search", {}, seed)
    except InvalidInput:
        return
    assert 1 <= found.count <= 1000
    values = [found.values(trial) for trial in range(0, found.count, max(found.count // 10, 1))]
    assert plan(config(type="manual_search", parameter_sets=[{"n": 1}, *values]), "search").count >= 1
    assert time.thread_time() - began < 2


@settings(max_examples=200)
@given(st.data())
def test_hostile_tasks_that_the_schema_lets_through_are_refused_or_can_run(data: st.DataObject) -> None:
    declared = copy.deepcopy(config(("lr", "multiple", {"items": [1]}), type="grid_search", execution_count=1))
    assert places(declared[1])
    spoil(data, declared[1]["task"])
    with suppress(InvalidInput):  # and nothing else
        stored = parse(orjson.dumps(declared)).config
        for name in list_task_names(stored):
            assert plan(stored, name).count >= 1

"""Rules and directives about tasks and pipelines, beside steps of the same names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import EventKind, PushEvent, Target, TargetKind
from web.config.steps.parse import parse
from web.services.triggers import rules
from web.services.triggers.record import format_run_counts
from web.services.triggers.rules import Choice, Facts, Rule, globs
from web.services.triggers.rules.choice import MAX_TARGETS

# a step, a task and a pipeline that are all called train
YAML = b"""
- step:
    name: prepare
    image: i
    command: c
- step:
    name: train
    image: i
    command: c
    parameters:
      - {name: epochs, type: integer, default: 1}
      - {name: rate, type: float, default: 0.5}
      - {name: layers, type: integer, multiple: separate, default: [3]}
    inputs: [{name: data, optional: true}]
- task: {name: train, step: train, parameters: [{name: rate, style: multiple, rules: {items: [0.1, 0.2, 0.3]}}]}
- task: {name: broken, step: train, parameters: [{name: nope, style: multiple, rules: {items: [1, 2]}}]}
- pipeline:
    name: train
    parameters:
      - {name: length, default: 2, targets: [fit.parameters.epochs]}
      - {name: sizes, targets: [fit.parameters.layers]}
    nodes:
      - {name: ready, type: execution, step: prepare}
      - {name: fit, type: execution, step: train}
    edges: [[ready.output.*, fit.input.data]]
- pipeline:
    name: search
    nodes:
      - {name: ready, type: execution, step: prepare}
      - {name: look, type: task, task: train}
    edges: [[ready.output.*, look.input.data]]
"""
SWEPT = b"""
- pipeline:
    name: swept
    parameters:
      - {name: rates, targets: [look.parameters.rate]}
      - {name: both, targets: [look.parameters.rate, one.parameters.rate]}
      - {name: mixed, targets: [look.parameters.layers, look.parameters.epochs]}
    nodes:
      - {name: one, type: execution, step: train}
      - {name: look, type: task, task: train}
    edges: [[one.output.*, look.input.data]]
"""
STEP, TASK, PIPELINE = TargetKind


@pytest.fixture(scope="module")
def config() -> Any:
    return parse(YAML).config


def event(*options: str, ref: str = "refs/heads/main") -> PushEvent:
    return PushEvent(ref=ref, before="0" * 40, after="a" * 40, options=options)


def labels(choice: Choice) -> list[str]:
    return [chosen.target.label for chosen in choice.run]


def chosen_by(config: Any, *listed: Rule) -> Choice:
    return rules.choose(config, event(), "", rules=listed)


def test_without_rules_tasks_and_pipelines_do_not_run(config: Any) -> None:
    choice = rules.choose(config, event(), "")
    assert labels(choice) == ["prepare", "train"]
    assert choice.skipped == ()


def test_a_rule_that_names_pipelines_or_tasks_alone_chooses_no_step(config: Any) -> None:
    choice = chosen_by(config, *rules.parse('[[rule]]\nname = "r"\npipelines = ["*"]\n'))
    assert labels(choice) == ["pipeline train", "pipeline search"]
    choice = chosen_by(config, *rules.parse('[[rule]]\nname = "r"\ntasks = ["train"]\nsteps = ["*"]\n'))
    assert labels(choice) == ["prepare", "train", "task train"]


def test_steps_are_launched_before_tasks_and_those_before_pipelines_whatever_the_order_of_the_rules(
    config: Any,
) -> None:
    choice = chosen_by(
        config,
        Rule(name="last", steps=(), pipelines=("!search",), tasks=("tr*",)),
        Rule(name="first", steps=("!train",), pipelines=("search",)),
    )
    assert labels(choice) == ["prepare", "task train", "pipeline train", "pipeline search"]
    assert [chosen.rule.name for chosen in choice.run] == ["first", "last", "last", "first"]


def test_what_is_not_there_and_what_cannot_run_is_skipped_with_the_reason(config: Any) -> None:
    choice = chosen_by(config, Rule(name="r", steps=(), tasks=("none", "broken"), pipelines=("none", "no*")))
    assert choice.run == ()
    skipped = dict(choice.skipped)
    assert list(skipped) == ["task broken", "task none", "pipeline none"]
    assert skipped["task broken"].startswith('there is no parameter "nope"')
    assert skipped["task none"].startswith('there is no task "none"')
    assert skipped["pipeline none"].startswith('there is no pipeline "none"')


@pytest.mark.parametrize(
    ("options", "message", "expected"),
    [
        (("pushmill.task=train",), "", ["task train"]),
        (("pushmill.pipeline=train", "pushmill.task=train"), "", ["task train", "pipeline train"]),
        (("pushmill.pipeline=search", "pushmill.pipeline=search"), "x\n\nPushmill-Step: train", ["pipeline search"]),
        ((), "x\n\nPushmill-Task: train\npushmill-PIPELINE: train\nPushmill-Step: prepare",
         ["prepare", "task train", "pipeline train"]),
        (("pushmill.tasks=train",), "", ["pipeline search"]),  # nothing that there is: the rules decide
    ],
)  # fmt: skip
def test_naming_anything_replaces_what_rules_choose(
    config: Any, options: tuple[str, ...], message: str, expected: list[str]
) -> None:
    listed = [Rule(name="r", steps=(), pipelines=("search",))]
    choice = rules.choose(config, event(*options), message, rules=listed)
    assert labels(choice) == expected
    assert choice.named == (expected != ["pipeline search"] or "search" in str(options))


def test_what_is_named_gets_where_and_how_from_the_rule_that_chooses_the_same_kind_of_it(config: Any) -> None:
    listed = [
        Rule(name="steps", steps=("train",), priority=1, cancel_older=True),
        Rule(name="tasks", steps=(), tasks=("train",), priority=2, environment="gpu"),
    ]
    wished = event("pushmill.task=train", "pushmill.pipeline=train")
    task, pipeline = rules.choose(config, wished, "", rules=listed).run
    assert (task.rule.priority, task.environment, task.rule.cancel_older) == (2, "gpu", False)
    assert (pipeline.rule, pipeline.rule.priority, pipeline.environment) == (rules.NO_RULE, 0, "")


def test_a_value_of_a_rule_goes_to_the_step_of_a_task_and_to_what_a_pipeline_declares(config: Any) -> None:
    rule = Rule(
        name="r",
        tasks=("train",),
        steps=("train",),
        pipelines=("*",),
        parameters={"rate": 0.9, "length": 7, "sizes": [1, 2], "none": 1},
    )
    choice = chosen_by(config, rule)
    step, task, pipeline, search = (chosen.plan for chosen in choice.run)
    assert step.parameters == {"epochs": 1, "rate": 0.9, "layers": [3]}
    assert (task.parameters, task.count) == ({"rate": 0.9}, 1)  # the search varies it no longer
    assert pipeline.parameters == {"length": 7, "sizes": [1, 2]}
    assert search.parameters == {}
    assert choice.skipped == (("parameter none of rule r", "nothing that the rule chooses has it"),)


def test_a_value_that_the_pusher_names_goes_before_a_rule_s(config: Any) -> None:
    rule = Rule(name="r", steps=(), tasks=("train",), pipelines=("train",), parameters={"epochs": 3, "length": 3})
    given = (
        *("pushmill.parameter=epochs=5", "pushmill.parameter=length=8"),
        *("pushmill.parameter=sizes=4", "pushmill.parameter=x=1"),
    )
    choice = rules.choose(config, event(*given), "", rules=[rule])
    task, pipeline = (chosen.plan for chosen in choice.run)
    assert (task.parameters, task.count) == ({"epochs": "5"}, 3)
    assert task.first.parameters["epochs"] == 5
    assert pipeline.parameters == {"length": "8", "sizes": ["4"]}  # which its nodes take as they are declared
    assert choice.skipped == (("parameter x", "nothing that runs has it"),)


def test_a_parameter_that_is_named_twice_is_a_list_where_one_is_meant_and_an_error_elsewhere() -> None:
    config = parse(YAML + SWEPT).config
    given = [f"pushmill.parameter={text}" for text in ("rate=0.25", "rate=0.75", "layers=1", "layers=2", "rates=0.5")]
    wished = event(
        "pushmill.step=train", "pushmill.task=train", "pushmill.pipeline=swept", *given, "pushmill.parameter=rates=1"
    )
    choice = rules.choose(config, wished, "")
    task, pipeline = (chosen.plan for chosen in choice.run)
    assert (task.parameters, task.count) == ({"layers": ["1", "2"]}, 2)
    assert task.first.parameters == {"epochs": 1, "rate": 0.25, "layers": [1, 2]}
    assert task.config[0]["task"]["parameters"][0]["rules"] == {"items": ["0.25", "0.75"]}
    assert pipeline.parameters == {"rates": ["0.5", "1"]}
    assert choice.skipped == (("train", 'parameter "rate" takes one value and was given 2: "0.25", "0.75"'),)


@pytest.mark.parametrize(("name", "runs"), [("length", False), ("both", False), ("sizes", True), ("mixed", True)])
def test_a_pipeline_s_parameter_is_a_list_where_all_that_it_goes_to_take_several(name: str, runs: bool) -> None:
    config = parse(YAML + SWEPT).config
    pipeline = "train" if name in ("length", "sizes") else "swept"
    options = [f"pushmill.parameter={name}={number}" for number in (1, 2)]
    choice = rules.choose(config, event(f"pushmill.pipeline={pipeline}", *options), "")
    if runs:
        assert choice.run[0].plan.parameters == {name: ["1", "2"]}  # type: ignore[union-attr]
    else:
        reason = f'parameter "{name}" takes one value and was given 2: "1", "2"'
        assert (choice.run, choice.skipped) == ((), ((f"pipeline {pipeline}", reason),))


def test_at_most_so_many_run_for_one_event_whatever_they_are_and_the_rest_is_said() -> None:
    each = MAX_TARGETS // 2 + 1
    steps = "".join(f"- step: {{name: s{n}, image: i, command: c}}\n" for n in range(each))
    tasks = "".join(
        f"- task: {{name: t{n}, step: s{n}, type: manual_search, parameters: [], parameter-sets: [{{}}]}}\n"
        for n in range(each)
    )
    config = parse((steps + tasks).encode()).config
    choice = chosen_by(config, Rule(name="r", tasks=("*",)))
    assert len(choice.run) + len([label for label, _ in choice.skipped if label.startswith("task")]) == MAX_TARGETS
    assert choice.skipped[-1] == ("2 more", f"at most {MAX_TARGETS} run for one event")


def test_a_rule_supersedes_only_what_is_of_the_kind_that_it_names(config: Any) -> None:
    choice = chosen_by(config, Rule(name="r", steps=(), tasks=("train", "old-*"), cancel_older=True))
    older = [Target(kind=kind, name=name) for kind in TargetKind for name in ("train", "old-1")]
    assert [target.label for target in older if choice.supersedes(target)] == ["task train", "task old-1"]
    listed = [Rule(name="r", steps=(), tasks=("*",), cancel_older=True)]
    named = rules.choose(config, event("pushmill.task=train"), "", rules=listed)
    assert [target.label for target in older if named.supersedes(target)] == ["task train"]


NAMES = ("train", "prepare", "search", "broken", "none")
PATTERNS = st.lists(st.sampled_from([*NAMES, "*", "tr*", "!train", "s?arch"]), max_size=3).map(tuple)
RULES = st.lists(st.builds(Rule, name=st.just("r"), steps=PATTERNS, tasks=PATTERNS, pipelines=PATTERNS), max_size=4)
WISHES = st.lists(st.tuples(st.sampled_from(["step", "task", "pipeline"]), st.sampled_from(NAMES)), max_size=4)
PARSED = parse(YAML).config


@given(listed=RULES, options=WISHES, trailers=WISHES)
def test_nothing_is_chosen_twice_and_each_by_the_first_rule_that_includes_it(
    listed: list[Rule], options: list[tuple[str, str]], trailers: list[tuple[str, str]]
) -> None:
    told = [f"pushmill.{kind}={name}" for kind, name in options]
    message = "x\n\n" + "\n".join(f"Pushmill-{kind.title()}: {name}" for kind, name in trailers)
    choice = rules.choose(PARSED, event(*told), message, rules=listed)
    targets = [chosen.target for chosen in choice.run]
    assert len(set(targets)) == len(targets)
    assert len({label for label, _ in choice.skipped}) == len(choice.skipped)
    assert {target.label for target in targets}.isdisjoint(label for label, _ in choice.skipped)
    assert [target.kind for target in targets] == sorted(
        (target.kind for target in targets), key=list(TargetKind).index
    )
    wished = options or trailers
    assert choice.named == bool(wished)
    if wished:
        assert {(str(target.kind), target.name) for target in targets} <= set(wished)
    for chosen in choice.run:
        including = [
            rule
            for rule in listed
            if globs.includes(rule.patterns[chosen.target.kind], chosen.target.name, parts=False)
        ]
        assert chosen.rule is next(iter(including), rules.NO_RULE)
        assert wished or including


def test_a_tag_and_a_schedule_have_no_trailers_for_tasks_either(config: Any) -> None:
    message = "x\n\nPushmill-Task: train"
    listed = [Rule(name="r", events=("tag", "schedule"), schedule="0 3 * * *", steps=(), pipelines=("train",))]
    planned = PushEvent(kind=EventKind.SCHEDULE, ref="refs/heads/x", before="a", after="a")
    for made in (event(ref="refs/tags/v1"), planned):
        assert labels(rules.choose(config, made, message, rules=listed, facts=Facts(rule="r"))) == ["pipeline train"]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([STEP], "1 execution"),
        ([STEP] * 3, "3 executions"),
        ([TASK], "1 task"),
        ([PIPELINE] * 2, "2 pipelines"),
        ([STEP, PIPELINE, STEP, TASK], "2 executions, 1 task and 1 pipeline"),
        ([TASK, PIPELINE], "1 task and 1 pipeline"),
    ],
)
def test_what_was_launched_is_counted_in_words(kinds: list[TargetKind], said: str) -> None:
    assert format_run_counts(kinds) == said

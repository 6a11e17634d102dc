"""Declared pipelines: how they are read, which are refused with which message, and the order of nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CannotRun, InvalidInput, NotFound
from web.config.pipelines import graph
from web.config.pipelines.blueprint import (
    MAX_EDGES,
    MAX_NODES,
    NAME_CHARS,
    STEPS_CHARS,
    THENS,
    WHENS,
    list_pipeline_names,
    load_pipeline,
)
from web.config.pipelines.graph import compute_layers
from web.config.pipelines.model import Node, NodeAction, OnError, PipelineBlueprint
from web.config.pipelines.override import MERGED
from web.config.pipelines.plan import plan
from web.config.pipelines.values import NodeValues, make_matcher, merge_values
from web.config.steps.parse import parse
from web.config.steps.resolve import resolve

STEPS = [
    {"step": {"name": "make", "image": "i", "command": "make {parameters}", "parameters": [
        {"name": "size", "type": "integer", "default": 3, "min": 1}, {"name": "tags", "multiple": "repeat", "optional": True},
    ]}},
    {"step": {"name": "train", "image": "i", "command": "train {parameters}", "parameters": [
        {"name": "rate", "type": "float"}, {"name": "fast", "type": "flag"}],
        "inputs": [{"name": "data"}, {"name": "more", "default": "https://h/m"}],
        "environment-variables": [{"name": "MODE", "optional": False}]}},
    {"task": {"name": "search", "step": "make", "parameters": [
        {"name": "size", "style": "multiple", "rules": {"items": [1, 2]}}]}},
    {"task": {"name": "far", "step": "make", "type": "distributed", "parameters": [], "execution-count": 2}},
]  # fmt: skip


def node(name: str = "a", step: str = "make", **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "execution", "step": step, **keys}


def config(nodes: Any, edges: Any = (), parameters: Any = (), **keys: Any) -> Any:
    body = {"name": "p", "nodes": nodes, "edges": list(edges), "parameters": list(parameters), **keys}
    return parse(json.dumps([*STEPS, {"pipeline": body}]).encode()).config


def loaded(nodes: Any, edges: Any = (), parameters: Any = (), **keys: Any) -> PipelineBlueprint:
    return load_pipeline(config(nodes, edges, parameters, **keys), "p")


def problems_of(nodes: Any, edges: Any = (), parameters: Any = (), **keys: Any) -> list[str]:
    with pytest.raises(CannotRun, match=r'^pipeline "') as caught:
        loaded(nodes, edges, parameters, **keys)
    return caught.value.problems


def test_all_that_is_declared_is_read() -> None:
    actions = [{"when": ["Node-Complete"], "if": "metadata.loss < 1", "then": "stop-pipeline"}]
    found = loaded(
        [
            node("a", actions=actions, **{"on-error": "stop-next"}),
            {"name": "b", "type": "task", "task": "search", "edge-merge-mode": "append"},
            node("c", "train", **{"on-error": "retry"}),
        ],
        [["a.outputs.models/*.pt", "c.inputs.data"], {"source": "a.metadata.val.loss", "target": "c.parameter.rate"}],
        [{"name": "size", "default": 4, "targets": ["a.parameters.size", "b.parameter.size"]}],
    )
    a, b, c = found.nodes
    assert a.actions == (
        NodeAction(when=("node-complete",), conditions=("metadata.loss < 1",), then=("stop-pipeline",)),
    )
    assert (a.kind, a.step_name, a.on_error, a.appends) == ("execution", "make", OnError.STOP_NEXT, False)
    assert (b.kind, b.task, b.step_name, b.on_error, b.appends) == ("task", "search", "make", OnError.STOP_ALL, True)
    assert c.on_error is OnError.RETRY
    assert [edge.text for edge in found.edges] == [
        "a.output.models/*.pt → c.input.data",
        "a.metadata.val.loss → c.parameter.rate",
    ]
    assert found.parameters[0].targets == (("a", "size"), ("b", "size"))
    assert found.notes == ()


def test_an_old_word_for_a_pipeline_is_read_too_and_of_several_with_one_name_the_last_counts() -> None:
    items = [{key: {"name": name, "nodes": [node(first)], "edges": []}}
             for key, name, first in (("blueprint", "old", "a"), ("pipeline", "p", "b"), ("blueprint", "p", "c"))]  # fmt: skip
    stored = parse(json.dumps([*STEPS, *items]).encode()).config
    assert list_pipeline_names(stored) == ("old", "p")
    assert [node.name for node in load_pipeline(stored, "p").nodes] == ["c"]
    assert list_pipeline_names(None) == ()
    with pytest.raises(NotFound, match='there is no pipeline "q"; there are: old, p'):
        load_pipeline(stored, "q")


def test_a_broken_pipeline_spoils_no_other() -> None:
    broken = {"pipeline": {"name": "q", "nodes": [node("n", "nowhere")], "edges": []}}
    found = parse(json.dumps([*STEPS, broken, {"pipeline": {"name": "p", "nodes": [node()], "edges": []}}]).encode())
    assert found.problems == (
        'task "far" cannot run: distributed tasks are not supported here; a step of one execution can use several GPUs',
        'pipeline "q" cannot run: node "n": there is no step "nowhere"; there are: make, train',
    )
    assert load_pipeline(found.config, "p").nodes
    assert found.steps == ("make", "train")


@pytest.mark.parametrize(
    ("nodes", "edges", "problem"),
    [
        ([{"name": "d", "type": "deployment", "deployment": "x"}], [], 'node "d": deployments do not run here'),
        ([node(commit="abc")], [], 'node "a": its commit abc is not supported: all nodes run at the commit of'),
        ([node(commit="library:o/n")], [], 'node "a": library:o/n is a library of steps, and libraries are not supported'),
        ([node("a", "x")], [], 'node "a": there is no step "x"'),
        ([{"name": "t", "type": "task", "task": "x"}], [], 'node "t": there is no task "x"'),
        ([{"name": "t", "type": "task", "task": "far"}], [], "distributed tasks are not supported here"),
        ([], [], "it has no nodes"),
        ([node(), node()], [], '2 nodes have the name "a"'),
        ([node("")], [], "the name of node '' is empty"),
        ([node("a.b")], [], "the name of node 'a.b' has a dot, so no edge can name it"),
        ([node("a\nb")], [], r"the name of node 'a\nb' has control characters"),
        ([node("n" * 101)], [], "has more than 100 characters"),
        ([node(f"n{i}") for i in range(MAX_NODES + 1)], [], "it has 101 nodes; at most 100 are allowed"),
        ([node()], [["a.output.*", "b.input.data"]], 'there is no node "b"'),
        ([node()], [["a.output.x", "a.dependency.x"]], "leads from a node to itself"),
        ([node(), node("b", "train")], [["a.output.*", "b.input.date"]], 'the step of node "b" has no input "date"'),
        ([node(), node("b", "train")], [["a.parameter.x", "b.parameter.rate"]], 'node "a" has no parameter "x"'),
        ([node(), node("b", "train")], [["a.input.*", "b.input.data"]], 'the step of node "a" has no input "*"'),
        (
            [node(), node("b", "train")],
            [["a.metadata.x", "b.environment-variable.MODUS"]],
            'the step of node "b" has no environment variable "MODUS"',
        ),
        ([node(), node("b")], [["a.output.x", "b.parameter.size"]], "output cannot lead into parameter; parameter, meta"),
        ([node(), node("b")], [["a.output.x", "b.metadata.y"]], "output cannot lead into metadata; supported are input, "),
        ([node(), node("b")], [["a.output.x", "b.file.e.f"]], "is for deployments (file), which do not run here"),
        ([node(), node("b")], [["a.output.", "b.dependency.x"]], "'a.output.' is not NODE.TYPE.NAME"),
        ([node(), node("b")], [["a.output." + "x" * 501, "b.dependency.x"]], "has a name of more than 500 characters"),
        (
            [node(), node("b")],
            [["a.metadata.x", "b.parameter.size"], ["a.parameter.size", "b.parameters.size"]],
            '2 edges lead into the parameter "size" of node "b"; only one is allowed',
        ),
        (
            [node(), node("b"), node("c")],
            [["c.metadata.x", "a.dependency.x"], ["a.metadata.x", "b.dependency.x"], ["b.metadata.x", "c.dependency.x"]],
            "its edges form a cycle: b → c → a → b",
        ),
        ([node(actions=[{"when": "node-complete", "if": "import os", "then": "noop"}])], [], "condition of an action: 'import"),
        ([node(override={"parameters": [{"name": "x", "pass-as": "{v:>100000}"}]})], [], "pass-as"),
        ([node(override={"command": []})], [], "command is empty"),
        ([node("a", "train", override={"parameters": [{"name": "fast", "multiple": "repeat"}]})], [], "Flag parameters"),
    ],
)  # fmt: skip
def test_what_cannot_run_here_is_refused_with_the_reason(nodes: Any, edges: Any, problem: str) -> None:
    assert problem in "; ".join(problems_of(nodes, edges))


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ([{"name": "x", "target": "a.size"}], "'a.size' is not NODE.TYPE.NAME"),
        (
            [{"name": "x", "target": "a.input.size"}],
            "a.input.size is not a parameter of a node; write NODE.parameter.NAME",
        ),
        ([{"name": "x", "target": "b.parameter.size"}], 'there is no node "b"'),
        ([{"name": "x", "targets": ["a.parameter.size", "a.parameter.sizes"]}], 'has no parameter "sizes"'),
        ([{"name": "x"}, {"name": "x"}], '2 parameters of the pipeline have the name "x"'),
    ],
)
def test_parameters_of_the_pipeline_need_targets_that_are_there(parameters: Any, problem: str) -> None:
    assert problem in "; ".join(problems_of([node()], [], parameters))


def test_all_that_is_wrong_is_told_at_once_up_to_a_bound() -> None:
    found = problems_of([node(f"n{i}", "nowhere") for i in range(12)])
    assert found[0] == 'node "n0": there is no step "nowhere"; there are: make, train'
    assert found[-1] == "and 2 more"
    assert len(found) == 11


def test_what_has_no_effect_is_noted() -> None:
    actions = [{"when": ["node-done"], "then": "mail"}, {"when": "node-error", "then": "require-approval"}]
    edge = {"source": "a.output.*", "target": "b.dependency.x", "configuration": {"x": 1}}
    override = {"inputs": [{"name": "new", "default": "https://h/n"}]}
    found = loaded([node(actions=actions), node("b", override=override)], [edge], [{"name": "q"}])
    assert found.notes == (
        "node \"a\": the action's when 'node-done' is ignored; supported are node-starting, node-complete, node-error",
        "node \"a\": the action's then 'mail' is ignored; supported are stop-pipeline, error-pipeline, require-approval, noop",
        'node "a": require-approval is ignored when the node has failed',
        'node "b": its override names the input "new", which its step does not have',
        "the configuration of the edge a.output.* → b.dependency.x is ignored",
        'parameter "q" of the pipeline has no targets',
    )


def test_the_steps_of_all_nodes_together_are_bounded() -> None:
    long = {"step": {"name": "long", "image": "i", "command": ["x" * 15_000] * 4}}
    body = {"name": "p", "nodes": [node(f"n{i}", "long") for i in range(9)], "edges": []}
    stored = parse(json.dumps([long, {"pipeline": body}]).encode()).config
    with pytest.raises(CannotRun, match="the steps of its nodes have together more than 500,000 characters"):
        load_pipeline(stored, "p")
    body["nodes"].pop()  # type: ignore[attr-defined]
    assert load_pipeline(parse(json.dumps([long, {"pipeline": body}]).encode()).config, "p")


def test_an_override_replaces_or_merges_and_keeps_what_it_does_not_name() -> None:
    override = {
        "image": "j", "command": "other", "environment": "gpu", "autorestart": False, "mounts": ["/a:/b"],
        "inputs": [{"name": "data", "default": "https://h/d"}, {"name": "more"}],
        "parameters": [{"name": "rate", "default": 0.5}],
        "environment-variables": [{"name": "MODE"}],
    }  # fmt: skip
    (found,) = loaded([node("a", "train", override=override)]).nodes
    step = found.step["step"]
    assert (step["image"], step["command"], step["environment"], step["mounts"]) == ("j", "other", "gpu", ["/a:/b"])
    assert step["inputs"] == [{"name": "data", "default": "https://h/d"}, {"name": "more"}]
    assert step["parameters"] == [{"name": "rate", "type": "float", "default": 0.5}, {"name": "fast", "type": "flag"}]
    assert step["environment-variables"] == [{"name": "MODE", "optional": False}]
    assert STEPS[1]["step"]["inputs"] == [{"name": "data"}, {"name": "more", "default": "https://h/m"}]


# before it begins


def problems_before(nodes: Any, edges: Any = (), parameters: Any = (), **given_values: Any) -> list[str]:
    with pytest.raises(CannotRun) as caught:
        plan(config(nodes, edges, parameters), "p", parameters=given_values)
    return caught.value.problems


def test_what_edges_bring_is_not_missed_before_the_pipeline_begins() -> None:
    edges = [
        ["a.output.*", "b.input.data"],
        ["a.metadata.rate", "b.parameter.rate"],
        ["a.metadata.mode", "b.environment-variable.MODE"],
    ]
    assert plan(config([node(), node("b", "train")], edges), "p").parameters == {}
    assert problems_before([node(), node("b", "train")], edges[:1]) == [
        'node "b": parameter "rate" needs a value; environment variable MODE needs a value'
    ]
    stored = config([node(), node("b", "train")], edges[:2])
    assert plan(stored, "p", provided={"MODE"}).blueprint.name == "p"


def test_an_input_whose_address_names_a_value_to_come_is_left_to_its_time() -> None:
    override = {
        "inputs": [{"name": "data", "default": "https://h/{parameter:rate}"}],
        "environment-variables": [{"name": "MODE", "default": "x"}],
    }
    nodes = [node(), node("b", "train", override=override)]
    assert plan(config(nodes, [["a.metadata.rate", "b.parameter.rate"]]), "p")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"size": "many"}, 'node "a": parameter "size": '),
        ({"size": 0}, 'node "a": parameter "size": '),
        ({"size": [1, 2]}, 'node "a": parameter "size": one value is expected, got [1, 2]'),
        ({"sizes": 1}, 'there is no pipeline parameter "sizes": did you mean "size"?'),
    ],
)
def test_values_are_checked_as_their_targets_are(values: dict[str, Any], problem: str) -> None:
    parameters = [{"name": "size", "target": "a.parameter.size"}, {"name": "tags", "target": "a.parameter.tags"}]
    (found,) = problems_before([node()], [], parameters, **values)
    assert found.startswith(problem)
    fine = plan(config([node()], [], parameters), "p", parameters={"size": "2", "tags": ["x", "y"]})
    assert fine.parameters == {"size": "2", "tags": ["x", "y"]}


def test_a_task_that_cannot_run_is_refused_before_the_pipeline_begins() -> None:
    nodes = [{"name": "t", "type": "task", "task": "search"}]
    parameters = [{"name": "size", "target": "t.parameter.size", "default": "much"}]
    (found,) = problems_before(nodes, [], parameters)
    assert found.startswith('node "t": ')
    assert "size" in found
    assert plan(config([*nodes, {"name": "plain", "type": "task", "step": "make"}]), "p")


def test_a_plan_keeps_what_it_needs_and_nothing_else() -> None:
    kept = plan(config([{"name": "t", "type": "task", "task": "search"}]), "p").config
    assert [(kind, body["name"]) for item in kept for kind, body in item.items()] == [
        ("step", "make"), ("task", "search"), ("pipeline", "p"),
    ]  # fmt: skip
    assert load_pipeline(kept, "p") == loaded([{"name": "t", "type": "task", "task": "search"}])


# values on their way


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("*.pkl", ["a.pkl", "results/a.pkl"], ["a.pkl.txt"]),
        ("results/*.pkl", ["results/a.pkl", "results/deep/a.pkl"], ["a.pkl", "old/results/a.pkl"]),
        ("model*", ["model", "model.pt", "x/model.pt", "model/x"], ["a-model"]),
        ("a[1].pt", ["a[1].pt", "a1.pt", "x/a1.pt"], ["a2.pt"]),
        ("*", ["a", "a/b"], []),
        ("a\nb", ["a\nb"], ["a"]),
    ],
)
def test_a_pattern_means_paths_and_without_a_slash_names(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    matches = make_matcher(pattern)
    assert [name for name in meant + not_meant if matches(name)] == meant


def test_a_pattern_takes_no_long_time() -> None:
    assert not make_matcher("*a" * 250)("a" * 100 + "b" * 4000)


def test_one_value_that_all_share_is_that_value() -> None:
    assert merge_values([]) is None
    assert merge_values([None, None]) is None
    assert merge_values([0.5, None, 0.5]) == 0.5
    assert merge_values([1, 2, 1]) == [1, 2]
    assert merge_values([[1], [1]]) == [1]


def test_a_list_of_lists_is_tried_list_by_list_by_a_task_with_a_multiple_parameter() -> None:
    blueprint = loaded(
        [node(), {"name": "t", "type": "task", "step": "make"}],
        [["a.metadata.x", "t.parameter.tags"]],
    )
    for value, variants, parameters in (
        ([["a"], ["b", "c"]], {"tags": [["a"], ["b", "c"]]}, {}),
        (["a", "b"], {}, {"tags": ["a", "b"]}),
        ([], {}, {"tags": []}),
    ):
        values = NodeValues()
        values.add_value(blueprint.node("t"), blueprint.edges[0], value)
        assert (values.variants, values.parameters) == (variants, parameters)


# graphs

NAMES = [f"n{i}" for i in range(8)]
ARROWS = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=30)


def blueprint_of(arrows: set[tuple[str, str]]) -> Any:
    return config([node(name) for name in NAMES], [[f"{a}.output.x", f"{b}.dependency.x"] for a, b in sorted(arrows)])


@given(ARROWS)
@settings(max_examples=200)
def test_a_graph_has_layers_or_a_circle_that_is_really_there(arrows: set[tuple[str, str]]) -> None:
    circle = graph.find_cycle(NAMES, arrows)
    assert all(pair in arrows for pair in zip(circle, (*circle[1:], *circle[:1]), strict=True))
    if circle:
        with pytest.raises(InvalidInput, match=r"leads from a node to itself|its edges form a cycle"):
            load_pipeline(blueprint_of(arrows), "p")
        return
    found = compute_layers(load_pipeline(blueprint_of(arrows), "p"))
    depth = {name: at for at, names in enumerate(found) for name in names}
    assert sorted(depth) == NAMES
    assert all(depth[source] < depth[target] for source, target in arrows)
    for name, at in depth.items():
        assert at == 1 + max((depth[source] for source, target in arrows if target == name), default=-1)
    assert all(list(names) == sorted(names) for names in found)


TEXTS = st.sampled_from(["a", "b", "", ".", "a.b", "*", "\x00", "é", "a" * 600, "library:x"]) | st.text(max_size=5)
KINDS = ("output", "inputs", "parameter", "metadata", "environment-variable", "dependency", "file", "x")
SOCKETS = st.builds("{}.{}.{}".format, TEXTS, st.sampled_from(KINDS), TEXTS) | TEXTS
ITEMS = st.lists(
    st.fixed_dictionaries({"name": TEXTS}, optional={"default": TEXTS | st.integers() | st.lists(TEXTS, max_size=2)}),
    max_size=3,
)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "image": TEXTS,
        "command": TEXTS,
        "parameters": ITEMS,
        "environment": TEXTS,
        "autorestart": st.booleans(),
    },
)
ACTIONS = st.lists(
    st.fixed_dictionaries({"when": TEXTS, "then": TEXTS}, optional={"if": TEXTS | st.just("metadata.x > 1")}),
    max_size=2,
)
HOSTILE_NODES = st.fixed_dictionaries(
    {"name": TEXTS, "type": st.just("execution"), "step": st.sampled_from(["make", "train", "x"])},
    optional={"override": OVERRIDES, "actions": ACTIONS, "commit": TEXTS, "on-error": st.sampled_from(list(OnError))},
) | st.fixed_dictionaries({"name": TEXTS, "type": st.just("task"), "task": st.sampled_from(["search", "far", "x"])})
PARAMETERS = st.fixed_dictionaries(
    {"name": TEXTS}, optional={"default": TEXTS | st.lists(TEXTS), "targets": st.lists(SOCKETS, max_size=2)}
)


@given(
    st.lists(HOSTILE_NODES, max_size=4),
    st.lists(st.lists(SOCKETS, min_size=2, max_size=2), max_size=4),
    st.lists(PARAMETERS, max_size=2),
)
@settings(max_examples=300)
def test_whatever_is_written_can_be_planned_or_is_refused(nodes: Any, edges: Any, parameters: Any) -> None:
    body = {"name": "p", "nodes": nodes, "edges": edges, "parameters": parameters}
    try:
        stored = parse(json.dumps([*STEPS, {"pipeline": body}]).encode()).config
        found = plan(stored, "p")
    except (NotFound, InvalidInput):
        return
    assert sum(map(len, compute_layers(found.blueprint))) == len(nodes)
    assert load_pipeline(json.loads(json.dumps(found.config)), "p") == found.blueprint


def test_a_node_that_is_fed_nothing_resolves_as_its_step_does() -> None:
    (found,) = loaded([node()]).nodes
    assert isinstance(found, Node)
    assert resolve([found.step], found.step_name) == resolve(STEPS, "make")


def test_the_page_about_pipelines_has_an_example_that_runs_and_every_word() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    found = parse(example.encode())
    assert found.problems == ()
    assert compute_layers(plan(found.config, "full").blueprint) == (("preprocess",), ("train",), ("evaluate",))
    for word in (*OnError, *WHENS, *THENS, *MERGED):
        assert f"`{word}`" in page
    for number in (MAX_NODES, MAX_EDGES, STEPS_CHARS, NAME_CHARS):
        assert f"{number:,}" in page

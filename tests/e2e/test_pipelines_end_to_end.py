"""A push runs a pipeline of real containers, which get the files and values of earlier ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from instance import Checkout, Instance, running, wait_for
from machines import step

pytestmark = [pytest.mark.docker, pytest.mark.redis]

NODES = [
    {"name": "make", "type": "execution", "step": "make"},
    {"name": "sweep", "type": "task", "step": "train"},
    {"name": "report", "type": "execution", "step": "report"},
]
EDGES = [
    ["make.output.*.txt", "sweep.input.words"],
    ["make.metadata.rates", "sweep.parameter.rate"],
    ["sweep.output.*", "report.input.models"],
]
FILE = (
    step(
        "make",
        "mkdir /valohai/outputs/sub",
        "echo words > /valohai/outputs/sub/a.txt",
        "echo no > /valohai/outputs/b.bin",
        """echo '{"rates": [1, 2]}'""",
    )
    + step(
        "train",
        'test "$(cat /valohai/inputs/words/*)" = words',
        "echo model {parameter-value:rate} > /valohai/outputs/model-{parameter-value:rate}",
        parameters=[{"name": "rate", "type": "integer"}],
        inputs=[{"name": "words"}],
    )
    + step("report", "cat /valohai/inputs/models/*", inputs=[{"name": "models"}])
    + f"- pipeline: {json.dumps({'name': 'full', 'nodes': NODES, 'edges': EDGES})}\n"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site")) as instance:
        yield instance


def test_a_push_runs_a_pipeline_from_its_first_file_to_its_last(site: Instance, checkout: Checkout) -> None:
    checkout.commit({"valohai.yaml": FILE})
    checkout.push(site.git_url("words"), "pushmill.pipeline=full")

    def ended() -> Any:
        (found,) = site.get("/pipelines/")["results"] or [None]
        return found if found and found["status"] in ("complete", "error", "stopped") else None

    assert wait_for(ended, 120)["status"] == "complete"
    ran = site.executions("words")
    assert [execution["step"] for execution in ran] == ["make", "train", "train", "report"]
    assert {execution["status"] for execution in ran} == {"complete"}
    assert sorted(site.events(ran[-1]["id"], "stdout")) == ["model 1", "model 2"]

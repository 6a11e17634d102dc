"""A program written with valohai-utils, unchanged, in a container."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import valohai
import valohai_yaml
from instance import FINAL, Checkout, Instance, wait_for
from papi.contexts import APIContext
from test_push import IMAGE
from vh_client import Vh

pytestmark = [pytest.mark.docker, pytest.mark.redis]

# what valohai-utils needs: a copy of the installed packages runs in the container as it is
PACKAGES = ("valohai", "papi", "valohai_yaml", "requests", "urllib3", "idna", "certifi", "charset_normalizer", "tqdm", "leval",
            "jsonschema", "jsonschema_specifications", "referencing", "attr", "attrs", "rpds", "typing_extensions.py")  # fmt: skip

PROGRAM = """
import json, valohai
valohai.prepare(step="train", default_parameters={"epochs": 1, "name": "x"}, default_inputs={"empty": []})
with valohai.logger() as logger:
    for epoch in range(valohai.parameters("epochs").value):
        logger.log("epoch", epoch)
        logger.log("loss", 1 / (epoch + 1))
        logger.log()
print("inputs", list(valohai.inputs("empty").paths()))
path = valohai.outputs().path("model.json")
json.dump({"name": valohai.parameters("name").value}, open(path, "w"))
valohai.outputs().live_upload("model.json")
valohai.set_status_detail("almost there")
"""

YAML = f"""
- step:
    name: train
    image: {IMAGE}
    command: PYTHONPATH=packages python3 train.py {{parameters}}
    parameters:
      - {{name: epochs, type: integer, default: 3}}
      - {{name: name, type: string, default: "it's"}}
    inputs:
      - {{name: empty, optional: true}}
"""


# what a program, or `vh yaml pipeline`, makes of the steps of a configuration
PIPELINE = """
import valohai


def main(config):
    made = valohai.Pipeline(name="made", config=config)
    prepared = made.execution("prepare").parameter("rows", 3)
    tried = made.task("prepare", name="tried").grid_search().multiple_parameter("rows", [1, 2])
    drawn = made.task("prepare", name="drawn").random_search(1).random_parameter("rows", min=7, max=9, integerify=True)
    counted = made.execution("count")
    for node in (prepared, tried, drawn):
        node.output("*.csv").to(counted.input("tables"))
    return made
"""
STEPS = f"""
- step:
    name: prepare
    image: {IMAGE}
    command: seq {{parameter-value:rows}} >/valohai/outputs/$KIND-{{parameter-value:rows}}.csv
    parameters:
      - {{name: rows, type: integer, default: 5}}
    environment-variables:
      - {{name: KIND, default: table}}
- step:
    name: count
    image: {IMAGE}
    command: ls /valohai/inputs/tables
    inputs:
      - {{name: tables}}
"""


def test_a_valohai_utils_program_runs_unchanged(server: Instance, checkout: Checkout) -> None:
    copy_packages(checkout)
    checkout.commit({"valohai.yaml": YAML, "train.py": PROGRAM})
    checkout.push(server.git_url("utils"))
    execution = server.run("utils", "train")
    log = server.events(execution["id"])
    assert execution["status"] == "complete", "\n".join(log)
    assert execution["cumulative_metadata"] == {"epoch": 2, "loss": pytest.approx(1 / 3)}
    assert "inputs []" in log
    (output,) = server.outputs(execution["id"])
    assert (output["name"], server.download(output["id"])) == ("model.json", b'{"name": "it\'s"}')
    assert execution["status_detail"] == "almost there"


def copy_packages(checkout: Checkout) -> None:
    installed = Path(valohai.__file__).parent.parent
    for name in PACKAGES:
        source, target = installed / name, checkout.folder / "packages" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)


def test_a_pipeline_that_valohai_utils_builds_is_posted_and_runs(server: Instance, checkout: Checkout) -> None:
    sha = checkout.commit({"valohai.yaml": STEPS})
    checkout.push(server.git_url("built"), "ci.skip")
    made = namespace(PIPELINE)["main"](valohai_yaml.parse(STEPS))
    made.nodes["prepare_1"].step.environment_variables["KIND"].default = "list"
    body = made.to_api(APIContext(commit_identifier=sha)) | {"project": "built", "title": "made"}
    answer = server.client.post("/pipelines/", json=body)
    assert answer.status_code == 201, answer.text
    pipeline = wait_final(server, answer.json()["id"])
    assert pipeline["status"] == "complete", pipeline
    count = server.run("built", "count")
    listed = server.events(count["id"], "stdout")
    assert {"list-3.csv", "list-1.csv", "list-2.csv"} < set(listed)
    assert set(listed) & {"list-7.csv", "list-8.csv", "list-9.csv"}


def namespace(program: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(program, found)  # as valohai-utils loads it
    return found


def wait_final(server: Instance, uuid: str) -> Any:
    def final() -> Any:
        found = server.get(f"/pipelines/{uuid}/")
        return found if found["status"] in FINAL else None

    return wait_for(final, 120)


def test_steps_and_pipelines_written_by_valohai_utils_run(server: Instance, checkout: Checkout, tmp_path: Path) -> None:
    """`vh yaml` writes both, `vh` runs them as they are: only variables say where."""
    vh = Vh(tmp_path, server.url, checkout.folder)
    project = server.client.post("/projects/", json={"name": "written"}).json()
    vh.environment |= {
        "VALOHAI_HOST": server.url, "VALOHAI_TOKEN": server.token, "VALOHAI_PROJECT": project["id"],
    }  # fmt: skip
    copy_packages(checkout)
    (checkout.folder / "valohai.yaml").write_text(YAML.split("    parameters:")[0])
    (checkout.folder / "train.py").write_text(PROGRAM)
    (checkout.folder / "pipe.py").write_text(
        "import valohai\n\n\ndef main(config):\n    made = valohai.Pipeline(name='twice', config=config)\n"
        "    made.execution('train', name='first').output('*').to(made.execution('train', name='second').input('empty'))\n"
        "    return made\n"
    )
    vh("yaml", "step", "train.py")
    vh("yaml", "pipeline", "pipe.py")
    assert "Execution #1 created" in vh("exec", "run", "--adhoc", "train", "--epochs=2", "--name=own")
    assert '{"epoch": 1, "loss": 0.5}' in vh("exec", "logs", "1", "--stream")
    vh("pipeline", "run", "--adhoc", "twice")
    (pipeline,) = server.get("/pipelines/", project="written")["results"]
    assert wait_final(server, pipeline["id"])["status"] == "complete"
    assert "model.json" in vh("exec", "logs", "3", "--all")


def test_a_program_on_a_laptop_reads_files_of_the_project(server: Instance, checkout: Checkout, tmp_path: Path) -> None:
    """valohai-utils downloads `datum://` inputs through the login of `vh`, by UUID and by alias."""
    vh = Vh(tmp_path, server.url, checkout.folder)
    vh("login", "--host", server.url, "--token", server.token)
    vh("project", "create", "-n", "laptop", "-y")
    sent = {"data": ("numbers.csv", b"1,2\n")}
    datum = server.client.post("/data/", data={"project": "laptop"}, files=sent).json()
    server.client.post("/datum-aliases/", json={"project": "laptop", "name": "newest", "datum": datum["id"]})
    program = (
        "import valohai\n"
        f"valohai.prepare(step='read', default_inputs={{'one': 'datum://{datum['id']}', 'two': 'datum://newest'}})\n"
        "print([open(valohai.inputs(name).path()).read() for name in ('one', 'two')])\n"
    )
    (checkout.folder / "read.py").write_text(program)
    said = subprocess.run(
        [sys.executable, "read.py"], cwd=checkout.folder, env=vh.environment, text=True, capture_output=True, timeout=60
    )
    assert "['1,2\\n', '1,2\\n']" in said.stdout, said.stderr

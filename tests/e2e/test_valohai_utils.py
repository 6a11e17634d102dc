"""A program written with valohai-utils, unchanged, in a container."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import valohai
from instance import Checkout, Instance
from test_push import IMAGE

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


def test_a_valohai_utils_program_runs_unchanged(server: Instance, checkout: Checkout) -> None:
    installed = Path(valohai.__file__).parent.parent
    for name in PACKAGES:
        source, target = installed / name, checkout.folder / "packages" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
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

"""An output of one execution is an input of another, also if the server is restarted during the transfer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from instance import Checkout, Instance, running, wait_for
from machines import SERVER_ALONE, Machine, frozen, launch, machine, step, web_process

pytestmark = [pytest.mark.docker, pytest.mark.redis]

SIZE = 200_000_000  # takes long enough to send that it can be caught in the middle
ZEROS = hashlib.sha256(bytes(SIZE)).hexdigest()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("site"), SERVER_ALONE) as instance:
        yield instance


@pytest.fixture
def runner(site: Instance, tmp_path: Path) -> Iterator[Machine]:
    with machine(site, tmp_path / "runner", "reader") as made:
        yield made


def test_a_server_that_is_killed_while_it_sends_an_output_costs_its_reader_nothing(
    site: Instance, runner: Machine, checkout: Checkout
) -> None:
    commands = ("mkdir /valohai/outputs/sub", f"head -c {SIZE} /dev/zero > /valohai/outputs/sub/zeros.bin")
    (maker,) = launch(site, checkout, "chain", step("make", *commands))
    assert site.wait_final(maker)["status"] == "complete", site.events(maker)
    (datum,) = site.outputs(maker)
    reader = step(
        "read",
        "sha256sum < /valohai/inputs/zeros/sub/zeros.bin",
        "tr -d '\\n' < /valohai/config/inputs.json",
        inputs=[{"name": "zeros", "default": f"datum://{datum['id']}", "keep-directories": "full"}],
    )
    (execution,) = launch(site, checkout, "chain", reader)
    wait_for(lambda: received(runner) > 0, 30, 0.002)
    web = web_process(site)
    with frozen(web):
        assert 0 < received(runner) < SIZE
        web.kill()
        psutil.wait_procs([web], 10)
    wait_for(site._serves, 30)
    assert site.wait_final(execution)["status"] == "complete", site.events(execution)
    digest, document = site.events(execution, "stdout")
    assert digest.split()[0] == ZEROS
    (file,) = json.loads(document)["zeros"]["files"]
    assert (file["name"], file["size"], file["datum_id"]) == ("sub/zeros.bin", SIZE, datum["id"])
    assert (file["uri"], file["checksums"]["sha256"]) == (f"datum://{datum['id']}", ZEROS)
    assert any(f"zeros: sub/zeros.bin downloaded, 191 MiB, sha256 {ZEROS}" in line for line in site.events(execution))


def received(runner: Machine) -> int:
    """Return how many bytes of an incomplete input have arrived."""
    parts = (runner.data / "runner" / "cache" / "inputs").glob("new-*")
    return sum(part.stat().st_size for part in parts if part.exists())

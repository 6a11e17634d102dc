"""An environment determines what a pushed step gets: mounts, network, autorestart."""

from __future__ import annotations

from pathlib import Path

import pytest
from instance import Checkout, running

pytestmark = [pytest.mark.docker, pytest.mark.redis]

YAML = """
- step:
    name: mounts
    image: pushmill-quickstart
    environment: a-cloud-s-machine
    autorestart: true
    mounts: ["{data}:/data", "/etc:/host-etc"]
    command:
      - cat /data/set.txt
      - if echo x >/data/new 2>/dev/null; then echo writable; else echo read-only; fi
      - ls -d /host-etc || echo no etc
      - grep -c . /proc/net/dev
"""


def test_what_environment_and_runner_both_allow_is_mounted_and_nothing_else(tmp_path: Path, checkout: Checkout) -> None:
    data = tmp_path / "sets"
    data.mkdir()
    (data / "set.txt").write_text("one two three\n")
    with running(tmp_path / "data", f'[runner]\nmounts = ["{data}"]\n') as instance:
        instance.pushmill("environment", "set", "default", "--mount", str(data), "--network", "none")
        checkout.commit({"valohai.yaml": YAML.format(data=data)})
        checkout.push(instance.git_url("mounted"))
        execution = instance.run("mounted", "mounts")
        status = instance.events(execution["id"], "status")
        assert execution["status"] == "complete"
        assert execution["runtime_config"] == {"autorestart": True}
        lines = instance.events(execution["id"], "stdout")
        assert lines[:3] == ["one two three", "read-only", "no etc"]
        assert int(lines[3]) <= 3  # two lines of heading, and the loopback alone
        assert "There is no environment 'a-cloud-s-machine' here: the execution runs in default" in status
        assert "The mount of /etc is left out: environment default does not allow it" in status

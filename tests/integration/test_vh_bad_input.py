"""What the real `vh` prints when a launch is refused: one sentence that says what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, listening
from instance import Checkout
from push_server import step
from test_approval_pages import ask, head
from test_deliveries import Hub, payload
from vh_client import Vh

from core.identity import Scope
from core.rights import Role
from web.services import identities
from web.services.executions import environments
from web.store import commits

LIMITS = {"package_bytes": "64 KiB", "package_unpacked": "512 KiB", "package_files": 20}
YAML = """
- step:
    name: hello
    image: busybox
    command: echo {parameters}
    parameters: [{name: count, type: integer, default: 1, max: 9}]
"""


class Shell:
    """A person with the role of a writer in the project `demo`, and a directory that is linked to it."""

    def __init__(self, api: ApiServer, vh: Vh) -> None:
        self.api, self.vh = api, vh
        identities.add_user(api.db, "grace", is_admin=False)
        identities.set_role(api.db, api.demo, "grace", Role.WRITER)
        self.use(Scope.LAUNCH)
        vh("project", "link", "demo", "-y")
        (vh.folder / "valohai.yaml").write_text(YAML)

    def use(self, scope: Scope) -> None:
        secret = identities.create_token(self.api.db, "grace", [scope]).secret
        self.vh("login", "--yes", "--host", self.vh.url, "--token", secret)

    def refused(self, *options: str, step: str = "hello") -> str:
        """Run the step from the files of the directory."""
        return self.vh("exec", "run", "--adhoc", "--no-validate-adhoc", *options, step, rc=1)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    api = ApiServer(tmp_path / "data", limits=LIMITS)
    with listening(api.app) as url:
        yield Shell(api, Vh(tmp_path, url))
    api.close()


def test_an_image_or_environment_that_cannot_be_used(shell: Shell) -> None:
    environments.change(shell.api.db, "gpu", {})
    environments.change(shell.api.db, "default", {"images": ["busybox*"]})
    environments.allow(shell.api.db, shell.api.demo, ["default"])
    assert "'Bad image!' is not the name of an image" in shell.refused("-i", "Bad image!")
    assert "runs images that match busybox*" in shell.refused("-i", "evil:1")
    assert "Project demo may not use environment gpu" in shell.refused("-e", "gpu")
    assert 'there is no environment "gpuu"' in shell.refused("-e", "gpuu")


def test_packages_that_are_too_large(shell: Shell) -> None:
    way_out = "Leave files out with .vhignore, and read data as inputs"
    data = shell.vh.folder / "data.bin"
    data.write_bytes(os.urandom(100_000))
    said = shell.refused()
    assert "the package is larger than 64.0 KiB ([limits] package_bytes)" in said
    assert way_out in said
    data.write_bytes(bytes(1_000_000))
    said = shell.refused()
    assert "the package is refused: it unpacks to more than" in said
    assert way_out in said
    (shell.vh.folder / ".vhignore").write_text("data.bin\n")
    assert "Execution #1 created" in shell.vh("exec", "run", "--adhoc", "hello")


def test_a_token_without_the_scope(shell: Shell) -> None:
    shell.use(Scope.READ)
    for arguments in (("exec", "run", "--adhoc", "hello"), ("exec", "stop", "--all"), ("project", "create", "-n", "x")):
        shell.api.add_execution()
        said = shell.vh(*arguments, rc=1)
        assert "This token is for read; this needs one with the scope" in said
        assert "`pushmill token new`" in said
    assert [item["status"] for item in shell.vh.json("exec", "list")] == ["created"] * 3


def test_a_project_of_other_people(shell: Shell) -> None:
    identities.set_role(shell.api.db, shell.api.demo, "grace", None)
    way_out = "that you can see: ask its owner for a role in it"
    for arguments in (("exec", "run", "--adhoc", "hello"), ("exec", "list"), ("project", "status")):
        said = shell.vh(*arguments, rc=1)
        assert f"Not Found: there is no project '{shell.api.demo.uuid}' {way_out}" in said
    assert "demo" not in shell.vh("project", "list")
    assert "No project was found" in shell.vh("--project", shell.api.demo.uuid, "exec", "list", rc=1)


def test_a_disabled_user(shell: Shell) -> None:
    identities.disable(shell.api.db, "grace")
    for arguments in (("exec", "run", "--adhoc", "hello"), ("exec", "list")):
        said = shell.vh(*arguments, rc=1)
        assert f"Invalid token. Create a new one at {shell.vh.url}/auth/tokens/ and log in with it." in said


def test_a_commit_of_a_fork(tmp_path: Path, checkout: Checkout) -> None:
    hub = Hub(ApiServer(tmp_path / "data", git={"allow_local": True}), checkout, tmp_path / "forge.git")
    hub.deliver(payload(hub.push({"valohai.yaml": step("train")})))
    ask(hub, sha := head(hub))
    with listening(hub.api.app) as url:
        vh = Vh(tmp_path / "shell", url, checkout.folder)
        vh("login", "--host", url, "--token", hub.api.token)
        vh("project", "link", "model", "-y")
        assert f"Commit {sha} is not known for the project" in vh("exec", "run", "-c", sha, "train", rc=1)
        said = " ".join(vh("project", "fetch").split())
        assert f"commit {sha[:8]} of pull request 7 comes from a fork and is not approved" in said
        assert f"approve it at {url}/p/model/commits/{sha}/ before you run it" in said
        (link,) = json.loads((tmp_path / "shell/config/config.json").read_text())["links"].values()
        body = {"project": link["id"], "commit": sha, "step": "train"}
        assert "is not approved" in hub.api.post("executions/", json=body).text
    assert commits.get_by_identifier(hub.api.db, hub.project.id, sha).config_state == "ok"
    hub.api.close()

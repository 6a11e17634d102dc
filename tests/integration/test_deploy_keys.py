"""Repositories that are fetched over ssh with a key of the server, from a real sshd."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Checkout, wait_for
from push_server import PushServer, bare_repository, step
from ssh_server import SshServer
from test_webhooks_of_forges import pushmill

from core.model import Repository
from web.services.repositories import ref_updates
from web.store import projects

ZERO = "0" * 40
MAIN = "refs/heads/main"


class SshForge:
    """A bare repository behind sshd, added to the server by the command line."""

    def __init__(self, pushes: PushServer, checkout: Checkout, ssh: SshServer, path: Path) -> None:
        self.pushes, self.checkout, self.ssh = pushes, checkout, ssh
        self.path = bare_repository(path)
        done = pushmill(pushes, "add", "model", "--repo", ssh.url(path), "--json")
        self.added = json.loads(done.stdout)

    @property
    def repository(self) -> Repository:
        return projects.list_repositories(self.pushes.db, projects.get_by_name(self.pushes.db, "model").id)[0]

    def push(self) -> str:
        sha = self.checkout.commit({"valohai.yaml": step("train")}, "work")
        self.checkout.git("push", "-q", "-f", str(self.path), "HEAD:main")
        return sha

    def deliver(self, sha: str, name: str = "delivery-1") -> None:
        """Send the report of the post-receive hook of the repository."""
        ref_updates.store_ref_updates(self.pushes.db, self.repository, "plain", name, {MAIN: (ZERO, sha)})


@pytest.fixture
def forge(pushes: PushServer, checkout: Checkout, tmp_path: Path) -> Iterator[SshForge]:
    ssh = SshServer(tmp_path / "sshd")
    with ssh.running():
        yield SshForge(pushes, checkout, ssh, tmp_path / "forge.git")


@pytest.mark.sshd
def test_a_push_is_fetched_with_the_key_that_was_printed(forge: SshForge) -> None:
    kind, _, comment = forge.added["deploy_key"].split(" ", 2)
    assert (kind, comment) == ("ssh-ed25519", "pushmill model")
    forge.deliver(forge.push())
    forge.pushes.drain()
    assert "enter the project's deploy key there" in forge.repository.fetch_problem
    assert "`pushmill project deploy-key NAME`" in forge.repository.fetch_problem
    forge.ssh.let_in(forge.added["deploy_key"])

    def fetched() -> bool:
        forge.pushes.drain()
        return forge.pushes.steps("model") == ["train"]

    wait_for(fetched)
    assert forge.repository.fetch_problem == ""


@pytest.mark.sshd
def test_what_nobody_told_of_is_found_over_ssh(forge: SshForge) -> None:
    forge.ssh.let_in(forge.added["deploy_key"])
    forge.pushes.with_git(poll=0.1)
    with forge.pushes.worker():
        wait_for(lambda: forge.repository.polled_at)
        forge.push()
        wait_for(lambda: forge.pushes.steps("model") == ["train"])


@pytest.mark.sshd
def test_a_host_that_shows_another_key_is_refused_and_said(
    pushes: PushServer, checkout: Checkout, tmp_path: Path
) -> None:
    ssh = SshServer(tmp_path / "sshd")
    with ssh.running():
        forge = SshForge(pushes, checkout, ssh, tmp_path / "forge.git")
        ssh.let_in(forge.added["deploy_key"])
        forge.deliver(forge.push())
        pushes.drain()
        assert pushes.steps("model") == ["train"]
    ssh.new_host_key()
    with ssh.running():
        forge.deliver("a" * 40, "delivery-2")
        pushes.drain()
    assert len(pushes.steps("model")) == 1
    problem = forge.repository.fetch_problem
    assert "127.0.0.1 shows another host key than before" in problem
    assert "known_hosts" in problem
    assert pushes.deliveries("model")[-1].message == f"cannot fetch: {problem}"


@pytest.mark.sshd
def test_a_new_key_takes_the_old_ones_place(forge: SshForge) -> None:
    shown = json.loads(pushmill(forge.pushes, "deploy-key", "model", "--json").stdout)
    assert shown["deploy_key"] == forge.added["deploy_key"]
    new = json.loads(pushmill(forge.pushes, "deploy-key", "model", "--new", "--json").stdout)["deploy_key"]
    assert new != shown["deploy_key"]
    assert pushmill(forge.pushes, "deploy-key", "model").stdout.strip() == new
    assert json.loads(pushmill(forge.pushes, "show", "model", "--json").stdout)["deploy_key"] == new
    forge.ssh.let_in(new)
    forge.deliver(forge.push())
    forge.pushes.drain()
    assert forge.pushes.steps("model") == ["train"]


def test_the_private_half_is_encrypted_and_nowhere_else(pushes: PushServer) -> None:
    done = pushmill(pushes, "add", "model", "--repo", "git@github.com:ada/model.git")
    repository = projects.list_repositories(pushes.db, projects.get_by_name(pushes.db, "model").id)[0]
    kept = projects.find_ssh_key(pushes.db, repository.id)
    assert kept is not None
    private = pushes.vault.decrypt(kept)
    assert private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    body = private.splitlines()[2]
    assert body.decode() not in done.stdout + done.stderr
    assert subprocess.run(["grep", "-raF", body.decode(), str(pushes.config.data)]).returncode == 1
    made = subprocess.run(["ssh-keygen", "-y", "-f", "/dev/stdin"], input=private, capture_output=True, check=True)
    assert repository.deploy_key.split()[:2] == made.stdout.decode().split()[:2]


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("git@github.com:ada/model.git", "https://github.com/ada/model/settings/keys/new"),
        (
            "ssh://git@gitlab.example.org:2222/a/b/model.git",
            "https://gitlab.example.org/a/b/model/-/settings/repository",
        ),
        ("git@codeberg.org:ada/model.git", "https://codeberg.org/ada/model/settings/keys"),
        ("git@bitbucket.org:ada/model.git", "https://bitbucket.org/ada/model/admin/access-keys/"),
        ("git@git.example.org:ada/model.git", ""),
    ],
)
def test_an_ssh_address_gets_a_key_and_the_page_to_enter_it(pushes: PushServer, url: str, page: str) -> None:
    shown = json.loads(pushmill(pushes, "add", "model", "--repo", url, "--json").stdout)
    assert shown["deploy_key"].endswith(" pushmill model")
    assert shown["deploy_key_page"] == page


@pytest.mark.parametrize("arguments", [(), ("--repo", "https://github.com/ada/model.git")])
def test_others_have_an_empty_one_in_json_and_none_to_show(pushes: PushServer, arguments: tuple[str, ...]) -> None:
    shown = json.loads(pushmill(pushes, "add", "model", *arguments, "--json").stdout)
    assert {"project_id", "webhook_url", "webhook_secret", "deploy_key"} <= set(shown)
    assert shown["deploy_key"] == shown["deploy_key_page"] == ""
    done = pushmill(pushes, "deploy-key", "model")
    assert done.returncode == 1
    assert "not fetched by ssh" in done.stderr

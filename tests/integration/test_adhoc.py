"""Ad-hoc code is uploaded over HTTP and becomes a commit on no branch, which runners fetch like any other."""

from __future__ import annotations

import functools
import hashlib
import io
import multiprocessing
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import RUNNER_TOKENS, ApiServer, listening
from instance import Checkout, wait_for
from made_packages import YAML, member, package, simple
from site_client import Person
from werkzeug.test import TestResponse

from core import clock, git
from core.config import Config
from core.errors import InvalidFields
from core.identity import Scope
from core.model import Commit, Origin, Project
from core.rights import Role
from runner import checkout
from web.services import identities, launch, vault
from web.services.context import open_context
from web.services.launch import LaunchRequest
from web.services.repositories import adhoc, hosting, remotes
from web.services.repositories.adhoc import Package
from web.store import audit, commits, members, projects, users
from web.store.audit import Act, AuditQuery, Kind
from web.store.db import execute

CODE = simple(data=b"x" * 1000)


def identifier_of(data: bytes) -> str:
    return "~" + hashlib.sha256(data).hexdigest()


def upload(api: ApiServer, content: bytes, project: str = "demo", **fields: Any) -> TestResponse:
    """Send a package as `vh` does; `fields` replace parts of the form, bytes are files."""
    form: dict[str, Any] = {"data": content, "description": "heads/main-0-g1", "yaml_path": "valohai.yaml"} | fields
    files = {name: ("data.tgz", value) for name, value in form.items() if isinstance(value, bytes)}
    texts = {name: value for name, value in form.items() if isinstance(value, str) and name != "token"}
    request = httpx.Request("POST", "http://any", files=files, data=texts)
    headers = {"Authorization": f"Token {fields.get('token', api.token)}"}
    path, kind = f"/api/v0/projects/{project}/import-package/", request.headers["Content-Type"]
    return api.client.post(path, data=request.read(), content_type=kind, headers=headers)


def repository(api: ApiServer, project: Project | None = None) -> Path:
    found = hosting.get_repository(api.db, project or api.demo)
    return hosting.get_repository_path(api.config, found)


def in_git(path: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={path}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def stored(api: ApiServer, data: bytes = CODE) -> Commit:
    assert upload(api, data).status_code in (200, 201)
    return commits.get_by_identifier(api.db, api.demo.id, identifier_of(data))


def temporary_files(data: Path) -> list[str]:
    """List the temporary files of uploads in the data directory."""
    return [
        str(path) for path in data.rglob("*")
        if path.is_file() and path.name.startswith(("tmp", "fast_import")) and "pushmill" not in path.name
    ]  # fmt: skip


def test_a_package_becomes_a_commit_of_the_project(api: ApiServer) -> None:
    answer = upload(api, CODE)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    assert answer.json["identifier"] == identifier_of(CODE)
    assert {name: answer.json[name] for name in ("ref", "adhoc", "description", "has_config", "yaml_path")} == {
        "ref": "adhoc", "adhoc": True, "description": "heads/main-0-g1", "has_config": True, "yaml_path": "valohai.yaml",
    }  # fmt: skip
    found = api.json(f"commits/{identifier_of(CODE)}/", project=api.demo.uuid, include="config")
    assert found["adhoc"]
    assert found["config"][0]["step"]["name"] == "hello"
    assert [item["identifier"] for item in api.json("commits/", adhoc="true")["results"]] == [identifier_of(CODE)]
    assert [item["adhoc"] for item in api.json("commits/", project="demo", adhoc="false")["results"]] == [False]


def test_its_files_are_in_the_repository_on_no_branch(api: ApiServer) -> None:
    made = package(
        member("valohai.yaml", YAML),
        member('odd "name"\n', b"1"),
        member("bin/run", b"#!/bin/sh\n", mode=0o755),
        member("bin/link", kind=b"2", target="../valohai.yaml"),
    )
    commit = stored(api, made)
    path = repository(api)
    lines = in_git(path, "ls-tree", "-r", "-z", commit.sha).split("\0")[:-1]
    assert {line.split("\t")[1]: line[:6] for line in lines} == {
        "bin/link": "120000", "bin/run": "100755", 'odd "name"\n': "100644", "valohai.yaml": "100644",
    }  # fmt: skip
    assert in_git(path, "cat-file", "blob", f"{commit.sha}:bin/link") == "../valohai.yaml"
    assert git.list_refs(path) == {}
    assert in_git(path, "log", "-1", "--format=%cn %s", commit.sha).strip() == "admin heads/main-0-g1"
    in_git(path, "fsck", "--strict")


def test_runners_fetch_it_like_any_other_commit(api: ApiServer, tmp_path: Path) -> None:
    commit = stored(api)
    execution, attempt = api.placed(commit=api.commit)
    execute(api.db, "UPDATE execution SET commit_id = ? WHERE uuid = ?", (commit.id, execution))
    spec = api.call(f"executions/{execution}/claim", {"attempt": attempt, "resume": False}).json
    assert spec is not None
    assert spec["commit_identifier"] == commit.sha
    assert spec["config"]["valohai.commit-identifier"] == commit.identifier
    with listening(api.app) as url:
        tree = checkout.prepare(tmp_path / "cache", url, RUNNER_TOKENS["one"], "demo", spec["commit_identifier"])
    assert os.access(tree / "run.sh", os.X_OK)
    assert (tree / "data").read_bytes() == b"x" * 1000


def test_the_same_package_is_stored_once(api: ApiServer) -> None:
    assert [upload(api, CODE, description=text).status_code for text in ("one", "two")] == [201, 200]
    assert stored(api).message == "one"
    other = api.project("other")
    assert upload(api, CODE, "other").status_code == 201
    assert commits.get_by_identifier(api.db, other.id, identifier_of(CODE)).project_id == other.id
    entries = audit.search(api.db, AuditQuery(kind=Kind.COMMIT, action=Act.CREATE), 9)
    assert [(entry.username, entry.project) for entry in entries] == [("admin", "other"), ("admin", "demo")]


def test_two_uploads_at_once_make_one_commit(api: ApiServer) -> None:
    form = {"data": {"data": ("data.tgz", CODE)}}
    with listening(api.app) as url, ThreadPoolExecutor(4) as pool:

        def post(_: int) -> httpx.Response:
            address = f"{url}/api/v0/projects/demo/import-package/"
            return httpx.post(address, files=form["data"], headers=api.as_admin, timeout=60, trust_env=False)

        answers = list(pool.map(post, range(4)))
    assert sorted(answer.status_code for answer in answers)[:1] == [200]
    assert {answer.json().get("identifier", answer.text) for answer in answers} == {identifier_of(CODE)}
    assert list(git.list_adhoc_commits(repository(api))) == [identifier_of(CODE)[1:]]


def test_a_project_that_is_fetched_from_elsewhere_has_ad_hoc_code_too(tmp_path: Path, checkout: Checkout) -> None:
    api = ApiServer(tmp_path / "data", git={"allow_local": True})
    checkout.commit({"valohai.yaml": YAML})
    url = f"file://{checkout.folder}"
    project, _ = hosting.add_project(api.context, "mirror", api.admin.id, forge="gitea", url=url)
    assert upload(api, CODE, "mirror").status_code == 201
    (mirrored,) = projects.list_repositories(api.db, project.id)
    remotes.fetch(api.context, mirrored, shas=())
    path = repository(api, project)
    assert list(git.list_refs(path)) == ["refs/heads/main"]
    assert list(git.list_adhoc_commits(path)) == [identifier_of(CODE)[1:]]
    assert git.read_file(path, git.list_adhoc_commits(path)[identifier_of(CODE)[1:]], "run.sh", 100) == b"echo hello\n"
    api.close()


INVALID = package(member("valohai.yaml", b"- step:\n    name: x\n"))
REFUSED: dict[str, tuple[bytes, dict[str, Any], int, str, str]] = {
    "hostile": (package(member("../x")), {}, 400, "data", 'the package is refused: "../x" leads out of the package'),
    "no gzip": (b"hello", {}, 400, "data", "is not a valid gzip file"),
    "no configuration": (package(member("a")), {}, 400, "yaml_path", "the package has no valohai.yaml"),
    "other configuration": (CODE, {"yaml_path": "sub/x.yaml"}, 400, "yaml_path", "the package has no sub/x.yaml"),
    "invalid configuration": (INVALID, {}, 400, "yaml_path", "valohai.yaml: "),
    "no file": (CODE, {"data": "text", "more": b"x"}, 400, "data", "the package is missing"),
    "two files": (CODE, {"more": b"x"}, 400, "data", "more than one file"),
    "too large": (os.urandom(70_000), {}, 413, "data", "larger than 64.0 KiB ([limits] package_bytes)"),
    "large unpacked": (simple(big=bytes(2**20)), {}, 413, "data", "more than 512 KiB ([limits] package_unpacked)"),
    "many files": (
        package(*(member(f"f{n}") for n in range(30))), {}, 413, "data", "more than 20 files and directories",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    limits = {"package_bytes": "64 KiB", "package_unpacked": "512 KiB", "package_files": 20}
    api = ApiServer(tmp_path / "data", limits=limits)
    data, fields, status, field, sentence = REFUSED[name]
    answer = upload(api, data, **fields)
    assert answer.status_code == status, answer.text
    assert answer.json is not None
    assert sentence in answer.json[field][0]["message"]
    path = repository(api)
    assert not path.exists() or (git.list_adhoc_commits(path) == {} and in_git(path, "count-objects").startswith("0 "))
    assert temporary_files(api.config.data) == []
    assert commits.list_adhoc_identifiers(api.db, hosting.get_repository(api.db, api.demo).id) == set()
    api.close()


def test_the_sender_of_a_package_that_is_too_large_can_read_the_reason(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "data", limits={"package_bytes": "1 MiB"})
    with listening(api.app) as url:
        files = {"data": ("data.tgz", os.urandom(6 * 1024**2))}
        address = f"{url}/api/v0/projects/demo/import-package/"
        answer = httpx.post(address, files=files, headers=api.as_admin, timeout=60, trust_env=False)
    assert answer.status_code == 413
    assert answer.json()["data"][0] == {
        "message": "the package is larger than 1.00 MiB ([limits] package_bytes)."
                   " Leave files out with .vhignore, and read data as inputs",
        "code": "too_large",
    }  # fmt: skip
    api.close()


def test_a_full_disk_refuses_packages(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "data", server={"min_free_disk": 1 << 60})
    answer = upload(api, CODE)
    assert answer.status_code == 507
    assert "min_free_disk" in answer.text
    api.close()


@pytest.mark.root
def test_a_package_that_does_not_fit_on_the_disk_leaves_nothing_behind(small_disk: Path) -> None:
    api = ApiServer(small_disk / "data", server={"min_free_disk": "1 MiB"})
    large = simple(**{f"f{number}": os.urandom(1_000_000) for number in range(25)})
    answer = upload(api, large)  # it fits twice, but not a third time
    assert answer.status_code == 507, answer.text
    assert not repository(api).exists()
    assert upload(api, CODE).status_code == 201
    api.close()


def test_who_may_not_launch_may_not_upload(api: ApiServer) -> None:
    for name, role, status in (("none", None, 404), ("reader", Role.READER, 403), ("writer", Role.WRITER, 201)):
        user = identities.add_user(api.db, name, is_admin=False)
        if role:
            members.set_role(api.db, api.demo.id, user.id, role)
        secret = identities.create_token(api.db, name, [Scope.LAUNCH]).secret
        assert upload(api, CODE, token=secret).status_code == status
        weak = identities.create_token(api.db, name, [Scope.READ]).secret
        assert upload(api, CODE, token=weak).status_code == 403
    assert stored(api).author == "writer"


def test_only_forms_are_read(api: ApiServer) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "application/gzip"):
        answer = api.post("projects/demo/import-package/", data=CODE, content_type=kind)
        assert answer.status_code == 400
        assert "multipart/form-data" in answer.text
    assert api.post("projects/nobody/import-package/", data={}).status_code == 404


def test_the_configuration_at_the_projects_path_is_a_fallback(api: ApiServer) -> None:
    other = YAML.replace(b"hello", b"other")
    made = package(member("valohai.yaml", YAML), member("alt.yaml", other))
    assert upload(api, made, yaml_path="alt.yaml").status_code == 201
    assert upload(api, made).status_code == 200
    commit = stored(api, made)
    assert commit.config[0]["step"]["name"] == "other"
    found = adhoc.apply_default_configuration(api.context, api.demo, commit)
    assert found is not None
    assert (found.id, found.config[0]["step"]["name"]) == (commit.id, "hello")
    assert adhoc.apply_default_configuration(api.context, api.demo, found) is None
    assert adhoc.apply_default_configuration(api.context, api.demo, api.commit) is None
    given: dict[str, Any] = {"origin": Origin.API, "project": api.demo, "commit": commit, "creator": api.admin}
    for step in ("other", "hello"):
        launched = launch.launch(api.context, LaunchRequest(name=step, **given))
        assert (launched.commit_id, getattr(launched, "step", "")) == (commit.id, step)
    with pytest.raises(InvalidFields, match='did you mean "other"'):
        launch.launch(api.context, LaunchRequest(name="othr", **given))


def old(api: ApiServer, commit: Commit, days: int = 31) -> None:
    at = clock.format_moment(datetime.now(UTC) - timedelta(days=days))
    execute(api.db, "UPDATE git_commit SET created_at = ? WHERE id = ?", (at, commit.id))


def test_old_ad_hoc_code_without_runs_is_deleted(api: ApiServer) -> None:
    unused, used, young = (stored(api, simple(data=bytes([number]))) for number in range(3))
    old(api, unused)
    old(api, used)
    old(api, young, 29)
    execution = api.add_execution()
    execute(api.db, "UPDATE execution SET commit_id = ? WHERE id = ?", (used.id, execution.id))
    adhoc.prune(api.context)
    assert set(git.list_adhoc_commits(repository(api)).values()) == {used.sha, young.sha}
    assert commits.find_by_identifier(api.db, api.demo.id, unused.identifier) is None
    assert commits.find_by_identifier(api.db, api.demo.id, api.commit.identifier)
    assert stored(api, simple(data=b"\0")).sha in git.list_adhoc_commits(repository(api)).values()


def test_without_an_age_nothing_is_deleted(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "data", limits={"package_age": 0})
    commit = stored(api)
    old(api, commit, 5000)
    adhoc.prune(api.context)
    assert list(git.list_adhoc_commits(repository(api)).values()) == [commit.sha]
    api.close()


def test_many_packages_end_up_in_few_packs(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.git.package_commit.MANY_PACKS", 3)
    made = [stored(api, simple(data=bytes([number]))) for number in range(6)]
    packs = repository(api) / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) == 6
    adhoc.prune(api.context)
    assert len(list(packs.glob("*.pack"))) == 1
    assert all(git.read_file(repository(api), commit.sha, "run.sh", 100) for commit in made)


@functools.cache
def large() -> bytes:
    return simple(**{f"f{number}": os.urandom(200_000) for number in range(20)})


def store_in_process(config: Config, data: bytes) -> None:
    with open_context(config, vault.load(config.data / "secret.key")) as context:
        admin = users.find_by_name(context.db, "admin")
        assert admin is not None
        package = Package(
            file=io.BytesIO(data), size=len(data), sha256=identifier_of(data)[1:], description="", yaml_path=""
        )
        adhoc.store(context, projects.get_by_name(context.db, "demo"), admin, package)


def unnamed_files(pid: int) -> bool:
    """Return whether a process has an unnamed temporary file open."""
    try:
        return any("(deleted)" in os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize("moment", ["reading", "writing", "written"])
def test_a_killed_server_leaves_nothing_and_the_next_upload_succeeds(api: ApiServer, moment: str) -> None:
    path = repository(api)
    hosting.prepare(api.context, api.demo, hosting.get_repository(api.db, api.demo))
    packs = path / "objects" / "pack"
    killed = multiprocessing.get_context("spawn").Process(target=store_in_process, args=(api.config, large()))
    killed.start()
    reached = {
        "reading": lambda: unnamed_files(killed.pid or 0),
        "writing": lambda: list(packs.iterdir()),
        "written": lambda: git.list_adhoc_commits(path),
    }[moment]
    wait_for(lambda: reached() or not killed.is_alive(), every=0.001)
    killed.kill()
    killed.join()
    answer = upload(api, large())
    assert answer.status_code in (200, 201), answer.text
    commit = commits.get_by_identifier(api.db, api.demo.id, identifier_of(large()))
    assert git.list_adhoc_commits(path) == {identifier_of(large())[1:]: commit.sha}
    wait_for(lambda: not list(packs.glob("tmp_*")))  # git itself was not killed and finishes
    assert temporary_files(api.config.data) == []
    in_git(path, "fsck")


def test_a_ref_without_a_row_and_a_partial_pack_are_removed(api: ApiServer) -> None:
    commit = stored(api)
    path = repository(api)
    partial = [path / "objects" / "pack" / name for name in ("tmp_pack_x", "pack-x.pack")]
    for file in partial:
        file.write_bytes(b"x")
    adhoc.prune(api.context)
    assert all(file.exists() for file in partial)  # somebody may be writing them
    for file in partial:
        os.utime(file, (1, 1))
    adhoc.prune(api.context)
    assert not any(file.exists() for file in partial)
    in_git(path, "fsck")
    execute(api.db, "DELETE FROM git_commit WHERE id = ?", (commit.id,))
    adhoc.prune(api.context)
    assert git.list_adhoc_commits(path) == {}


def test_pages_name_ad_hoc_code_in_place_of_a_branch(api: ApiServer) -> None:
    commit = stored(api)
    person = Person(api)
    person.log_in()
    listed = person.get("/p/demo/commits/").text
    shown = person.get(f"/p/demo/commits/{commit.identifier}/").text
    for page in (listed, shown):
        assert "Ad-hoc code" in page
        assert "heads/main-0-g1" in page
    assert "Pushes" not in shown

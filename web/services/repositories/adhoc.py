"""Ad-hoc code: packages that `vh` uploads, kept as commits on no branch that runners fetch like any other.

A commit's identifier is `~` and the SHA-256 of the package, so the same package is stored once. Its ref in the
repository is written before its row: a server killed between them leaves a ref that the next upload of the package
uses, and that `prune` deletes otherwise.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from core import clock, git, locks, packages
from core.errors import GitError, InputTooLarge, InvalidFields, InvalidInput, Problem
from core.git import PackageSpool
from core.model import Commit, Project, Repository, User
from core.packages import PackageLimits
from core.text import make_printable
from web.config.steps.parse import YAML_BYTES
from web.services import disk
from web.services.context import Context
from web.services.repositories import hosting
from web.services.repositories.commit_head import ReadBudget, read_content
from web.store import audit, commits, projects
from web.store.audit import Act, Kind
from web.store.commits import NewCommit, ReadConfiguration
from web.store.db import transaction

REF = "adhoc"  # shown in place of a branch
UNTITLED = "Ad-hoc code"
DESCRIPTION_CHARS = 1000
SMALLER = "Leave files out with .vhignore, and read data as inputs"
COMPRESSED_ENOUGH = 1.5  # what gzip made only this much smaller is not compressed again


@dataclass(frozen=True, kw_only=True)
class Package:
    """A received package: `size` bytes in a temporary file; `yaml_path` is its configuration, "" for the project's."""

    file: BinaryIO
    size: int
    sha256: str
    description: str
    yaml_path: str

    @property
    def identifier(self) -> str:
        return f"~{self.sha256}"


def store(context: Context, project: Project, creator: User, package: Package) -> tuple[Commit, bool]:
    """Store a package as a commit; return it, and whether it is new. The same package is stored once.

    Nothing is written to the repository before all of the package and its configuration is checked. Raises
    InvalidInput and DiskFull.
    """
    if known := commits.find_by_identifier(context.db, project.id, package.identifier):
        return known, False
    repository = hosting.get_repository(context.db, project)
    yaml_path = package.yaml_path or project.yaml_path
    message = make_printable(package.description, " ").strip()[:DESCRIPTION_CHARS] or UNTITLED
    with closing(PackageSpool(context.config.git_dir, level=_level(package))) as spool:
        configuration = _checked(context, package, spool, yaml_path)
        sha = spool.add_commit(author=creator.username, message=message, seconds=_now())
        disk.check(context.config, spool.bytes)
        path = _prepared(context, project, repository)
        with git.locked(path):
            sha = git.write_commit(path, package.sha256, spool, sha)
            info = git.get_commit(path, sha)
            new = NewCommit(
                project_id=project.id,
                repository_id=repository.id,
                identifier=package.identifier,
                ref=REF,
                message=message,
                author=creator.username,
                committed_at=info.committed_at,
                yaml_path=yaml_path,
                git_sha=sha,
                **vars(configuration),
            )
            with transaction(context.db):
                known = commits.find_by_identifier(context.db, project.id, package.identifier)
                if known is None:
                    audit.record(context.db, Act.CREATE, Kind.COMMIT, package.identifier, project.id)
                return known or commits.upsert_commit(context.db, new), known is None


def _level(package: Package) -> int:
    """Return the zlib level for its files, with which runners receive them: 0 if gzip could hardly compress them.

    A gzip file ends with its uncompressed size, modulo 4 GiB.
    """
    package.file.seek(max(0, package.size - 4))
    unpacked = int.from_bytes(package.file.read(4), "little")
    return 0 if unpacked < COMPRESSED_ENOUGH * package.size else 1


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _prepared(context: Context, project: Project, repository: Repository) -> Path:
    """Return the path of the project's repository, which may not exist before its first push or fetch."""
    if repository.forge == projects.HOSTED:
        return hosting.prepare(context, project, repository)
    path = hosting.get_repository_path(context.config, repository)
    with locks.hold(context.config.git_dir / "prepare.lock"):
        git.init_mirror(path)
    return path


def _checked(context: Context, package: Package, spool: PackageSpool, yaml_path: str) -> ReadConfiguration:
    """Copy a package into the spool and return its configuration. Raises InvalidInput and DiskFull."""
    data = _copy(context, package, spool, yaml_path)
    shown = make_printable(yaml_path)[:200]
    if data is None:
        raise InvalidInput(f"the package has no {shown}", field="yaml_path", code="does_not_exist")
    if len(data) > YAML_BYTES:
        raise InvalidInput(f"{shown} is larger than {YAML_BYTES:,} bytes", field="yaml_path")
    read = read_content(context.db, data, ReadBudget(context.config.limits))
    if read.config_state != "ok":
        raise InvalidFields([Problem(f"{shown}: {problem}", "yaml_path") for problem in read.problems])
    return read


def _copy(context: Context, package: Package, spool: PackageSpool, yaml_path: str) -> bytes | None:
    """Copy the files of a package into the spool; return the content of one of them, None if it does not exist."""
    limits, data = context.config.limits, None
    wanted = yaml_path.encode("utf-8", "replace")
    package.file.seek(0)
    try:
        for entry in packages.iterate_entries(
            package.file, package.size, PackageLimits(files=limits.package_files, bytes=limits.package_unpacked)
        ):
            disk.check(context.config, entry.size)
            if entry.path == wanted and entry.is_file:
                data = spool.add_entry(entry, keep=YAML_BYTES + 1)
            else:
                spool.add_entry(entry)
    except InputTooLarge as error:
        text = f"the package is refused: {error}. {SMALLER}"
        raise InputTooLarge(text, field="data", code="too_large") from None
    except InvalidInput as error:
        raise InvalidInput(f"the package is refused: {error}", field="data") from None
    return data


def apply_default_configuration(context: Context, project: Project, commit: Commit) -> Commit | None:
    """Return ad-hoc code with the configuration at the project's own path; None if it has none that can run.

    `vh` uploads the same files only once, whatever configuration they are to be run with.
    """
    if not commit.adhoc or commit.yaml_path == project.yaml_path:
        return None
    path = hosting.get_repository_path(context.config, projects.get_repository(context.db, commit.repository_id))
    try:
        data = git.read_file(path, commit.sha, project.yaml_path, YAML_BYTES)
    except GitError:
        return None
    read = read_content(context.db, data, ReadBudget(context.config.limits)) if data is not None else None
    if read is None or read.config_state != "ok":
        return None
    return replace(commit, yaml_path=project.yaml_path, **vars(read))


def prune(context: Context) -> None:
    """Delete ad-hoc code that is old and that nothing was launched from, and tidy the repositories with ad-hoc code.

    May be killed anywhere: refs whose rows were deleted are deleted the next time.
    """
    for repository in projects.list_all_repositories(context.db):
        path = hosting.get_repository_path(context.config, repository)
        if path.exists() and git.list_adhoc_commits(path):
            git.tidy(path, collect=_prune(context, repository, path))


def _prune(context: Context, repository: Repository, path: Path) -> bool:
    """Delete old ad-hoc code of one repository; return whether there was any."""
    age, db = context.config.limits.package_age, context.db
    with git.locked(path):
        if age:
            with transaction(db):
                commits.delete_unused_adhoc(db, repository.id, clock.add_to_now(-age))
        found, kept = git.list_adhoc_commits(path), commits.list_adhoc_identifiers(db, repository.id)
        gone = [name for name in found if f"~{name}" not in kept]
        git.forget_adhoc(path, gone)
    return bool(gone)

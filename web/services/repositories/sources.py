"""Fetch the submodules and Git LFS objects of a commit when an execution requests them.

A runner's request (`POST …/sources`) writes rows of `source` and is answered with their progress; the worker fetches
several repositories concurrently. Submodules are fetched without history into `git/N.modules.git`, Git LFS objects by
their hash into `git/N.lfs/`.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

from core import clock, git
from core.errors import DiskFull, GitError
from core.git import url as git_url
from core.git.lfs import Pointer
from core.git.modules import Module
from core.git.url import RemoteUrl
from core.model import Execution, Repository
from core.text import make_printable
from web.services import disk
from web.services.context import Context
from web.services.repositories import hosting, lfs_objects, remotes
from web.services.repositories.fetch_rules import FetchRules
from web.services.repositories.lfs_client import make_basic_header
from web.services.repositories.lfs_objects import Fetcher
from web.store import commits, projects, sources
from web.store.db import Database, transaction
from web.store.sources import CommitSources, SourceState

RETRY_S = 10.0  # a failure is not retried earlier
PROGRESS_S = 1.0
SHOWN = 20  # reasons stored for one commit


def ensure_requested(db: Database, execution: Execution) -> CommitSources:
    """Return the state of the sources of an execution's commit, and request them if they are not requested yet.

    Sources that failed more than RETRY_S ago are requested again. A commit known only from pull requests of forks gets
    none: it could name repositories that the project's credentials open.
    """
    commit = commits.get(db, execution.commit_id)
    if not commits.is_trusted(db, commit.id):
        refusal = ("", "submodules and Git LFS files of a fork's commit are not fetched before it is approved")
        return CommitSources(
            repository_id=commit.repository_id,
            sha=commit.sha,
            state=SourceState.FAILED,
            missing=(refusal,),
            changed_at="",
        )
    with transaction(db):
        found = sources.find(db, commit.repository_id, commit.sha)
        if found is None or (found.state is SourceState.FAILED and found.changed_at < clock.add_to_now(-RETRY_S)):
            sources.request(db, commit.repository_id, commit.sha)
            found = sources.find(db, commit.repository_id, commit.sha)
    assert found is not None  # noqa: S101  (just inserted)
    return found


def fetch_wanted(context: Context, repository_id: int) -> None:
    """Fetch the requested sources of a repository's commits. May be killed anywhere."""
    repository = projects.get_repository(context.db, repository_id)
    while sha := sources.find_wanted(context.db, repository_id):
        preparation = _Preparation(context, repository, sha)
        try:
            preparation.run()
        except Exception as error:
            preparation.missing.append(("", f"{type(error).__name__}: {error}"))
            if not isinstance(error, GitError):
                raise
        finally:
            missing, skipped = _shortened(preparation.missing), preparation.skipped[:SHOWN]
            sources.finish(context.db, repository_id, sha, missing=missing, skipped=skipped)


def _shortened(reasons: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(reasons) - SHOWN
    return [*reasons[:SHOWN], ("", f"{more} more are missing")] if more > 0 else reasons


class _Preparation:
    """Fetches the sources of one commit. `missing` and `skipped` contain pairs of a path and a reason."""

    def __init__(self, context: Context, repository: Repository, sha: str) -> None:
        self._context, self._repository, self._sha = context, repository, sha
        self.missing: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self._count = 0
        self._said_at = 0.0
        self._prefix = ""
        self._deadline = time.monotonic() + context.config.git.sources_time
        self._modules = hosting.get_modules_path(context.config, repository)
        self._rules = FetchRules(
            home=hosting.find_remote(repository) if repository.url else None,
            login=remotes.get_login(context, repository),
            hosts=context.config.git.submodule_hosts,
            allow_local=context.config.git.allow_local,
            allow_http=context.config.git.allow_http,
        )
        self._fetcher = Fetcher(
            hosting.get_lfs_path(context.config, repository),
            context.config,
            self._deadline,
            self._lacks_object,
            self._say,
        )

    def run(self) -> None:
        self._commit(
            hosting.get_repository_path(self._context.config, self._repository), self._sha, "", self._rules.home
        )

    def _commit(self, path: Path, sha: str, prefix: str, remote: RemoteUrl | None) -> None:
        """Fetch the sources of one commit in the repository at `path`, which came from `remote`, recursively."""
        needed = git.find_needed(path, sha)
        if needed.pointers:
            self._objects(path, sha, prefix, remote, needed.pointers)
        declared = git.read_submodules(path, sha) if needed.submodules else {}
        for place, commit in needed.submodules:
            self._submodule(prefix + place, commit, declared.get(place), remote)

    def _objects(self, path: Path, sha: str, prefix: str, remote: RemoteUrl | None, pointers: list[Pointer]) -> None:
        settings = git.read_lfs_settings(path, sha)
        out = {pointer.path for pointer in pointers if lfs_objects.is_excluded(settings, pointer.path)}
        self.skipped += [(prefix + name, ".lfsconfig excludes it") for name in sorted(out)]
        self._prefix = prefix
        lacking = self._fetcher.lacks([pointer for pointer in pointers if pointer.path not in out])
        if not lacking:
            return
        try:
            if remote is None:
                raise GitError("its content was not uploaded: `git lfs push --all` does so")
            self._fetcher.fetch(lacking, *self._lfs_server(path, remote, settings))
        except GitError as error:
            for pointer in lacking:
                if not self._fetcher.has(pointer):
                    self._lacks_object(pointer, str(error))

    def _lfs_server(self, path: Path, remote: RemoteUrl, settings: dict[str, str]) -> tuple[RemoteUrl, dict[str, str]]:
        """Return the Git LFS server of a repository, and the headers that authenticate to it."""
        server = lfs_objects.choose_server(remote, settings, self._rules)
        if remote.scheme == "ssh" and "lfs.url" not in settings:
            with contextlib.suppress(GitError):  # not every host has it; the https credentials count then
                source = self._source(remote.address, remote, self._rules.login_for(remote))
                href, headers = git.fetch_lfs_login(path, source)
                allow_http = self._context.config.git.allow_http
                return git_url.parse(href, allow_local=False, allow_http=allow_http) if href else server, headers
        login = self._rules.login_for(server)
        return server, make_basic_header(server.username or login.user, server.password or login.password)

    def _submodule(self, place: str, sha: str, module: Module | None, parent: RemoteUrl | None) -> None:
        if module is None or module.update == "none":
            why = "says update = none" if module else "does not name it"
            self.skipped.append((place, f".gitmodules {why}"))
            return
        self._count += 1
        try:
            if self._count > self._context.config.git.submodules:
                raise GitError(
                    f"the commit has more than the {self._context.config.git.submodules} of [git] submodules"
                )
            self._say(f"Fetching submodule {make_printable(place)[:300]}")
            remote = self._rules.place(module.url, parent)
            disk.check(self._context.config, 0)
            self._fetch(remote, sha)
            self._commit(self._modules, sha, f"{place}/", remote)
        except (GitError, DiskFull) as error:
            self.missing.append((place, str(error)))

    def _fetch(self, remote: RemoteUrl, sha: str) -> None:
        git.init_mirror(self._modules)
        login = self._rules.login_for(remote)
        try:
            self._fetch_from(remote.address, remote, login, sha)
        except GitError as error:
            if "returned error: 30" not in str(error) or remote.address.endswith(".git"):
                raise
            self._fetch_from(f"{remote.address}.git", remote, login, sha)  # GitLab redirects to this

    def _fetch_from(self, address: str, remote: RemoteUrl, login: git.Login, sha: str) -> None:
        limit = min(
            self._context.config.git.submodule_bytes, max(1, disk.compute_available_bytes(self._context.config))
        )
        git.fetch_submodule(self._modules, self._source(address, remote, login), sha, max_bytes=limit)

    def _source(self, address: str, remote: RemoteUrl, login: git.Login) -> git.RemoteSource:
        return git.make_remote_source(
            address,
            replace(login, user=remote.username or login.user, password=remote.password or login.password),
            allow_local=self._context.config.git.allow_local,
            allow_http=self._context.config.git.allow_http,
            time_limit_s=max(1.0, self._deadline - time.monotonic()),
        )

    def _lacks_object(self, pointer: Pointer, reason: str) -> None:
        self.missing.append((self._prefix + pointer.path, reason))

    def _say(self, message: str) -> None:
        if time.monotonic() - self._said_at >= PROGRESS_S:
            self._said_at = time.monotonic()
            sources.set_message(self._context.db, self._repository.id, self._sha, message)

"""Find the Git LFS objects of a commit that are missing in the store, and fetch them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from core.config import Config
from core.errors import DiskFull, GitError
from core.git import lfs
from core.git import url as git_url
from core.git.lfs import Pointer
from core.git.url import RemoteUrl
from web.services import disk
from web.services.repositories.fetch_rules import FetchRules
from web.services.repositories.lfs_client import LfsAction, LfsClient
from web.services.triggers.rules import globs

AT_ONCE = 100  # objects in one batch request
LOCAL_CHUNK = 1024**2

Missing = Callable[[Pointer, str], None]
Progress = Callable[[str], None]


def choose_server(remote: RemoteUrl, settings: dict[str, str], rules: FetchRules) -> RemoteUrl:
    """Return the Git LFS server of a repository: from .lfsconfig, else below its own address. Raises GitError."""
    if url := settings.get("lfs.url", ""):
        return rules.place(url, remote)
    if remote.scheme == "file":
        return remote
    path = f"{remote.path}.git/info/lfs" if remote.path else "info/lfs"
    return git_url.parse(f"{remote.site}/{path}", allow_local=False, allow_http=rules.allow_http)


def is_excluded(settings: dict[str, str], path: str) -> bool:
    """Return whether .lfsconfig excludes a file from fetching."""
    patterns = [pattern.strip().strip("/") for pattern in settings.get("lfs.fetchexclude", "").split(",")]
    return any(globs.matches(found, path) for pattern in patterns if pattern for found in (pattern, f"{pattern}/**"))


class Fetcher:
    """Fetches objects into the store `path`. Calls `missing` for each pointer whose object cannot be fetched."""

    def __init__(self, path: Path, config: Config, deadline: float, missing: Missing, progress: Progress) -> None:
        self._path, self._config, self._deadline = path, config, deadline
        self._missing, self._progress = missing, progress
        self._files = self._bytes = 0
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lfs.remove_leftovers(path)

    def lacks(self, pointers: Sequence[Pointer]) -> list[Pointer]:
        """Return the pointers whose objects are not in the store, except those beyond the limits of a commit."""
        limits, lacking = self._config.git, []
        for pointer in pointers:
            self._files, self._bytes = self._files + 1, self._bytes + pointer.size
            if self._files > limits.lfs_files or self._bytes > limits.lfs_bytes:
                self._missing(
                    pointer,
                    f"the commit has more than the {limits.lfs_files:,} Git LFS files or {limits.lfs_bytes:,} bytes"
                    " that [git] lfs_files and lfs_bytes allow",
                )
            elif not self.has(pointer):
                lacking.append(pointer)
        return lacking

    def has(self, pointer: Pointer) -> bool:
        return lfs.has_object(self._path, pointer.oid, pointer.size)

    def fetch(self, pointers: Sequence[Pointer], server: RemoteUrl, headers: Mapping[str, str]) -> None:
        """Fetch objects from one server. Raises GitError if the server cannot be queried at all."""
        if server.scheme == "file":
            for pointer in pointers:
                self._store(pointer, lambda pointer: _local(Path(server.address), pointer))
            return
        total, done = sum(pointer.size for pointer in pointers), 0
        with LfsClient(
            server.address,
            headers,
            allow_http=self._config.git.allow_http,
            deadline=self._deadline,
        ) as client:
            for start in range(0, len(pointers), AT_ONCE):
                some = pointers[start : start + AT_ONCE]
                actions = client.locate(some)
                for number, pointer in enumerate(some, start + 1):
                    self._progress(f"Fetching Git LFS file {number} of {len(pointers)}, {done:,} of {total:,} bytes")
                    self._one(client, pointer, actions.get(pointer.oid, "the server's answer does not contain it"))
                    done += pointer.size

    def _one(self, client: LfsClient, pointer: Pointer, action: LfsAction | str) -> None:
        if isinstance(action, str):
            self._missing(pointer, action)
        else:
            self._store(pointer, lambda pointer: client.download(action, pointer.size))

    def _store(self, pointer: Pointer, content: Callable[[Pointer], Iterator[bytes]]) -> None:
        if self.has(pointer):
            return  # two files have the same content
        if time.monotonic() > self._deadline:
            self._missing(pointer, "fetching took longer than [git] sources_time allows")
            return
        try:
            disk.check(self._config, pointer.size)
            chunks = disk.guard_chunks(self._config, content(pointer))
            lfs.store_object(self._path, pointer.oid, pointer.size, chunks)
        except (GitError, DiskFull) as error:
            self._missing(pointer, str(error))


def _local(repository: Path, pointer: Pointer) -> Iterator[bytes]:
    """Yield an object of a repository on this disk, from where git-lfs stores it. Raises GitError."""
    for folder in (repository / "lfs", repository / ".git" / "lfs"):
        file = folder / "objects" / pointer.oid[:2] / pointer.oid[2:4] / pointer.oid
        if file.is_file():
            with file.open("rb") as opened:
                while chunk := opened.read(LOCAL_CHUNK):
                    yield chunk
            return
    raise GitError("the repository does not have it")

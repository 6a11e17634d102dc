"""Completes a commit's tree with submodules and Git LFS files, which the server fetches on request.

The export of a commit finds submodules and Git LFS pointers, so a commit without them costs nothing. Submodules are
fetched like commits, from `/git/NAME.modules.git`; Git LFS objects are fetched from a URL below the execution's, and
cached with the inputs. A tree becomes visible when it is complete. Missing objects fail the execution, so that an
incomplete tree is never cached.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core import git
from core.errors import ExecutionFailed, NotFound, PushmillError
from core.git import Needed
from core.git.lfs import Pointer
from core.states import FailureReason
from core.text import make_printable
from core.units import format_size
from core.wire import SourcesReport
from runner.execution.context import ExecutionContext
from runner.host import get_free_disk
from runner.inputs.cache import Cache
from runner.server_client import Reporter, Unavailable

ASK_S = 0.5
SHOWN = 20  # most paths that are listed individually


class Sources:
    """Fetches the sources of one execution from the server. Use as a context manager."""

    def __init__(self, run: ExecutionContext) -> None:
        self._run = run
        self._reporter: Reporter = run.host.reporter.with_give_up(run.lease.cancelled)

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._reporter.close()

    def complete(self, repository: Path, tree: Path, needed: Needed, fetch: Callable[[str], None]) -> list[str]:
        """Add submodules and Git LFS files to `tree`; returns a sentence for each path that the server skipped.

        `fetch` brings a submodule's commit into the cache `repository`. The tree is not visible to other processes yet,
        and the export has created its directories. Raises ExecutionFailed, GitError and Cancelled.
        """
        skipped = {item[0]: item[1] for item in self._fetched_by_server().skipped}
        pointers = self._fill(repository, tree, "", needed, fetch, skipped)
        self._check_disk(pointers)
        if pointers:
            size = format_size(sum(pointer.size for pointer in pointers))
            self._run.status(f"Receiving {len(pointers)} Git LFS file{'s' if len(pointers) > 1 else ''}, {size}")
        cache = Cache(self._run.host.cache / "inputs")
        for pointer in pointers:
            self._run.check()
            self._place(cache, tree / pointer.path, pointer)
        notes = [f"{make_printable(path)[:300]} is left as it is: {reason}" for path, reason in skipped.items()]
        return notes[:SHOWN] + ([f"… and {len(notes) - SHOWN} more"] if len(notes) > SHOWN else [])

    def _fetched_by_server(self) -> SourcesReport:
        """Wait until the server has everything, and show its progress. Raises ExecutionFailed if a path is missing."""
        run, reported = self._run, ""
        while True:
            run.check()
            try:
                report = self._reporter.sources(run.spec.uuid, run.spec.attempt)
            except Unavailable:
                run.check()
                raise
            if report.state != "wanted":
                break
            if report.message and report.message != reported:
                reported = report.message
                run.status(reported)
            time.sleep(ASK_S)
        if report.state != "ready":
            raise self._missing(report)
        return report

    def _missing(self, report: SourcesReport) -> ExecutionFailed:
        sentences = [f"{make_printable(path)[:300]}: {reason}" if path else reason for path, reason in report.missing]
        for sentence in sentences:
            self._run.status(f"Missing: {sentence}")
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        return ExecutionFailed(FailureReason.INPUT, f"A path of the commit is missing: {sentences[0]}{more}")

    def _fill(
        self,
        repository: Path,
        tree: Path,
        prefix: str,
        needed: Needed,
        fetch: Callable[[str], None],
        skipped: dict[str, str],
    ) -> list[Pointer]:
        """Export submodules recursively; returns all Git LFS pointers, with paths relative to the commit's root."""
        found = [Pointer(path=prefix + pointer.path, oid=pointer.oid, size=pointer.size) for pointer in needed.pointers]
        pointers = [pointer for pointer in found if pointer.path not in skipped]
        for place, sha in needed.submodules:
            path = prefix + place
            if path not in skipped:
                self._run.check()
                fetch(sha)
                below = git.export(repository, sha, tree / path)
                pointers += self._fill(repository, tree, f"{path}/", below, fetch, skipped)
        return pointers

    def _check_disk(self, pointers: list[Pointer]) -> None:
        host, size = self._run.host, sum(pointer.size for pointer in pointers)
        if size > get_free_disk(host.directory) - host.settings.min_free_disk:
            raise ExecutionFailed(
                FailureReason.DISK,
                f"The Git LFS files of the commit, {format_size(size)}, do not fit on the runner's disk",
            )

    def _place(self, cache: Cache, target: Path, pointer: Pointer) -> None:
        """Replace a pointer by its object."""
        mode = target.stat().st_mode & 0o777
        try:
            cache.obtain_content(pointer.oid, pointer.size, target, lambda file: self._receive(pointer, file))
        except NotFound:
            raise _failed(pointer, "it is no longer on the server") from None
        except Unavailable:
            self._run.check()
            raise
        except PushmillError as error:
            raise _failed(pointer, str(error)) from None
        target.chmod(mode)

    def _receive(self, pointer: Pointer, file: BinaryIO) -> None:
        sha256 = hashlib.sha256()

        def write(chunk: bytes) -> None:
            file.write(chunk)
            sha256.update(chunk)

        spec = self._run.spec
        self._reporter.fetch_lfs(spec.uuid, spec.attempt, pointer.oid, write)
        if sha256.hexdigest() != pointer.oid:
            raise _failed(pointer, f"it arrived with SHA-256 {sha256.hexdigest()}")


def _failed(pointer: Pointer, reason: str) -> ExecutionFailed:
    return ExecutionFailed(FailureReason.INPUT, f"Git LFS file {make_printable(pointer.path)[:300]}: {reason}")

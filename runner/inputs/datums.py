"""Fetches outputs of earlier executions as inputs. The server gives them only to the holder of the lease."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from core import datum
from core.errors import ExecutionFailed, NotFound
from core.states import FailureReason
from core.wire import DatumSpec, ExecutionSpec
from runner.server_client import Reporter, Unavailable


class Datums:
    """Resolves the `datum://` URLs of one execution. `reporter` gives up when the execution is cancelled."""

    def __init__(self, reporter: Reporter, spec: ExecutionSpec) -> None:
        self._reporter, self._execution, self._attempt = reporter, spec.uuid, spec.attempt
        self._known = spec.datum_specs()

    def find_datum(self, url: str) -> DatumSpec | None:
        """Return the output that a URL names; None for any other URL. Raises ExecutionFailed if it may not be read."""
        uuid = datum.parse_datum_url(url)
        if uuid is None:
            return None
        if uuid not in self._known:
            raise _failed(f"{url} is not an output that this execution may read")
        return self._known[uuid]

    def receive(self, found: DatumSpec, file: BinaryIO, progress: Callable[[int, int | None], None]) -> None:
        """Write an output to an empty file and check its SHA-256. Raises ExecutionFailed.

        `progress` is called with the bytes so far and in total.
        """
        sha256, size = hashlib.sha256(), 0

        def write(chunk: bytes) -> None:
            nonlocal size
            file.write(chunk)
            sha256.update(chunk)
            size += len(chunk)
            progress(size, found.size)

        url = datum.make_datum_url(found.uuid)
        try:
            self._reporter.fetch(self._execution, self._attempt, found.uuid, write)
        except Unavailable:
            raise _failed("the execution was stopped while inputs were fetched") from None
        except NotFound:
            raise _failed(f"{url} ({found.name[:100]!r}) is no longer on the server") from None
        if sha256.hexdigest() != found.sha256:
            raise _failed(f"{url} is damaged: its sha256 was {found.sha256} and is {sha256.hexdigest()}")


def _failed(message: str) -> ExecutionFailed:
    return ExecutionFailed(FailureReason.INPUT, message)

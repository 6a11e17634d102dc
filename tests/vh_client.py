"""The real `vh` command line client, unmodified, in a directory of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

# each run is a fork of a process that has imported it, which takes most of a second
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "valohai_cli.cli", "valohai_cli.commands.execution.run", __name__])


class Vh:
    """A shell of a user. `vh` runs in `folder`; its configuration is beside it."""

    def __init__(self, place: Path, url: str, folder: Path | None = None) -> None:
        self.folder, self.url = folder or place / "work", url
        self.folder.mkdir(parents=True, exist_ok=True)
        config = place / "config"
        config.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VALOHAI_")}
        self.environment = kept | {
            "VALOHAI_CONFIG_DIR": str(config), "BROWSER": "/bin/true", "NO_COLOR": "1", "LC_ALL": "C.UTF-8",
            "COLUMNS": "220", "NO_PROXY": "127.0.0.1,localhost", "HOME": str(place), "GIT_CEILING_DIRECTORIES": "/",
        }  # fmt: skip

    def __call__(self, *arguments: str, rc: int = 0, timeout: float = 120) -> str:
        """Run `vh`; return its output on both streams."""
        with self._started(*arguments) as (process, output):
            said = output.read()
            process.join(timeout)
        assert process.exitcode == rc, said
        assert "Traceback" not in said
        return said

    def json(self, *arguments: str) -> Any:
        errors = self.folder.with_name("errors")
        with self._started("--output-format", "json", *arguments, errors=errors) as (process, output):
            said = output.read()
            process.join(60)
        assert process.exitcode == 0, errors.read_text()
        return json.loads(said)

    def until(self, seen: str, *arguments: str) -> str:
        """Run `vh` until it has printed `seen`, then send Ctrl-C, since `vh exec watch` never ends; return its output."""
        with self._started(*arguments) as (process, output):
            assert process.pid is not None
            said = ""
            for line in output:
                said += line
                if seen in line:
                    os.kill(process.pid, signal.SIGINT)
                    break
            said += output.read()
            process.join(30)
        assert process.exitcode in (0, 130), said
        assert seen in said
        return said

    @contextmanager
    def _started(self, *arguments: str, errors: Path | None = None) -> Iterator[tuple[BaseProcess, IO[str]]]:
        """A process and what it prints, with its errors unless they go to a file; killed if it still runs afterwards."""
        ours, its = os.pipe()
        process = FORKS.Process(target=_run, args=(arguments, self.folder, self.environment, _Sent(its), errors))
        process.start()
        os.close(its)
        with os.fdopen(ours, encoding="utf-8") as output:
            yield process, output
        process.kill()
        process.join()


class _Sent:
    """A descriptor on its way to another process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return _received, (reduction.DupFd(self.descriptor),)


def _received(sent: Any) -> int:
    return int(sent.detach())


def _run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: int, errors: Path | None
) -> None:
    """What the script `vh` does, in a process of its own."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if errors else output, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", 1, "utf-8"), open(2, "w", 1, "utf-8")  # noqa: SIM115
    sys.argv = ["vh", *arguments]
    from valohai_cli.cli import cli

    sys.exit(cli())

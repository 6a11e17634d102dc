"""The real `vh` command line client, unmodified, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

VH = Path(sys.executable).parent / "vh"


class Vh:
    """A person's shell. `folder` is where `vh` runs; its configuration is beside it."""

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
        """What it said on both streams."""
        result = subprocess.run(
            [str(VH), *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        )  # fmt: skip
        assert result.returncode == rc, result.stdout
        assert "Traceback" not in result.stdout
        return result.stdout

    def json(self, *arguments: str) -> Any:
        command = [str(VH), "--output-format", "json", *arguments]
        output = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
        assert output.returncode == 0, output.stderr
        return json.loads(output.stdout)

    def until(self, seen: str, *arguments: str) -> str:
        """What it said until it had printed `seen`; then Ctrl-C, since `vh exec watch` never ends by itself."""
        with subprocess.Popen(
            [str(VH), *arguments], cwd=self.folder, env=self.environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in the background
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if seen in line:
                    process.send_signal(signal.SIGINT)
                    break
            said += process.stdout.read()
            assert process.wait(30) in (0, 130), said
        assert seen in said
        return said

"""The commands of README and docs/first-steps.md, verbatim, in a fresh clone with an empty home directory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from documentation import Block, blocks
from instance import FINAL, free_port, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
T = TypeVar("T")
GUIDES = (ROOT / "README.md", ROOT / "docs" / "first-steps.md")
# commands that the test does not run as they stand, and why
NOT_RUN = {
    "make up": "run by the test itself, with another port, before the other commands",
    "make test": "runs this test",
}
# a reader has these
PERSON = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org"}
PERSON |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in PERSON.items()}


@dataclass
class Terminal:
    """A user's terminal in the clone. Ctrl-C reaches `make up` and everything that it has started."""

    clone: Path
    home: Path
    data: Path
    port: int = field(default_factory=free_port)
    runs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def make_up(self, until: str, timeout: float) -> None:
        """Type the command, and wait until the terminal shows `until`."""
        with open(self.screen(len(self.runs)), "wb") as output:
            data = [] if self.data == self.home / ".local/share/pushmill" else [f"DATA={self.data}"]
            command = [*readme_command().split(), *data, f"PORT={self.port}"]
            process = subprocess.Popen(
                command, cwd=self.clone, env=self.environ(), stdout=output, stderr=output, start_new_session=True
            )
        self.runs.append(process)
        self.wait(lambda: until in self.said(), timeout)

    def environ(self) -> dict[str, str]:
        kept = ("PATH", "PIP_CACHE_DIR", "PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "DOCKER_HOST", "TMPDIR", "LANG")
        return {name: value for name in kept if (value := os.environ.get(name))} | {"HOME": str(self.home)}

    def type(self, text: str, folder: Path) -> tuple[str, Path]:
        """Type commands in another terminal; return what it shows, and the directory in which it is then."""
        for shown, meant in (("PUSH_TOKEN", self.token("push")), ("ADMIN_TOKEN", self.token("admin"))):
            text = text.replace(shown, meant)
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        environ = self.environ() | PERSON
        environ["PATH"] += f":{Path(sys.executable).parent}"  # `pip install valohai-cli`
        place = self.home / "place"
        done = subprocess.run(
            ["bash", "-ec", f"{text}\npwd >{place}"], cwd=folder, env=environ, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr, Path(place.read_text().strip())

    def token(self, kind: str) -> str:
        return (self.data / f"{kind}-token").read_text().strip()

    def screen(self, number: int) -> Path:
        return self.home.parent / f"screen-{number}"

    def said(self) -> str:
        return self.screen(len(self.runs) - 1).read_text(errors="replace")

    def wait(self, what: Callable[[], T | None], timeout: float) -> T:
        def still() -> T | None:
            assert self.runs[-1].poll() is None, f"make up has ended:\n{self.said()}"
            return what()

        try:
            return wait_for(still, timeout, 0.1)
        except TimeoutError:
            pytest.fail(f"not within {timeout} s; the terminal shows:\n{self.said()}")

    def ctrl_c(self) -> None:
        os.killpg(self.runs[-1].pid, signal.SIGINT)
        self.runs[-1].wait(30)

    def api(self, path: str) -> Any:
        token = (self.data / "admin-token").read_text().strip()
        headers = {"Authorization": f"Token {token}"}
        answer = httpx.get(f"http://127.0.0.1:{self.port}/api/v0{path}", headers=headers, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def executions(self, name: str = "quickstart") -> list[Any]:
        project = next(item for item in self.api("/projects/")["results"] if item["name"] == name)
        return list(self.api(f"/executions/?project={project['id']}&ordering=counter")["results"])


def readme_command() -> str:
    """Return the first `make` command of the README."""
    found = re.search(r"^(?:\$ )?(make .+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, "the README shows no make command"
    return found.group(1).split("#")[0].strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone, in which the first `make up` installs everything."""
    clone = tmp_path_factory.mktemp("clone") / "pushmill"
    # what is tracked and what is not yet: the tree as a commit of it would be
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    clone.mkdir()
    with subprocess.Popen(["tar", "-C", str(clone), "-x"], stdin=subprocess.PIPE) as unpack:
        subprocess.run(
            ["tar", "-C", str(ROOT), "--null", "--files-from=-", "--ignore-failed-read", "-c"],
            input=listed, stdout=unpack.stdin, check=True,
        )  # fmt: skip
    return clone


@pytest.fixture
def terminal(clone: Path, tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "home").mkdir()
    terminal = Terminal(clone, tmp_path / "home", tmp_path / "home" / ".local/share/pushmill")
    yield terminal
    if terminal.runs and terminal.runs[-1].poll() is None:
        terminal.ctrl_c()


def commands(block: Block) -> str:
    """Return the commands of a block: all lines of a script; of a terminal those with a prompt."""
    if block.language == "console":
        return "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ "))
    return "\n".join(line for line in block.text.splitlines() if line.split(" #")[0].strip() not in NOT_RUN)


def follow_the_guides(terminal: Terminal, folder: Path) -> None:
    """Type the commands of first steps and README. The server of `make up` runs."""
    readme, first_steps = ([block for block in blocks(page) if block.language in ("sh", "console")] for page in GUIDES)
    place = folder
    for block in first_steps:
        _, place = terminal.type(commands(block), place)
    assert list((place / "results").iterdir())
    assert len(terminal.executions("mymodel")) == 4, "three steps of the first push, and one of the second"
    (file,) = (block.text for block in blocks(GUIDES[0]) if block.language == "yaml")
    (folder / "valohai.yaml").write_text(file)
    terminal.type("git init -q -b main && git add . && git commit -qm First", folder)
    for block in readme:
        shown, _ = terminal.type(commands(block), folder)
        for line in block.text.splitlines() if block.language == "console" else ():
            line = re.escape(line.replace("127.0.0.1:8000", f"127.0.0.1:{terminal.port}")).replace("5f2c…", "[0-9a-f]+")
            assert line.startswith(r"\$") or re.search(line, shown), shown


def test_one_command_in_a_fresh_clone_trains_the_example_and_a_second_one_keeps_everything(terminal: Terminal) -> None:
    assert readme_command() == "make up"
    terminal.make_up(until="your turn", timeout=600)
    first = terminal.said()
    assert "The admin's token, shown only once" in first
    assert '"val_accuracy"' in first, "the terminal shows the log of the first execution"
    assert re.search(r"result +#1 complete", first)

    def all_final() -> list[Any] | None:
        found = terminal.executions()
        return found if len(found) == 3 and all(item["status"] in FINAL for item in found) else None

    executions = terminal.wait(all_final, 120)
    assert [item["status"] for item in executions] == ["complete"] * 3
    page = httpx.get(f"http://127.0.0.1:{terminal.port}/p/quickstart/", follow_redirects=True, trust_env=False)
    assert page.status_code == 200
    own = terminal.home / "own"
    own.mkdir()
    follow_the_guides(terminal, own)
    executions = terminal.executions()

    terminal.ctrl_c()
    assert "stopped; all data is kept" in terminal.said()
    with pytest.raises(httpx.ConnectError):
        terminal.api("/projects/")

    terminal.make_up(until="pushmill is up", timeout=60)
    assert "installing" not in terminal.said()
    assert "shown only once" not in terminal.said()
    assert [item["id"] for item in terminal.executions()] == [item["id"] for item in executions]


def test_two_at_the_same_time_and_a_taken_port_are_each_a_clear_sentence(terminal: Terminal) -> None:
    terminal.make_up(until="pushmill is up", timeout=600)
    terminal.wait(lambda: "your turn" in terminal.said(), 120)
    other = Terminal(terminal.clone, terminal.home, terminal.data, terminal.port, list(terminal.runs))
    with pytest.raises(AssertionError, match="already running on this data directory"):
        other.make_up(until="pushmill is up", timeout=60)
    other.data = terminal.data.with_name("other")
    with pytest.raises(AssertionError, match=rf"port {terminal.port} of 127.0.0.1 is taken.*make up PORT="):
        other.make_up(until="pushmill is up", timeout=60)

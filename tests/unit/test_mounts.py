"""Which directories of its machine a runner lets a step mount."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from runner.containers.mounts import HostMount, check, filter_allowed


class Machine:
    """A disk with a data directory of the runner's, `/shared` for all and something that nobody may have."""

    def __init__(self, top: Path) -> None:
        self.top, self.data = top, top / "data"
        for name in ("data/runner", "shared/sets/a", "shared/scratch", "secret"):
            (top / name).mkdir(parents=True)
        (top / "shared" / "file").touch()
        self.lines: list[str] = []

    def mount(self, source: str, destination: str = "/d", readonly: Any = True, allow: tuple[str, ...] = ()) -> Any:
        """What is made of one mount; `source` and `allow` are below this disk."""
        self.lines.clear()
        item = {"source": self.path(source), "destination": destination, "readonly": readonly}
        made = filter_allowed([item], [self.path(entry) for entry in allow], self.data, self.lines.append)
        assert len(self.lines) == 1
        return made[0] if made else None

    def path(self, name: str) -> str:
        return f"{self.top}{name}" if name.startswith("/") else name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("source", ["/shared", "/shared/", "/shared/sets/a", "/shared//sets/./a", "/shared/file"])
def test_an_allowed_directory_and_what_lies_in_it_are_mounted(machine: Machine, source: str) -> None:
    real = os.path.realpath(machine.path(source))
    assert machine.mount(source, allow=("/shared",)) == HostMount(source=real, destination="/d", readonly=True)
    assert machine.lines == [f"Mount of {machine.path(source)} at /d, read-only"]


@pytest.mark.parametrize(
    ("allow", "source", "readonly", "made_readonly"),
    [
        (("/shared",), "/shared", True, True),
        (("/shared",), "/shared", False, True),
        (("/shared:rw",), "/shared", True, True),
        (("/shared:rw",), "/shared", False, False),
        (("/shared:rw",), "/shared", None, True),
        (("/shared:rw",), "/shared", "no", True),
        (("/shared:rw",), "/shared", 0, True),
        (("/shared", "/shared/scratch:rw"), "/shared/scratch", False, False),
        (("/shared:rw", "/shared/sets"), "/shared/sets/a", False, True),
    ],
)
def test_it_is_writable_only_where_the_configuration_and_the_step_say_so(
    machine: Machine, allow: tuple[str, ...], source: str, readonly: object, made_readonly: bool
) -> None:
    assert machine.mount(source, readonly=readonly, allow=allow).readonly is made_readonly


@pytest.mark.parametrize(
    ("source", "allow"),
    [
        ("/shared", ()),
        ("/secret", ("/shared",)),
        ("/sharedx", ("/shared",)),
        ("/shared/../secret", ("/shared",)),
        ("/shared/link", ("/shared",)),
        ("/shared/link/below", ("/shared",)),
        ("shared", ("/shared",)),
        ("", ("/shared",)),
        ("/shared/new\nline", ("/shared",)),
        ("/shared/\0", ("/shared",)),
        ("/shared/\ud800", ("/shared",)),
        ("/shared/" + "x" * 9000, ("/shared",)),
        ("/shared/absent", ("/shared",)),
        ("/shared/pipe", ("/shared",)),
        ("/shared/socket", ("/shared",)),
        ("/data", ("/data:rw",)),
        ("/data/runner", ("/data/runner",)),
        ("/data/runner/cache", ("/data",)),
    ],
)
def test_nothing_else_is_mounted(machine: Machine, source: str, allow: tuple[str, ...]) -> None:
    (machine.top / "secret" / "below").mkdir()
    (machine.top / "sharedx").mkdir()
    (machine.top / "shared" / "link").symlink_to(machine.top / "secret")
    os.mkfifo(machine.top / "shared" / "pipe")
    here = Path.cwd()
    os.chdir(machine.top)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("shared/socket")
    os.chdir(here)
    assert machine.mount(source, allow=allow) is None
    assert " is skipped: " in machine.lines[0]
    assert "\n" not in machine.lines[0]


@pytest.mark.parametrize("path", ["/", "/run", "/run/docker.sock", "/var/run", "/var/run/docker.sock"])
def test_the_engines_socket_and_what_holds_it_are_never_mounted_whatever_the_configuration_says(
    tmp_path: Path, path: str
) -> None:
    asked = [{"source": path, "destination": "/d", "readonly": True}]
    assert filter_allowed(asked, [path], tmp_path, lambda line: None) == []


def test_a_parent_of_the_data_directory_is_never_mounted(machine: Machine) -> None:
    assert (
        filter_allowed(
            [{"source": str(machine.top), "destination": "/d", "readonly": True}],
            [str(machine.top)],
            machine.data,
            machine.lines.append,
        )
        == []
    )


@pytest.mark.parametrize(
    "destination",
    [
        *("/", "//", "", "d", "/a/../d", "/valohai", "/valohai/inputs/x", "//pushmill/main", "/proc/1", "/sys"),
        *("/dev/shm", "/./proc", "/d:ro", "/d\n", "/d\0", None, 5, ["/d"]),
    ],
)
def test_places_that_are_not_the_steps_own_are_refused(machine: Machine, destination: Any) -> None:
    assert machine.mount("/shared", destination, allow=("/shared",)) is None


def test_links_that_stay_within_what_is_allowed_are_followed(machine: Machine) -> None:
    (machine.top / "shared" / "latest").symlink_to("sets/a")
    made = machine.mount("/shared/latest", allow=("/shared",))
    assert made.source == os.path.realpath(machine.top / "shared" / "sets" / "a")


def test_two_mounts_at_one_place_are_one(machine: Machine) -> None:
    source = machine.path("/shared")
    asked = [{"source": source, "destination": place, "readonly": True} for place in ("/d", "/d/", "/e")]
    made = filter_allowed(asked, [source], machine.data, machine.lines.append)
    assert [mount.destination for mount in made] == ["/d", "/e"]


def test_what_is_missing_and_what_is_forbidden_cannot_be_told_apart(machine: Machine) -> None:
    told = []
    for source in ("/secret", "/absent"):
        machine.mount(source, allow=("/shared",))
        told.append(machine.lines[0].partition(" is skipped: ")[2])
    assert told[0] == told[1]


def test_a_configuration_that_cannot_be_meant_is_refused() -> None:
    check(("/data", "/scratch:rw", "/with space/x"))
    for entry in ("data", "", ":rw", "/", "//", "/:rw", "/data/../etc", "/data/..:rw"):
        with pytest.raises(ConfigError, match="mounts must be absolute paths"):
            check((entry,))

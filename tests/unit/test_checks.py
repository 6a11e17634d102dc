from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from core.errors import CannotStart
from web.processes.preflight import check_directory, check_disk, listen


def test_the_data_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    check_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_an_open_data_directory_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    for name in ("config.toml", "pushmill.db", "up.lock"):
        data = tmp_path / f"of-{name}"
        data.mkdir(mode=0o755)
        (data / name).touch()
        check_directory(data)
        assert data.stat().st_mode & 0o777 == 0o700


def test_a_directory_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(CannotStart, match="contains other files"):
        check_directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_or_an_impossible_place_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="is a file: name a directory with --data"):
        check_directory(tmp_path / "file")
    with pytest.raises(CannotStart, match="Not a directory"):
        check_directory(tmp_path / "file" / "below")


def test_a_full_disk_is_said_with_numbers_and_the_way_out(tmp_path: Path) -> None:
    assert check_disk(tmp_path, least=1) > 0
    with pytest.raises(CannotStart, match=r"MB free and 1000000000000 MB are needed: .*--data"):
        check_disk(tmp_path, least=10**18)


def test_a_port_that_cannot_be_had_is_said_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} of 127.0.0.1 is taken .*--port"):
            listen("127.0.0.1", port)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("192.0.2.1", 8000, "not an address of this machine"),
        ("no such host", 8000, "the address 'no such host' does not exist"),
        ("127.0.0.1", 70000, "70000 is not a valid port"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_said(host: str, port: int, words: str) -> None:
    with pytest.raises(CannotStart, match=words):
        listen(host, port)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
def test_a_port_for_root_is_said() -> None:
    with pytest.raises(CannotStart, match="needs root"):
        listen("127.0.0.1", 80)

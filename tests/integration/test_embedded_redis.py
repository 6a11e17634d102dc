from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import wait_for
from redis import Redis

from core.errors import CannotStart
from web.processes import child_process, private_redis
from web.processes.private_redis import EmbeddedRedis, find_binary

pytestmark = pytest.mark.redis
Start = Callable[[Path], EmbeddedRedis]


@pytest.fixture
def start() -> Iterator[Start]:
    began: list[EmbeddedRedis] = []

    def start(directory: Path) -> EmbeddedRedis:
        redis = EmbeddedRedis(directory, find_binary())
        began.append(redis)
        redis.start(os.environ)
        return redis

    yield start
    for redis in reversed(began):
        redis.stop(5.0)


def client(redis: EmbeddedRedis) -> Redis:
    return Redis(unix_socket_path=str(redis.socket))


def test_it_listens_on_a_private_socket_alone_and_says_where(tmp_path: Path, start: Start) -> None:
    redis = start(tmp_path / "redis")
    assert (tmp_path / "redis" / "url").read_text() == f"unix://{tmp_path}/redis/redis.sock\n"
    assert redis.socket.stat().st_mode & 0o777 == 0o700
    with client(redis) as connection:
        assert connection.config_get("port")["port"] == "0"
        assert connection.config_get("appendonly")["appendonly"] == "yes"
        assert connection.config_get("save")["save"] == ""


def test_a_left_over_one_is_taken_over_and_can_be_stopped(tmp_path: Path, start: Start) -> None:
    first = start(tmp_path / "redis")
    with client(first) as connection:
        connection.set("kept", "yes")
    second = start(tmp_path / "redis")
    assert second.took_over
    assert second.pid == first.pid
    second.stop(5.0)
    assert not child_process.is_running(first.pid)


def test_what_was_written_outlives_a_kill(tmp_path: Path, start: Start) -> None:
    redis = start(tmp_path / "redis")
    with client(redis) as connection:
        connection.rpush("queue", *range(2000))
    assert redis.tend(os.environ) is None
    os.kill(redis.pid, signal.SIGKILL)
    # its threads may outlive the first moment of the kill
    assert "was started again" in wait_for(lambda: redis.tend(os.environ))
    with client(redis) as connection:
        assert connection.llen("queue") == 2000


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_private_one(tmp_path: Path, start: Start) -> None:
    directory = tmp_path / ("long" * 30)
    redis = start(directory)
    assert len(os.fsencode(redis.socket)) <= private_redis.SOCKET_BYTES
    assert redis.socket.parent.stat().st_mode & 0o777 == 0o700
    assert (directory / "url").read_text() == f"unix://{redis.socket}\n"
    assert start(directory).took_over
    redis.stop(5.0)
    assert not redis.socket.parent.exists()
    assert start(directory).socket != redis.socket


def test_a_left_over_one_whose_socket_is_gone_is_ended_before_another_writes_its_file(
    tmp_path: Path, start: Start
) -> None:
    first = start(tmp_path / "redis")
    first.socket.unlink()
    second = start(tmp_path / "redis")
    assert not second.took_over
    assert not child_process.is_running(first.pid)
    with client(second) as connection:
        assert connection.ping()


def test_a_redis_that_cannot_start_is_quoted(tmp_path: Path, start: Start) -> None:
    start(tmp_path / "redis").stop(5.0)
    for file in (tmp_path / "redis" / "appendonlydir").iterdir():
        file.write_bytes(b"no redis file at all\n" * 10)
    with pytest.raises(CannotStart, match=r"the private Redis does not start: .+ \(log: .+redis.log\)"):
        start(tmp_path / "redis")


def test_no_binary_is_said_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="apt-get install redis-server"):
        find_binary(path=str(tmp_path))


def test_valkey_will_do(tmp_path: Path) -> None:
    (tmp_path / "valkey-server").symlink_to(find_binary())
    assert find_binary(path=str(tmp_path)).name == "valkey-server"


def test_a_temporary_directory_that_is_too_long_as_well_is_said(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("t" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(CannotStart, match="TMPDIR"):
        start(tmp_path / ("long" * 30))

"""Redis for runners of other machines: TLS, a user for each runner, and the limits of such a user."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import ApiServer
from instance import free_port, wait_for
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis_site import ONCE, RedisSite

from core.config import RedisConfig
from core.errors import CannotStart, ConfigError
from web.processes.private_redis import EmbeddedRedis, find_binary
from web.services.runners import redis_users, registration
from web.services.runners.registration import RunnerCredentials
from web.services.scheduling.queues import Queues
from web.store import runners as runner_rows
from web.store.db import transaction

pytestmark = pytest.mark.redis


def test_a_listening_redis_lets_nobody_in_without_a_password(site: RedisSite) -> None:
    assert (site.redis.socket.parent / "url").stat().st_mode & 0o777 == 0o600
    assert (site.redis.socket.parent / "redis.conf").stat().st_mode & 0o777 == 0o600
    assert site.admin.ping()
    assert site.admin.config_get("port") == {"port": "0"}
    _, port = site.config.redis.listen_address or ("", 0)
    strangers = (
        Redis(unix_socket_path=str(site.redis.socket), retry=ONCE),
        Redis("127.0.0.1", port, ssl=True, retry=ONCE, ssl_ca_certs=site.cert),
        Redis("127.0.0.1", port, ssl=True, retry=ONCE, ssl_ca_certs=site.cert, password="guess"),
        Redis("127.0.0.1", port, ssl=True, retry=ONCE, ssl_ca_certs=site.cert, username="runner-a", password="guess"),
    )
    for stranger in strangers:
        with stranger, pytest.raises(AuthenticationError):
            stranger.ping()
    with Redis(port=port, retry=ONCE, socket_timeout=1) as plain, pytest.raises(RedisError):
        plain.ping()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
    password = site.redis.url.split(":")[2].split("@")[0].encode()
    assert len(password) > 30
    assert password not in processes


def test_a_left_over_one_is_taken_over_by_its_password_and_one_of_other_settings_is_ended(
    site: RedisSite, tmp_path: Path
) -> None:
    again = EmbeddedRedis(site.redis.socket.parent, find_binary(), site.config.redis)
    again.start(os.environ)
    assert (again.took_over, again.pid, again.url) == (True, site.redis.pid, site.redis.url)
    alone = EmbeddedRedis(site.redis.socket.parent, find_binary())
    alone.start(os.environ)
    try:
        assert not alone.took_over
        assert alone.url == f"unix://{alone.socket}"
        with Redis.from_url(alone.url) as connection:
            assert connection.config_get("tls-port") in ({"tls-port": "0"}, {})
    finally:
        alone.stop(5.0)


OTHERS: dict[str, Callable[[Redis, str], object]] = {
    "HGETALL": lambda c, key: c.hgetall(key),
    "HSET": lambda c, key: c.hset(key, "field", "value"),
    "DEL": lambda c, key: c.delete(key),
    "EXPIRE": lambda c, key: c.expire(key, 1),
    "BLPOP": lambda c, key: c.blpop([key], 1),
    "TYPE": lambda c, key: c.type(key),
    "EXISTS": lambda c, key: c.exists(key),
    "DUMP": lambda c, key: c.dump(key),
    "GET": lambda c, key: c.get(key),
}
ANYTHING = (
    "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "INFO", "CONFIG GET *", "CONFIG SET dir /tmp", "ACL LIST", "ACL WHOAMI",
    "ACL SETUSER runner-a ~*", "EVAL return(1) 0", "SCRIPT LOAD x", "FUNCTION LIST", "FLUSHALL", "FLUSHDB", "MONITOR",
    "SUBSCRIBE rq:pubsub", "PSUBSCRIBE *", "PUBLISH rq:pubsub x", "SWAPDB 0 1", "SHUTDOWN", "SAVE",
    "BGSAVE", "REPLICAOF 127.0.0.1 1", "CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "SLOWLOG GET",
    "MODULE LIST", "MIGRATE 127.0.0.1 1 key 0 1", "RPUSH rq:queue:server x", "RPUSH rq:queue:runner-a-b x",
    "SADD rq:workers x", "SADD rq:queues x", "SET pushmill:nudged 1", "WAIT 0 1", "LATENCY LATEST", "MEMORY STATS",
    "COMMAND", "CLUSTER INFO", "XREAD STREAMS key 0", "SORT rq:queue:runner-a BY rq:job:* GET rq:job:*",
    "COPY rq:queue:runner-a-b rq:queue:runner-a", "RENAME rq:queue:runner-a-b rq:queue:runner-a", "OBJECT HELP",
)  # fmt: skip


def test_a_runners_user_reads_and_writes_nothing_but_its_own(site: RedisSite) -> None:
    """The other runner's name begins with this one's name and a dash, which is where patterns would overlap."""
    mine = site.connect(site.register("a"))
    for name in ("a-b", "a-11111111-1111-1111-1111-111"):
        site.connect(site.register(name))
        site.queues.hand_over(name, str(uuid.uuid4()), 1)
        site.admin.hset(f"rq:worker:runner-{name}-{uuid.uuid4().hex}", "state", "idle")
    site.queues.nudge()
    execution = str(uuid.uuid4())
    site.queues.hand_over("a", execution, 7)
    own = {f"rq:job:a-{execution}-000007".encode(), b"rq:queue:runner-a"}
    foreign = set(site.admin.keys("*")) - own
    assert {b"rq:queue:server", b"rq:queues", b"pushmill:nudged", b"rq:queue:runner-a-b"} < foreign
    assert len(foreign) >= 9
    with mine:
        for key in foreign:
            for command, call in OTHERS.items():
                with pytest.raises(NoPermissionError):
                    call(mine, key.decode())
                    pytest.fail(f"{command} {key.decode()}")
        for line in ANYTHING:
            with pytest.raises(NoPermissionError):
                mine.execute_command(*line.split(" "))
                pytest.fail(line)
        assert mine.blpop(["rq:queue:runner-a"], 1)[1] == f"a-{execution}-000007".encode()
        assert mine.hgetall(f"rq:job:a-{execution}-000007")
    assert set(site.admin.keys("*")) >= foreign


def refused(site: RedisSite, credentials: RunnerCredentials) -> bool:
    with site.connect(credentials) as connection:
        try:
            return not connection.ping()
        except AuthenticationError:
            return True


def cut(site: RedisSite, connection: Redis) -> threading.Thread:
    """A thread that ends when the connection, which waits on a key of its own, is cut."""

    def wait() -> None:
        with pytest.raises(RedisError):
            connection.blpop(["rq:job:a-" + "0" * 43], 60)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: site.admin.info("clients")["blocked_clients"] == 1)
    return thread


def test_after_a_rotation_the_old_password_is_dead_and_what_it_had_connected_is_cut(site: RedisSite) -> None:
    old = site.register("a")
    assert not refused(site, old)
    with site.connect(old) as connection:
        waiting = cut(site, connection)
        new = registration.rotate(site.api.context, site.queues, registration.get_by_name(site.api.db, "a"))
        waiting.join(5)
        assert not waiting.is_alive()
    assert refused(site, old)
    assert not refused(site, new)
    assert runner_rows.find_by_token(site.api.db, old.token) is None
    assert runner_rows.find_by_token(site.api.db, new.token) == runner_rows.find_by_name(site.api.db, "a")


def test_a_removed_runner_is_nobody_in_redis_and_its_queue_is_gone(site: RedisSite) -> None:
    old = site.register("a")
    site.queues.hand_over("a", str(uuid.uuid4()), 1)
    with site.connect(old) as connection:
        waiting = cut(site, connection)
        registration.remove(site.api.context, site.queues, registration.get_by_name(site.api.db, "a"), force=False)
        waiting.join(5)
        assert not waiting.is_alive()
    assert refused(site, old)
    assert [key for key in site.admin.keys("*") if b"a-" in key or b"runner-a" in key] == []
    revived = site.register("a", "gpu")
    assert not refused(site, revived)
    assert registration.get_by_name(site.api.db, "a").environments == ("gpu",)


def test_a_redis_that_forgot_its_users_gets_them_back_from_the_database(site: RedisSite) -> None:
    staying, removed, rotated = site.register("a"), site.register("gone"), site.register("b")
    site.redis.stop(5.0)
    registration.remove(site.api.context, site.queues, registration.get_by_name(site.api.db, "gone"), force=False)
    site.redis.start(os.environ)
    assert refused(site, staying)
    redis_users.restore(site.api.db, site.admin)
    assert not refused(site, staying)
    assert not refused(site, rotated)
    assert refused(site, removed)
    with transaction(site.api.db):  # as if Redis had been away during a rotation
        runner_rows.set_token(site.api.db, registration.get_by_name(site.api.db, "b").id, "new", "0" * 64)
    redis_users.restore(site.api.db, site.admin)
    assert refused(site, rotated)
    assert not refused(site, staying)


def test_users_that_are_not_ours_stay_as_they_are(site: RedisSite) -> None:
    site.register("a")
    site.admin.execute_command("ACL", "SETUSER", "runner-of-somebody", "on", "nopass", "+ping")
    redis_users.restore(site.api.db, site.admin)
    assert b"runner-of-somebody" in site.admin.execute_command("ACL", "USERS")


def test_a_redis_user_that_may_not_make_users_is_said(site: RedisSite) -> None:
    site.admin.execute_command("ACL", "SETUSER", "plain", "on", ">x", "~*", "+@all", "-acl")
    says = r"the user of \[redis\] url may not create users .+ grant it \+acl"
    with Redis(unix_socket_path=str(site.redis.socket), username="plain", password="x") as plain:
        queues = Queues(plain)
        with pytest.raises(CannotStart, match=says):
            registration.register(site.api.context, queues, "a", ["default"])
    assert runner_rows.find_by_name(site.api.db, "a") is None


def test_registering_without_redis_changes_nothing_and_says_why(site: RedisSite) -> None:
    site.redis.stop(5.0)
    with pytest.raises(CannotStart, match=r"remote runners are off: .+ start pushmill"):
        site.register("a")
    assert runner_rows.find_by_name(site.api.db, "a") is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "0.0.0.0:6380"}, r"listen '0.0.0.0:6380' is not a loopback address: set cert and key"),
        ({"listen": "gpu.example:6380"}, "not a loopback address"),
        ({"listen": "6380"}, "an address and a port"),
        ({"listen": "127.0.0.1:99999"}, "an address and a port"),
        ({"listen": "127.0.0.1:6380", "cert": "/x"}, "cert and key belong together"),
        ({"listen": "127.0.0.1:6380", "url": "redis://other"}, "both url and listen"),
    ],
)
def test_a_redis_open_to_listeners_on_the_way_is_refused(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        EmbeddedRedis(tmp_path, find_binary(), RedisConfig(**settings)).start(os.environ)


def test_plain_tcp_will_do_on_loopback(tmp_path: Path) -> None:
    port = free_port()
    redis = EmbeddedRedis(tmp_path / "redis", find_binary(), RedisConfig(listen=f"127.0.0.1:{port}"))
    redis.start(os.environ)
    try:
        with Redis(port=port, password=redis.url.split(":")[2].split("@")[0]) as connection:
            assert connection.ping()
    finally:
        redis.stop(5.0)


def test_a_redis_of_ones_own_takes_runners_too(tmp_path: Path) -> None:
    port = free_port()
    redis = EmbeddedRedis(tmp_path / "redis", find_binary(), RedisConfig(listen=f"127.0.0.1:{port}"))
    redis.start(os.environ)
    password = redis.url.split(":")[2].split("@")[0]
    api = ApiServer(tmp_path / "data", redis={"url": f"redis://:{password}@127.0.0.1:{port}/3"})
    try:
        with Redis.from_url(api.config.redis.url) as own:
            made = registration.register(api.context, Queues(own), "gpu-1", ["default"])
            assert made.redis_url.startswith("redis://runner-gpu-1:pm_")
            assert made.redis_url.endswith(f"@127.0.0.1:{port}/3")
            with Redis.from_url(made.redis_url, retry=ONCE) as connection:
                assert connection.ping()
    finally:
        api.close()
        redis.stop(5.0)


def test_a_redis_that_only_this_machine_reaches_takes_none(tmp_path: Path) -> None:
    api = ApiServer(tmp_path / "data", redis={"url": "unix:///run/redis.sock"})
    with pytest.raises(ConfigError, match="at unix://: give its address as redis:// or rediss://"):
        registration.register(api.context, Queues(Redis()), "gpu-1", ["default"])
    api.close()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        redis = EmbeddedRedis(tmp_path / "redis", find_binary(), RedisConfig(listen=f"127.0.0.1:{port}"))
        with pytest.raises(CannotStart, match=rf"port {port} .+ is taken by another program: change \[redis\] listen"):
            redis.start(os.environ)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = RedisConfig(listen="127.0.0.1:1", cert="/no/cert.pem", key="/no/key.pem")
    with pytest.raises(CannotStart, match=r"\[redis\] cert: /no/cert.pem cannot be read"):
        EmbeddedRedis(tmp_path / "redis", find_binary(), settings).start(os.environ)

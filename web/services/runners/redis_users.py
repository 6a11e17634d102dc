"""Each remote runner's user in Redis: it may take the jobs of its own queue, and nothing else.

Its patterns are of a fixed length, so that none covers a key of another runner: with the name `a`, `rq:job:a-` and 43
characters, never `rq:job:a-b-` and 43. Redis forgets its users when it starts anew; the sweep makes them again from the
hashes of their passwords, which the database keeps.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from core.errors import CannotStart
from web.store import runners
from web.store.db import Database

logger = logging.getLogger(__name__)

OLDEST_REDIS = (6, 2)  # older ones let every user listen to every channel
COMMANDS = ("blpop", "hgetall", "hset", "expire", "del", "ping", "select", "client|setname", "client|info")
KEYS = (
    "rq:queue:runner-{name}",
    "rq:job:{name}-" + "?" * len("00000000-0000-0000-0000-000000000000-000001"),
    "rq:worker:runner-{name}-" + "?" * 32,
)


def user_of(name: str) -> str:
    return f"runner-{name}"


def grant(connection: Redis, name: str, sha256: str) -> None:
    """Make a runner's user, or set its password and rights anew and cut what is connected by an old password.

    Raises CannotStart when this Redis cannot, or may not by the user of `[redis] url`.
    """
    try:
        _check_version(connection)
        _set(connection, name, sha256)
        _ask(connection, "CLIENT", "KILL", "USER", user_of(name))
    except NoPermissionError as error:
        raise CannotStart(
            f"Redis takes no runner: the user of [redis] url may not make users there ({error}); "
            "give it +acl and +client|kill"
        ) from None
    except RedisError as error:
        raise CannotStart(f"Redis takes no runner now: {error}; start pushmill, or look at [redis] url") from None


def revoke(connection: Redis, name: str) -> None:
    """Remove a runner's user; Redis cuts its connections. Redis being away is borne: the sweep does it."""
    try:
        _ask(connection, "ACL", "DELUSER", user_of(name))
    except RedisError as error:
        logger.warning("the Redis user of runner %s is removed later: %s", name, error)


def restore(db: Database, connection: Redis) -> None:
    """Make Redis's users what the database says. Raises RedisError."""
    wanted = runners.redis_users(db)
    if not wanted:
        return
    there = _there(connection)
    for name, sha256 in wanted.items():
        found = there.get(user_of(name))
        if sha256 is None and found is not None:
            revoke(connection, name)
        elif sha256 is not None and found != [sha256]:
            logger.info("making the Redis user of runner %s again", name)
            _set(connection, name, sha256)
            _ask(connection, "CLIENT", "KILL", "USER", user_of(name))


def _set(connection: Redis, name: str, sha256: str) -> None:
    commands = [f"+{command}" for command in COMMANDS]
    keys = [f"~{pattern.format(name=name)}" for pattern in KEYS]
    rules = ["reset", "on", f"#{sha256}", "resetchannels", "-@all", *commands, *keys]
    _ask(connection, "ACL", "SETUSER", user_of(name), *rules)


def _there(connection: Redis) -> Mapping[str, list[str]]:
    """The hashes of the passwords of each user."""
    found = (str(line, "utf-8", "replace") for line in _ask(connection, "ACL", "LIST"))
    return {line.split()[1]: re.findall(r" #([0-9a-f]{64})", line) for line in found}


def _ask(connection: Redis, *words: str) -> Any:
    return connection.execute_command(*words)  # type: ignore[no-untyped-call]


def _check_version(connection: Redis) -> None:
    try:
        version = str(connection.info("server")["redis_version"])
    except ResponseError:
        return  # it may not ask; what it may do is seen next
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise CannotStart(f"Redis takes no runner: it is version {version}, and 6.2 or newer is needed for that")

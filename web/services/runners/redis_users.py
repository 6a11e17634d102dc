"""Redis users of remote runners: each may take jobs from its own queue only.

A user may run a few commands on its queue and its jobs. Job ids have a fixed length, and so have the key patterns, since
names may contain dashes: `rq:job:a-*` would cover the jobs of runner `a-b`. The user of runner `a` may access
`rq:job:a-` plus 43 characters, never `rq:job:a-b-` plus 43.

Redis forgets its users when it restarts; the sweep restores them from the password hashes in the database.
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

OLDEST_REDIS = (6, 2)  # older versions let every user subscribe to every channel
COMMANDS = ("blpop", "hgetall", "del", "ping", "select", "client|setname", "client|info")
COMMANDS_OF_OLDER_RUNNERS = ("hset", "expire")  # these keep a hash about each slot
KEYS = (
    "rq:queue:runner-{name}",
    "rq:job:{name}-" + "?" * len("00000000-0000-0000-0000-000000000000-000001"),
    "rq:worker:runner-{name}-" + "?" * 32,  # of older runners
)


def make_username(name: str) -> str:
    return f"runner-{name}"


def grant(connection: Redis, name: str, sha256: str) -> None:
    """Create a runner's user, or replace its password and rights and close connections that used the old password.

    Raises CannotStart if this Redis is too old or unavailable, or if the user of `[redis] url` lacks the permission.
    """
    try:
        _check_version(connection)
        _set(connection, name, sha256)
        _ask(connection, "CLIENT", "KILL", "USER", make_username(name))
    except NoPermissionError as error:
        raise CannotStart(
            f"remote runners are off: the user of [redis] url may not create users ({error}); "
            "grant it +acl and +client|kill"
        ) from None
    except RedisError as error:
        raise CannotStart(f"remote runners are off: {error}; start pushmill, or check [redis] url") from None


def revoke(connection: Redis, name: str) -> None:
    """Remove a runner's user; Redis closes its connections. Tolerates Redis being unavailable: the sweep retries."""
    try:
        _ask(connection, "ACL", "DELUSER", make_username(name))
    except RedisError as error:
        logger.warning("the Redis user of runner %s could not be removed; it is retried later: %s", name, error)


def restore(db: Database, connection: Redis) -> None:
    """Make the users in Redis match the database. Raises RedisError."""
    wanted = runners.map_redis_users(db)
    if not wanted:
        return
    there = _existing_users(connection)
    for name, sha256 in wanted.items():
        found = there.get(make_username(name))
        if sha256 is None and found is not None:
            revoke(connection, name)
        elif sha256 is not None and found != [sha256]:
            logger.info("creating the Redis user of runner %s again", name)
            _set(connection, name, sha256)
            _ask(connection, "CLIENT", "KILL", "USER", make_username(name))


def _set(connection: Redis, name: str, sha256: str) -> None:
    commands = [f"+{command}" for command in (*COMMANDS, *COMMANDS_OF_OLDER_RUNNERS)]
    keys = [f"~{pattern.format(name=name)}" for pattern in KEYS]
    rules = ["reset", "on", f"#{sha256}", "resetchannels", "-@all", *commands, *keys]
    _ask(connection, "ACL", "SETUSER", make_username(name), *rules)


def _existing_users(connection: Redis) -> Mapping[str, list[str]]:
    """Return the password hashes of each user."""
    found = (str(line, "utf-8", "replace") for line in _ask(connection, "ACL", "LIST"))
    return {line.split()[1]: re.findall(r" #([0-9a-f]{64})", line) for line in found}


def _ask(connection: Redis, *words: str) -> Any:
    return connection.execute_command(*words)  # type: ignore[no-untyped-call]


def _check_version(connection: Redis) -> None:
    try:
        version = str(connection.info("server")["redis_version"])
    except ResponseError:
        return  # not allowed to ask; the next commands show what is allowed
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise CannotStart(f"remote runners are off: Redis is version {version}, and 6.2 or newer is needed for that")

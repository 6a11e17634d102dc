"""The server's side of RQ. A lost job loses nothing: the database holds what waits, and the sweep asks again."""

from __future__ import annotations

import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue

from core.config import Config
from core.errors import ConfigError
from core.wire import JOB

logger = logging.getLogger(__name__)

SERVER_QUEUE = "server"
SWEEP = "web.processes.sweep.sweep"
JOB_TTL_S = 600  # the hash of a job whose worker was killed; what still waits is handed over again
NUDGE_KEY = "pushmill:nudged"  # there while a sweep waits in the queue, so that a thousand deliveries make one job
NUDGE_TTL_S = 5  # a nudge whose job was lost is given again after this
NUDGE_GAP_S = 0.01  # between those given in the background: a flood of deliveries costs no more than a hundred a second


def redis_url(config: Config) -> str:
    """Where the queues live: configured, or the private Redis of this data directory."""
    if config.redis.url:
        return config.redis.url
    try:
        return (config.data / "redis" / "url").read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError("no Redis: set [redis] url in config.toml, or start everything with `pushmill up`") from None


class Queues:
    """Enqueues by name, ids only, as JSON. Redis being away is logged and otherwise harmless."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._wanted, self._starting = threading.Event(), threading.Lock()
        self._nudger: threading.Thread | None = None

    def nudge_soon(self) -> None:
        """The same as `nudge`, without waiting for Redis, which may be slow or away. Many make one."""
        self._wanted.set()
        with self._starting:
            if self._nudger is None:
                self._nudger = threading.Thread(target=self._nudge_when_wanted, name="nudger", daemon=True)
                self._nudger.start()

    def _nudge_when_wanted(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            self.nudge()
            time.sleep(NUDGE_GAP_S)

    @property
    def connection(self) -> Redis:
        return self._connection

    def nudge(self) -> None:
        """Have the worker sweep soon."""
        try:
            if self._connection.set(NUDGE_KEY, 1, nx=True, ex=NUDGE_TTL_S):
                queue = Queue(SERVER_QUEUE, connection=self._connection, serializer="json")
                queue.enqueue_call(SWEEP, timeout=-1, ttl=JOB_TTL_S)
        except RedisError as error:
            logger.warning("nudge not delivered, the next sweep does it: %s", error)

    def nudged(self) -> None:
        """Drop every nudge so far, since a sweep begins. Later ones need a new job.

        RQ keeps a job that a worker took in a second list, where it stays when that worker is killed.
        """
        try:
            queue = Queue(SERVER_QUEUE, connection=self._connection, serializer="json")
            queue.empty()  # type: ignore[no-untyped-call]
            self._connection.delete(NUDGE_KEY, queue.intermediate_queue_key)
        except RedisError:
            return  # the sweep goes on without it

    def hand_over(self, runner: str, execution: str, attempt: int) -> None:
        """Put an execution onto a runner's own queue, unless it still lies there.

        Doing so after it was taken is harmless: the second claim is refused.
        """
        try:
            queue = Queue(f"runner-{runner}", connection=self._connection, serializer="json")
            job_id = f"{runner}-{execution}-{attempt:06d}"  # of a fixed length: see redis_users
            arguments = (execution, attempt)
            if self._connection.lpos(queue.key, job_id) is not None:
                return
            queue.enqueue_call(JOB, args=arguments, timeout=-1, ttl=JOB_TTL_S, job_id=job_id)
        except RedisError as error:
            logger.warning("execution=%s not handed over, the next sweep does it: %s", execution, error)

    def forget(self, runner: str) -> None:
        """Drop a runner's queue with what lies in it."""
        try:
            queue = Queue(f"runner-{runner}", connection=self._connection, serializer="json")
            queue.delete(delete_jobs=True)
        except RedisError as error:
            logger.warning("the queue of runner %s stays: %s", runner, error)

"""The server's side of RQ. Losing a job is harmless: the database holds the queue, and the sweep enqueues again.

While Redis is unavailable, slots retry every second. Unclaimed executions are handed over again and taken within 5 s.
"""

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
JOB_TTL_S = 600  # expiry of the hash of a job whose worker was killed; waiting executions are handed over again
NUDGE_KEY = "pushmill:nudged"  # set while a sweep waits in the queue, so that a thousand deliveries create one job
NUDGE_TTL_S = 5  # a nudge whose job was lost can be repeated after this
NUDGE_GAP_S = 0.025  # time between nudges in the background: a flood of deliveries causes at most forty a second


def get_redis_url(config: Config) -> str:
    """Return the URL of Redis: configured, or the private Redis of this data directory."""
    if config.redis.url:
        return config.redis.url
    try:
        return (config.data / "redis" / "url").read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError("no Redis: set [redis] url in config.toml, or start everything with `pushmill up`") from None


class Queues:
    """RQ queues of the server and the runners. Jobs are function names and ids, as JSON.

    Redis being unavailable is logged and otherwise harmless.
    """

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._wanted, self._starting = threading.Event(), threading.Lock()
        self._nudger: threading.Thread | None = None

    def nudge_soon(self) -> None:
        """Call `nudge` in the background, since Redis may be slow or unavailable. Calls are combined."""
        self._wanted.set()
        with self._starting:
            if self._nudger is None:
                nudger = threading.Thread(target=self._nudge_when_wanted, name="nudger", daemon=True)
                nudger.start()  # may fail, and is tried again at the next call then
                self._nudger = nudger

    def _nudge_when_wanted(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            self.nudge()
            time.sleep(NUDGE_GAP_S)

    @property
    def connection(self) -> Redis:
        return self._connection

    def nudge(self) -> None:
        """Enqueue a sweep, unless one is waiting already."""
        try:
            if self._connection.set(NUDGE_KEY, 1, nx=True, ex=NUDGE_TTL_S):
                queue = Queue(SERVER_QUEUE, connection=self._connection, serializer="json")
                queue.enqueue_call(SWEEP, timeout=-1, ttl=JOB_TTL_S)
        except RedisError as error:
            logger.warning("nudge not delivered, the next sweep does it: %s", error)

    def nudged(self) -> None:
        """Drop all waiting nudges, since a sweep begins. Later nudges enqueue a new job.

        RQ moves a job that a worker took to an intermediate list, where it stays if that worker is killed.
        """
        try:
            queue = Queue(SERVER_QUEUE, connection=self._connection, serializer="json")
            queue.empty()  # type: ignore[no-untyped-call]
            self._connection.delete(NUDGE_KEY, queue.intermediate_queue_key)
        except RedisError:
            return  # the sweep continues without it

    def hand_over(self, runner: str, execution: str, attempt: int) -> None:
        """Enqueue an execution for a runner, unless it is already in the runner's queue.

        Enqueueing it after it was taken is harmless: the second claim is rejected.
        """
        try:
            queue = Queue(f"runner-{runner}", connection=self._connection, serializer="json")
            job_id = f"{runner}-{execution}-{attempt:06d}"  # fixed length: see redis_users
            arguments = (execution, attempt)
            if self._connection.lpos(queue.key, job_id) is not None:
                return
            queue.enqueue_call(JOB, args=arguments, timeout=-1, ttl=JOB_TTL_S, job_id=job_id)
        except RedisError as error:
            logger.warning("execution=%s not handed over, the next sweep does it: %s", execution, error)

    def forget(self, runner: str) -> None:
        """Delete a runner's queue and its jobs."""
        try:
            queue = Queue(f"runner-{runner}", connection=self._connection, serializer="json")
            queue.delete(delete_jobs=True)
        except RedisError as error:
            logger.warning("the queue of runner %s cannot be removed: %s", runner, error)

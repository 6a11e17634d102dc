"""One slot: a process that first adopts unfinished executions and then runs one job at a time.

The runner's Redis user may run only few commands, so slots do not use RQ's registries, list of workers, pub/sub and
query of Redis's version. Results of jobs are stored in the server's database.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.timeouts import BaseDeathPenalty

from core.config import Config
from core.errors import PushmillError
from core.wire import JOB
from runner import jobs, sandbox
from runner.execution.adopt import recover
from runner.host import Host

log = logging.getLogger(__name__)

SERIALIZER = "json"
READ_S = 5  # time of one blocking read: a lost connection is noticed slightly later than this
WORKER_TTL_S = READ_S + 15  # RQ subtracts 15 s for its reads
PATIENCE_S = 2.0  # time for a response of Redis
RETRY_S = 1.0  # pause before the next attempt to connect
KEEPALIVE = {
    socket.TCP_KEEPIDLE: 15,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
}  # a connection is silent for days during a job


def run_slot(config: Config, host: Host, redis_url: str) -> None:
    """Adopt unfinished executions, then take jobs until SIGTERM. Reconnects every second while Redis is unavailable."""
    jobs.bind(host)
    sandbox.remove_strays(host.engine, host.runner_id, host.directory)
    recover(host)
    if host.ready_sandbox is not None:
        host.ready_sandbox.prepare_soon(0.0)
    contact = Contact()
    logging.getLogger("rq.worker").addFilter(contact.replace_message)
    while True:
        try:
            serve(config.runner.name, redis_url, contact)
        except RedisError as error:
            contact.report_error(error)
        time.sleep(RETRY_S)


def serve(name: str, redis_url: str, contact: Contact) -> None:
    """Run the jobs in the queue of runner `name` one by one. Raises RedisError if Redis does not answer."""
    with connect(redis_url) as connection:
        queue = SlotQueue(f"runner-{name}", connection=connection, serializer=SERIALIZER)
        worker = SlotWorker(
            [queue],
            name=f"runner-{name}-{uuid.uuid4().hex}",
            connection=connection,
            queue_class=SlotQueue,
            serializer=SERIALIZER,
            worker_ttl=WORKER_TTL_S,
        )
        worker.contact = contact
        worker.work(logging_level="WARNING")


def connect(redis_url: str) -> Redis:
    """Connect without redis-py's own retries, which would turn seconds of a network partition into a minute."""
    options: dict[str, Any] = {"socket_timeout": READ_S + PATIENCE_S, "socket_connect_timeout": PATIENCE_S}
    if not redis_url.startswith("unix:"):
        options |= {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
    return Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **options)


class Contact:
    """Logs once when Redis becomes unavailable or rejects this runner, and once when it has recovered."""

    def __init__(self) -> None:
        self._trouble: type[RedisError] | None = None

    def report_error(self, error: RedisError) -> None:
        kind = AuthenticationError if isinstance(error, AuthenticationError) else RedisError
        if kind is AuthenticationError and self._trouble is not kind:
            log.warning("Redis refuses this runner: %s; has it just started? Else [redis] url is an old one", error)
        elif self._trouble is None:
            log.warning("Redis is unavailable, no job is taken: %s", error)
        self._trouble = kind

    def replace_message(self, record: logging.LogRecord) -> bool:
        """Replace RQ's messages about Redis, one per failed read and some a page long; a filter of its logger."""
        raised = record.exc_info[1] if record.exc_info else None
        error = next((value for value in (raised, *(record.args or ())) if isinstance(value, RedisError)), None)
        if error is not None:
            self.report_error(error)
        return error is None

    def report_success(self) -> None:
        if self._trouble is not None:
            log.warning("Redis is back")
        self._trouble = None


class NoDeathPenalty(BaseDeathPenalty):
    """Disables RQ's job timeouts: the duration of a training is not known in advance."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class SlotQueue(Queue):
    """RQ's queue without the query for Redis's version before each read, which a runner's Redis user may not run."""

    @classmethod
    def dequeue_any(
        cls, queues: Iterable[Queue], timeout: int | None, connection: Redis, *_: Any, **options: Any
    ) -> tuple[Job, Queue] | None:
        """Return the next job; skip jobs whose hash is gone. Raises DequeueTimeout."""
        [queue] = queues
        while found := cls.lpop([queue.key], timeout, connection):
            with suppress(NoSuchJobError):
                return Job.fetch(found[1].decode(), connection, options["serializer"]), queue
        return None


class SlotWorker(SimpleWorker):
    """RQ's worker without forking. Runs one named function and rejects jobs that ask for anything else.

    Callbacks, webhooks and dependents of a job, and the maintenance of RQ's registries, would import or call whatever
    the job's hash names; remote commands are ignored. A slot needs only the keys of its queue, its jobs and itself.
    """

    death_penalty_class = NoDeathPenalty
    max_connection_wait_time = RETRY_S
    contact: Contact

    @property
    def connection_timeout(self) -> float:  # type: ignore[override]
        return READ_S + PATIENCE_S

    def execute_job(self, job: Job, queue: Queue) -> None:  # noqa: ARG002
        if why := explain_refusal(job):
            log.error("job %s is refused: %s", job.id, why)
        else:
            _run(job)
        with suppress(RedisError):  # if a slot gets the job again, the server answers that it is claimed
            self.connection.delete(job.key)

    def register_birth(self) -> None:
        """Keep nothing in Redis about this slot: a hash would stay for ever if the slot were killed at that moment."""
        self.redis_server_version = (6, 2, 0)  # type: ignore[assignment]  # avoids the query; nothing depends on it
        self.heartbeat()

    def register_death(self) -> None:
        pass

    def set_state(self, state: str, pipeline: object = None) -> None:  # noqa: ARG002
        self._state = str(state)

    def heartbeat(self, timeout: int | None = None, pipeline: object = None) -> None:  # noqa: ARG002
        """Notice that Redis is unavailable or back; the current job continues, and the next read waits for Redis."""
        try:
            self.connection.ping()
        except RedisError as error:
            self.contact.report_error(error)
        else:
            self.contact.report_success()

    def check_for_suspension(self, burst: bool) -> None:
        pass

    def subscribe(self) -> None:
        pass

    def run_maintenance_tasks(self) -> None:
        pass

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Exit immediately; the container keeps printing into its spool, and the next slot adopts it."""
        jobs.close()
        log.info("slot %d stops; its container, if it has one, keeps running", os.getpid())
        os._exit(0)


def _run(job: Job) -> None:
    try:
        jobs.execute(*job.args)
    except (PushmillError, OSError) as error:
        log.error("job %s: %s", job.id, error)
    except Exception:
        log.exception("job %s", job.id)


def explain_refusal(job: Job) -> str | None:
    """Return why a job may not run, or None."""
    try:
        name, instance, args, kwargs = job.func_name, job.instance, job.args, job.kwargs
    except Exception as error:  # noqa: BLE001  # RQ wraps whatever its serializer raises
        return f"it cannot be read: {error}"
    carried: dict[str, Any] = {
        "an instance": instance is not None,
        "a callback": any(getattr(job, f"_{when}_callback_name") for when in ("success", "failure", "stopped")),
        "a webhook": job.webhooks,
        "a dependency": getattr(job, "_dependency_ids", None),
        "retries": job.retries_left,
        "repeats": job.repeats_left,
        "keyword arguments": kwargs,
    }
    if name != JOB:
        return f"it names {name!r:.100}; this queue only runs {JOB}"
    if extra := [what for what, there in carried.items() if there]:
        return f"it carries {', '.join(extra)}"
    if len(args) != 2:
        return "it does not carry an execution and an attempt"
    return None

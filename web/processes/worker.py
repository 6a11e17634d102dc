"""`pushmill worker`: the server's only worker. It sweeps when it is nudged, and every few seconds on its own.

Killing workers and slots many times does not fill Redis: job hashes expire after ten minutes, each sweep deletes RQ's
intermediate list, and a starting worker removes dead ones from RQ's list of workers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import click
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.worker_registration import clean_worker_registry

from core import config as configuration
from core.config import Config
from web.config.steps.parse_in_child import parse_limited
from web.processes import sweep
from web.processes.sweep import Sweeper
from web.services import setup, vault
from web.services.scheduling import queues
from web.services.scheduling.queues import SERVER_QUEUE, SWEEP, Queues

logger = logging.getLogger(__name__)

SWEEP_S = 2.0  # pause between two sweeps without a nudge
WORKER_TTL_S = 60  # one blocking read of the queue takes 15 s less
RETRY_S = 1.0  # pause before Redis is tried again
LOGGED_BY_US = "could not connect to Redis"


class ServerWorker(SimpleWorker):
    """Runs sweeps and nothing else.

    RQ imports and calls whatever a job's hash in Redis names: functions, instances, callbacks, webhooks, dependents;
    its registry maintenance does too. Remote commands are ignored as well.
    """

    max_connection_wait_time = 1.0

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Sweep without a record in RQ's registries: a killed worker would leave one there each time."""
        if reason := explain_refusal(job):
            logger.error("job=%s refused: %s", job.id, reason)
        else:
            sweep.sweep()
        self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
        self.connection.delete(job.key)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        stop(signum, frame)

    def subscribe(self) -> None:
        """Do not subscribe to commands from Redis."""

    def run_maintenance_tasks(self) -> None:
        """Skip maintenance, which runs callbacks of abandoned jobs."""


def explain_refusal(job: Job) -> str:
    """Return why a job is refused; empty for a plain sweep without arguments or callbacks."""
    try:
        name, instance, arguments, named = job.func_name, job.instance, job.args, job.kwargs
    except Exception as error:  # noqa: BLE001  a hash in Redis may contain anything
        return f"it cannot be read ({error})"
    if name != SWEEP or instance or arguments or named:
        return f"only {SWEEP} without arguments is run here, it names {name!r:.100}"
    trimmings = (
        job._success_callback_name,  # noqa: SLF001  the public properties import the functions
        job._failure_callback_name,  # noqa: SLF001
        job._stopped_callback_name,  # noqa: SLF001
        job.webhooks,
        job._dependency_ids,  # noqa: SLF001
        job.repeats_left,
    )
    return "it carries callbacks, webhooks or dependencies" if any(trimmings) else ""


class Ticker(threading.Thread):
    """Sweeps now and every SWEEP_S seconds, with or without Redis: pushes are recorded while Redis is unavailable."""

    def __init__(self, sweeper: Sweeper, connection: Redis) -> None:
        super().__init__(name="ticker", daemon=True)
        self._sweeper, self._connection = sweeper, connection
        self._redis_away = False

    def run(self) -> None:
        while True:
            self._sweeper.sweep()
            self._watch_redis()
            time.sleep(SWEEP_S)

    def _watch_redis(self) -> None:
        """Log once when Redis becomes unavailable and once when it is back."""
        try:
            self._connection.ping()
        except RedisError as error:
            if not self._redis_away:
                logger.warning("Redis is unavailable; pushes are recorded, executions wait for it: %s", error)
            self._redis_away = True
        else:
            if self._redis_away:
                logger.warning("Redis is back")
            self._redis_away = False


def run(config: Config) -> None:
    """Work until SIGTERM or SIGINT. While Redis is unavailable, jobs wait and everything else continues."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    setup.prepare(config, partial(click.echo, err=True))
    url = queues.get_redis_url(config)
    sweeper = Sweeper(config, vault.load(config.data / "secret.key"), Queues(connect(url)))
    sweep.install(sweeper)
    parse_limited(b"")  # imports and builds now what the first push would otherwise wait for
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else each forge request is logged
    logging.getLogger("rq.worker").addFilter(lambda record: LOGGED_BY_US not in record.getMessage())
    Ticker(sweeper, connect(url)).start()
    while True:
        with suppress(RedisError):
            work(url)
        time.sleep(RETRY_S)


def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Exit at once. The next worker repeats what is in progress, as after a kill.

    RQ's own way, an exception in whatever line the signal interrupts, may be swallowed there.
    """
    os._exit(0)


def connect(url: str, timeout_s: float = 5.0) -> Redis:
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=5.0)


def work(url: str) -> None:
    """Serve the queue until RQ gives up. Raises RedisError if Redis does not answer."""
    with connect(url, WORKER_TTL_S) as connection:
        worker = ServerWorker([SERVER_QUEUE], connection=connection, serializer="json", worker_ttl=WORKER_TTL_S)
        clean_worker_registry(Queue(SERVER_QUEUE, connection=connection))  # entries of killed workers
        worker.work(logging_level="WARNING")


@click.command("worker")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file.")
def command(data: Path | None, config_file: Path | None) -> None:
    """Run only the worker.

    Ingests pushes and dispatches executions.
    """
    run(configuration.load(data, config_file))

"""One slot: a process that first finishes what it finds and then takes one job at a time."""

from __future__ import annotations

import logging
import os
from types import FrameType
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.timeouts import BaseDeathPenalty

from core.config import Config
from core.wire import JOB
from runner import jobs
from runner.adopt import recover
from runner.host import Host

log = logging.getLogger(__name__)

SERIALIZER = "json"
WORKER_TTL_S = 120  # a blocking read lasts 15 s less; Redis forgets a dead slot after it
FAILURE_TTL_S = 7 * 24 * 3600


def run_slot(config: Config, host: Host, redis_url: str) -> None:
    """Serve until SIGTERM, or until Redis goes away; whoever supervises starts the slot anew."""
    jobs.bind(host)
    recover(host)
    # redis-py 8 would end blocking reads after 5 s
    with Redis.from_url(redis_url, socket_timeout=WORKER_TTL_S + 30, socket_connect_timeout=10) as connection:
        queue = Queue(f"runner-{config.runner.name}", connection=connection, serializer=SERIALIZER)
        SlotWorker([queue], connection=connection, serializer=SERIALIZER, worker_ttl=WORKER_TTL_S).work(
            logging_level="WARNING"
        )


class NoDeathPenalty(BaseDeathPenalty):
    """Trainings last as long as they last, whatever a job says of a timeout."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class SlotWorker(SimpleWorker):
    """RQ's worker in this process, which runs one named function and nothing else that a job may ask for.

    A job's callbacks, webhooks and dependents would import or call what its hash says, so would the maintenance of
    RQ's registries; remote commands are not taken.
    """

    death_penalty_class = NoDeathPenalty

    def execute_job(self, job: Job, queue: Queue) -> None:
        why = refusal(job)
        if why is None:
            super().execute_job(job, queue)
            return
        log.error("job %s is refused: %s", job.id, why)
        queue.failed_job_registry.add(job, ttl=FAILURE_TTL_S, exc_string=f"refused: {why}")
        job.set_status(JobStatus.FAILED)
        self.connection.lrem(queue.intermediate_queue_key, 1, job.id)

    def subscribe(self) -> None:
        pass

    def run_maintenance_tasks(self) -> None:
        pass

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Leave at once: the container and its spool go on without us, and the next slot takes them up."""
        log.info("slot %d stops; its container, if it has one, keeps running", os.getpid())
        os._exit(0)


def refusal(job: Job) -> str | None:
    """Why a job may not run, or None."""
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
        return f"it names {name!r:.100}; this queue runs {JOB} alone"
    if extra := [what for what, there in carried.items() if there]:
        return f"it carries {', '.join(extra)}"
    if len(args) != 2:
        return "it does not carry an execution and an attempt"
    return None

"""The entry point of the worker and the clock: ``celery --app bridge.processes.worker worker`` and ``… beat``.

It only composes. ``fetch`` has the dispatcher fetch due work. The end of a chat, the change of a contact and every job
of the clock are Celery tasks of the same name. The clock's calls expire after a minute, or after their own interval if
that is longer, so they do not pile up without a worker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_shutdown, worker_shutting_down

from bridge.config import ServerSettings, or_exit, warn_of_unknown_names
from bridge.db.engine import must_fit
from bridge.lib import log as logs
from bridge.lib.garbage import collect_less
from bridge.processes import telemetry
from bridge.processes.broker import FETCH, QUEUE_TASKS, CeleryNotifier, build_consumer, queues, tell_of_no_check
from bridge.processes.dispatcher import Dispatcher
from bridge.processes.leave import leave
from bridge.processes.ping import PING, answering
from bridge.processes.tasks import SCHEDULE, TASKS, one_at_a_time, run_task, tick
from bridge.queues.conversation_queue import TURNS
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

GRACE = 20.0
"""Seconds that turns in flight get after SIGTERM. Heroku kills after 30; unfinished work comes due again elsewhere."""

MAX_CONNECTIONS = 10
"""Database connections of a worker. Sessions are short, so threads share them. With the web's connections, the sum
stays below 20, the limit of the smallest hosted databases."""

CELERY_THREADS = 8
"""Threads for the clock's jobs, and for wake-ups that name a row. Turns and deliveries have theirs in
``bridge.processes.dispatcher``."""

BY_ID = tuple(task for task in TASKS if task not in QUEUE_TASKS)
"""The tasks whose wake-ups name a row. Celery carries them as they are."""

EXPIRES = 60.0
"""Seconds until a call of the clock expires: without a worker, calls must not pile up. Clocks may differ by seconds."""

settings = or_exit(ServerSettings.load)
or_exit(lambda: must_fit(settings.database_url))
logs.configure(secrets=logs.secrets_in(settings), form=settings.log_format)
telemetry.start(settings)
warn_of_unknown_names()
tell_of_no_check(settings.broker_url, settings.redis_tls_verify)


others = CeleryNotifier(settings.broker_url, settings.redis_tls_verify)
"""Other workers. Only a full one wakes them: its own work needs no broker."""

dispatcher = Dispatcher(settings.worker_concurrency, when_full=lambda: others.wake(TURNS.task, 0))


@cache
def runtime() -> Runtime:
    return Runtime.build(settings, dispatcher, pool_size=MAX_CONNECTIONS)


def _fetch() -> None:
    dispatcher.fetch()


def _task_by_id(task: str) -> Callable[[int], None]:
    def run(row: int) -> None:
        run_task(runtime(), task, row)

    return run


def _clock_task(name: str) -> Callable[[], None]:
    one = one_at_a_time(lambda rt: tick(rt, name))

    def task() -> None:
        one(runtime())

    return task


def build_worker() -> Celery:
    """Return the Celery app with all tasks and the clock's schedule."""
    app = build_consumer(
        settings.broker_url,
        settings.redis_tls_verify,
        worker_pool="threads",
        worker_concurrency=CELERY_THREADS,
        task_queues=queues([FETCH, *BY_ID]),
    )
    app.task(name=FETCH)(_fetch)
    app.task(name=PING)(answering(settings.broker_url, settings.redis_tls_verify))
    for task in BY_ID:
        app.task(name=task)(_task_by_id(task))
    for name in SCHEDULE:
        app.task(name=name)(_clock_task(name))
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": every, "options": {"expires": max(EXPIRES, every.total_seconds())}}
        for name, (_, every) in SCHEDULE.items()
    }
    return app


celery = build_worker()


@worker_init.connect
def _start(**_: Any) -> None:
    collect_less()
    runtime().heartbeat.start()
    runtime().times.start(runtime().database)
    dispatcher.start(runtime())


@worker_shutting_down.connect
def _let_go_in_time(**_: Any) -> None:
    """End the process after ``GRACE``: Celery waits for its tasks without a limit, the platform does not."""
    timer = threading.Timer(GRACE, _leave)
    timer.daemon = True
    timer.start()
    dispatcher.stop()


@worker_shutdown.connect
def _finish(**_: Any) -> None:
    dispatcher.close()
    others.close()
    runtime().times.stop(runtime().database)
    runtime().heartbeat.stop()


def _leave() -> None:
    log.warning("turns are still in flight after %s s; another worker reconciles them", GRACE)
    leave(runtime())

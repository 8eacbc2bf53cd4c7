"""The front door of the worker and the clock: ``celery --app bridge.processes.worker worker`` and ``… beat``.

It composes and nothing else. Every step becomes a task of the same name; the clock's calls become tasks that expire
after a minute, or after their own interval where that is longer, so that nothing piles up while no worker is there.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_shutdown, worker_shutting_down

from bridge.config import ServerSettings, or_exit
from bridge.db.engine import must_fit
from bridge.lib import log as logs
from bridge.processes.broker import CeleryNotifier, build_consumer, queues, tell_of_no_check
from bridge.processes.tasks import SCHEDULE, TASKS, one_at_a_time, run_task, tick
from bridge.runtime import Runtime

log = logging.getLogger(__name__)

GRACE = 20.0
"""Seconds that turns in flight get after SIGTERM. Heroku kills after 30; what is left comes due again elsewhere."""

MAX_CONNECTIONS = 10
"""Database connections of a worker. Sessions are short: threads share them. With the web's it stays below 20, which is
what the smallest hosted databases allow."""

EXPIRES = 60.0
"""Seconds. Calls of the clock do not pile up while no worker is there; two machines' clocks may differ by some."""

settings = or_exit(ServerSettings.load)
or_exit(lambda: must_fit(settings.database_url))
logs.configure(secrets=logs.secrets_in(settings))
tell_of_no_check(settings.broker_url, settings.redis_tls_verify)


@cache
def runtime() -> Runtime:
    pool_size = min(settings.worker_concurrency, MAX_CONNECTIONS)
    return Runtime.build(settings, CeleryNotifier(settings.broker_url, settings.redis_tls_verify), pool_size=pool_size)


def _queue_task(name: str) -> Callable[[int], None]:
    def task(row: int) -> None:
        run_task(runtime(), name, row)

    return task


def _clock_task(name: str) -> Callable[[], None]:
    one = one_at_a_time(lambda rt: tick(rt, name))

    def task() -> None:
        one(runtime())

    return task


def build_worker() -> Celery:
    """The app with a task for every step, and the clock's schedule."""
    app = build_consumer(
        settings.broker_url,
        settings.redis_tls_verify,
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        task_queues=queues(TASKS),
    )
    for name in TASKS:
        app.task(name=name)(_queue_task(name))
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
    runtime().heartbeat.start()


@worker_shutting_down.connect
def _let_go_in_time(**_: Any) -> None:
    """Celery waits for its tasks as long as they take; the platform does not."""
    timer = threading.Timer(GRACE, _leave)
    timer.daemon = True
    timer.start()


@worker_shutdown.connect
def _finish(**_: Any) -> None:
    runtime().heartbeat.stop()
    runtime().notifier.close()


def _leave() -> None:
    log.warning("turns are still in flight after %s s; another worker will look what became of them", GRACE)
    runtime().heartbeat.stop()
    os._exit(0)

"""The broker between the processes of the Procfile. It carries wake-ups and calls of the clock, which may be lost."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Iterable
from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import KombuError

from bridge.config.tls import tls_of, without_tls
from bridge.queues.conversation_queue import QUEUES

log = logging.getLogger(__name__)

CLOCK_QUEUE = "bridge.clock"
"""The queue of the clock's calls: the sweep, which finds stuck work, must not wait behind other tasks."""

PUBLISH_TIMEOUT = 2
"""Seconds for a connection or an answer. A broker that never answers would block a publisher for minutes."""

FETCH = "fetch"
"""The task that has a worker fetch due work. It names no row."""

QUEUE_TASKS = frozenset(each.task for each in QUEUES)

FETCH_EVERY = 0.25
"""Seconds between two of these. A worker goes on fetching for longer: ``bridge.processes.dispatcher.LINGER``."""

EXPIRES = 60
"""Seconds until such a wake-up is of no use. The sweeper sends others."""

MAX_WAITING = 10_000
"""The most wake-ups that wait while the broker hangs. The sweeper sends the others."""

_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
"""Seconds, seconds, times and milliseconds: a vanished host is noticed after half a minute. The last value is for data
that was just sent: until that is acknowledged, TCP sends no keepalive, and would retry for a quarter of an hour.
"""

REDIS_CONSUMER: dict[str, Any] = {
    # With acknowledgements, each message stays in Redis until it is acknowledged. One whose acknowledgement fails
    # counts as being worked on for ever: after a restart of Redis with all threads busy, a worker would take no more.
    "ack_emulation": False,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)
    },
}
"""Options of a consumer on Redis. The sweeper repeats a wake-up that a worker has lost, so Redis need not keep it."""

AWAY = (KombuError, AMQPError, OSError)
"""The errors of a broker that is away, hangs, is full, or refuses our password."""


def queue_name(task: str) -> str:
    """Return the broker's queue of a task. Each task has its own, and a worker takes from all of them in turn.

    In one queue, the deliveries would wait behind the turns of all other people. After an hour without an agent, the
    first answer would wait until the agent has received the last person's text.
    """
    return f"bridge.{task}"


def queues(tasks: Iterable[str]) -> list[Queue]:
    """Return all queues from which a worker of these tasks takes."""
    names = [CLOCK_QUEUE, *map(queue_name, tasks)]
    return [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in names]


def build_celery(url: str, verify: bool | str = False, **conf: Any) -> Celery:
    """Return a Celery app that uses JSON, keeps no results, and does not touch the process's logging and signals.

    ``verify`` is the setting REDIS_TLS_VERIFY. Without TLS options, kombu checks no certificate and logs an error at
    every connection.
    """
    tls = tls_of(url, verify)
    app = Celery("bridge", broker=without_tls(url), set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls.options if tls else False,
        task_default_queue=CLOCK_QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever: a worker that gives up does no work
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,  # on RabbitMQ a worker that reconnects would hang for minutes
        worker_enable_remote_control=False,  # its queue locks out a second worker of the same host on RabbitMQ
        **conf,
    )
    return app


def build_publisher(url: str, verify: bool | str = False) -> Celery:
    """Return an app that only publishes. It gives up quickly, because the sweeper repeats lost wake-ups."""
    redis = url.startswith("redis")
    timeouts = {"socket_timeout": PUBLISH_TIMEOUT, "socket_connect_timeout": PUBLISH_TIMEOUT}
    amqp = {"connect_timeout": PUBLISH_TIMEOUT, "read_timeout": PUBLISH_TIMEOUT, "write_timeout": PUBLISH_TIMEOUT}
    return build_celery(
        url,
        verify,
        broker_transport_options=timeouts | {"retry_on_timeout": False} if redis else amqp,
        broker_connection_timeout=PUBLISH_TIMEOUT,
        task_publish_retry=False,
        task_publish_retry_policy={"max_retries": 0, "interval_start": 0},
    )


def build_consumer(url: str, verify: bool | str = False, **conf: Any) -> Celery:
    """Return an app for a worker. It reconnects after every fault of the broker."""
    redis = url.startswith("redis")
    return build_celery(url, verify, broker_transport_options=REDIS_CONSUMER if redis else {}, **conf)


def tell_of_no_check(url: str, verify: bool | str = False) -> None:
    """Log once, at the start of a process, that the broker's certificate is not checked."""
    tls = tls_of(url, verify)
    if tls and not tls.check:
        log.warning("the broker's certificate is not checked, as Heroku's can't be; REDIS_TLS_VERIFY has it checked")


class CeleryNotifier:
    """A notifier that publishes beside the caller: one thread sends all waiting wake-ups over one connection.

    A wake-up for a queue becomes the task ``fetch``, without the row: a worker finds all due rows itself. There is at
    most one in :data:`FETCH_EVERY` seconds, because a worker goes on fetching for longer than that.

    The thread starts with the first wake-up, so that a server which forks first has one thread in every process.
    """

    def __init__(self, url: str, verify: bool | str = False) -> None:
        self._celery = build_publisher(url, verify)
        self._waiting: queue.Queue[tuple[str, int] | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._logged_full = False
        self._fetch_waits = False

    def wake(self, task: str, row: int) -> None:
        self._start()
        if task in QUEUE_TASKS:
            if self._fetch_waits:
                return
            self._fetch_waits = True
            task, row = FETCH, 0
        try:
            self._waiting.put_nowait((task, row))
        except queue.Full:
            self._fetch_waits = False
            if not self._logged_full:
                log.warning("too many wake-ups wait for the broker; the sweeper will send the next ones")
            self._logged_full = True

    def reachable(self) -> bool:
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT)
        except AWAY:
            return False
        return True

    def backlog(self, task: str) -> int:
        # Not from the pool: kombu returns a connection there even if it has failed and was closed.
        connection: Any
        with self._celery.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT)
                with connection.channel() as channel:
                    waiting: int = channel.queue_declare(queue_name(task), passive=True).message_count
            except (*AWAY, *connection.connection_errors, *connection.channel_errors):
                return 0  # also if the queue does not exist: on Redis that is an empty one
        return waiting

    def close(self) -> None:
        self._closed.set()
        if self._thread:
            self._waiting.put(None)
            self._thread.join(2 * PUBLISH_TIMEOUT)
        self._celery.close()

    def _start(self) -> None:
        if self._thread and self._thread.is_alive():
            return
        with self._lock:
            if not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            wakeups = dict.fromkeys([first, *self._rest()])
            self._logged_full = False
            self._fetch_waits = False  # a text that is stored from now on needs another one
            self._publish([wake for wake in wakeups if wake])
            if None in wakeups:
                return
            self._closed.wait(FETCH_EVERY)

    def _rest(self) -> list[tuple[str, int] | None]:
        """Take all that waits behind the first one."""
        return [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]

    def _publish(self, wakeups: list[tuple[str, int]]) -> None:
        try:
            with self._celery.producer_or_acquire() as producer:
                for task, row in wakeups:
                    what = {"args": (), "expires": EXPIRES} if task == FETCH else {"args": (row,)}
                    self._celery.send_task(task, **what, producer=producer, queue=queue_name(task), retry=False)
        except AWAY as error:
            log.warning("the broker is away (%s); the sweeper will send %s wake-ups", _why(error), len(wakeups))


def _why(error: Exception) -> str:
    """Return the reason without the broker's own words, which may contain its address."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted, see REDIS_TLS_VERIFY"
    return type(error).__name__

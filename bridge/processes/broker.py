"""The broker: how the processes of the Procfile reach one another. It carries rings and nothing that could be lost."""

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

log = logging.getLogger(__name__)

CLOCK_QUEUE = "bridge.clock"
"""Of the clock's calls: the sweep, which finds out what is stuck, must not wait behind what is not."""

PUBLISH_TIMEOUT = 2
"""Seconds for a connection or an answer. A broker that accepts and says nothing would hold a publisher for minutes."""

MAX_WAITING = 10_000
"""Rings kept while the broker hangs. What is beyond is brought by the sweeper."""

_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
"""Seconds, seconds, times and milliseconds: a host that vanished without a word is noticed after half a minute. The
last one is for who has just said something: while that is not acknowledged no keepalive is sent, and TCP would go on
trying for a quarter of an hour.
"""

REDIS_CONSUMER: dict[str, Any] = {
    # Else each message stays in Redis until it is acknowledged, and one whose acknowledgement fails counts as being
    # worked on for ever. When Redis restarts while all threads are busy, a worker would take nothing any more.
    "ack_emulation": False,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value for name, value in _KEEPALIVE.items() if hasattr(socket, name)
    },
}
"""A ring that is taken and lost is rung again by the sweeper: nothing has to be kept in Redis for that."""

AWAY = (KombuError, AMQPError, OSError)
"""How a broker that can't be used shows itself: away, hanging, full, or refusing our password."""


def queue_name(task: str) -> str:
    """Each step has a queue of its own, and a worker takes from all of them in turn.

    In one queue the answers of the agent would stand behind the texts of everybody who wrote meanwhile: after an hour
    without an agent the first person to be answered would wait until the last one's text was heard.
    """
    return f"bridge.{task}"


def queues(tasks: Iterable[str]) -> list[Queue]:
    """All that a worker of these steps takes from."""
    names = [CLOCK_QUEUE, *map(queue_name, tasks)]
    return [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in names]


def build_celery(url: str, verify: bool | str = False, **conf: Any) -> Celery:
    """A Celery app that talks JSON, keeps no results and leaves logging and signals of the process alone.

    ``verify`` is the setting REDIS_TLS_VERIFY. Where kombu is told nothing of TLS it checks nothing, and logs an error
    at every connection.
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
        broker_connection_max_retries=None,  # for ever: a worker that gives up is no help to anybody
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,  # on RabbitMQ a worker that reconnects would hang for minutes
        worker_enable_remote_control=False,  # its queue locks out a second worker of the same host on RabbitMQ
        **conf,
    )
    return app


def build_publisher(url: str, verify: bool | str = False) -> Celery:
    """The same for publishing only: it gives up quickly, because the sweeper rings again anyway."""
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
    """The same for a worker, which must come back by itself from whatever happens to the broker."""
    redis = url.startswith("redis")
    return build_celery(url, verify, broker_transport_options=REDIS_CONSUMER if redis else {}, **conf)


def tell_of_no_check(url: str, verify: bool | str = False) -> None:
    """For a front door: once, where others would say it at every connection."""
    tls = tls_of(url, verify)
    if tls and not tls.check:
        log.warning("the broker's certificate is not checked, as Heroku's can't be; REDIS_TLS_VERIFY has it checked")


class CeleryNotifier:
    """Publishes beside the caller: one thread takes everything that waits, over one connection.

    The thread starts with the first ring, so that a server which forks first has one in every process.
    """

    def __init__(self, url: str, verify: bool | str = False) -> None:
        self._celery = build_publisher(url, verify)
        self._waiting: queue.Queue[tuple[str, int] | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told_full = False

    def wake(self, task: str, row: int) -> None:
        self._start()
        try:
            self._waiting.put_nowait((task, row))
        except queue.Full:
            if not self._told_full:
                log.warning("too many rings wait for the broker; the sweeper will bring what comes now")
            self._told_full = True

    def reachable(self) -> bool:
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT)
        except AWAY:
            return False
        return True

    def backlog(self, task: str) -> int:
        # Not one of the pool's: kombu closes what has failed to publish, and puts it back there all the same.
        connection: Any
        with self._celery.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT)
                with connection.channel() as channel:
                    waiting: int = channel.queue_declare(queue_name(task), passive=True).message_count
            except (*AWAY, *connection.connection_errors, *connection.channel_errors):
                return 0  # also where the queue does not exist: on Redis that is an empty one
        return waiting

    def close(self) -> None:
        if self._thread:
            self._waiting.put(None)
            self._thread.join(2 * PUBLISH_TIMEOUT)
        self._celery.close()

    def _start(self) -> None:
        if self._thread and self._thread.is_alive():
            return
        with self._lock:
            if not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            wakeups = dict.fromkeys([first, *self._rest()])
            self._told_full = False
            self._publish([wake for wake in wakeups if wake])
            if None in wakeups:
                return

    def _rest(self) -> list[tuple[str, int] | None]:
        """All that waits behind the first one; a ring that waits twice is rung once."""
        return [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]

    def _publish(self, wakeups: list[tuple[str, int]]) -> None:
        try:
            with self._celery.producer_or_acquire() as producer:
                for task, row in wakeups:
                    self._celery.send_task(task, (row,), producer=producer, queue=queue_name(task), retry=False)
        except AWAY as error:
            log.warning("the broker is away (%s); the sweeper will bring %s rings", _why(error), len(wakeups))


def _why(error: Exception) -> str:
    """What the broker says may hold its address; so its words are not repeated."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted, see REDIS_TLS_VERIFY"
    return type(error).__name__

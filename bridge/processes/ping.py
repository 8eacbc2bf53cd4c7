"""A ping: a call that goes through the broker to any worker, and an answer that comes back the same way.

The one who asks reads a queue of its own. The call and an answer that comes too late expire. An answer carries no more
than a clock and a version.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from celery import Celery

from bridge import __version__
from bridge.doctor.context import BrokerAway, Pong
from bridge.processes.broker import AWAY, CLOCK_QUEUE, PUBLISH_TIMEOUT, build_publisher
from bridge.providers.http.client import read_json

log = logging.getLogger(__name__)

PING = "ping"
"""The name of the task."""

WITHIN = 5.0
"""Seconds to wait for the answer. An idle worker needs some milliseconds."""

EXPIRES = 30
"""Seconds until a call expires. Clocks may differ by seconds, and a worker whose clock is ahead must answer too."""

PAUSE = 0.02
"""Seconds between two reads of the answer."""

_ANSWERS = re.compile(r"bridge\.ping\.[0-9a-f]{32}")
"""The names of queues for answers. A worker answers to no other."""


def ask_worker(url: str, verify: bool | str = False, within: float = WITHIN) -> Pong | None:
    """Return the first worker's answer; ``None`` if there is none in time. Raise :class:`BrokerAway`."""
    app = build_publisher(url, verify)
    connection: Any
    try:
        with app.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=PUBLISH_TIMEOUT)
                return _asked(app, connection, within)
            except (*AWAY, *connection.connection_errors, *connection.channel_errors) as error:
                raise BrokerAway(type(error).__name__) from None  # its words may contain the address
    finally:
        app.close()


def _asked(app: Celery, connection: Any, within: float) -> Pong | None:
    name = f"bridge.ping.{uuid.uuid4().hex}"
    with connection.channel() as channel:
        # Exclusive: RabbitMQ deletes it with the connection, too. On Redis, the queue is a list, and none if empty.
        channel.queue_declare(name, durable=False, exclusive=True)
        try:
            app.send_task(PING, args=(name,), queue=CLOCK_QUEUE, expires=EXPIRES, retry=False, connection=connection)
            return _pong(_first(channel, name, time.monotonic() + within))
        finally:
            channel.queue_delete(name)


def _first(channel: Any, queue: str, until: float) -> object:
    """Return the first message's content; ``None`` if there is none until then."""
    while (message := channel.basic_get(queue, no_ack=True)) is None:
        if time.monotonic() > until:
            return None
        time.sleep(PAUSE)
    return read_json(message.body)


def _pong(payload: object) -> Pong | None:
    """Read the answer; ``None`` if it is none."""
    if not isinstance(payload, dict):
        return None
    try:
        return Pong(at=datetime.fromisoformat(payload["at"]), version=str(payload["version"]))
    except (KeyError, TypeError, ValueError):
        return None


def answering(url: str, verify: bool | str = False) -> Callable[[str], None]:
    """Return the task of a worker. Its connection has short timeouts, so a broker that hangs blocks no thread."""
    app = build_publisher(url, verify)

    def answer(name: str) -> None:
        if not _ANSWERS.fullmatch(name):
            return
        pong = {"at": datetime.now(UTC).isoformat(), "version": __version__}
        try:
            with app.producer_or_acquire() as producer:
                producer.publish(pong, exchange="", routing_key=name, serializer="json", retry=False, delivery_mode=1)
                _let_expire(producer.channel, name)
        except AWAY as error:
            log.warning("a ping could not be answered: %s", type(error).__name__)

    return answer


def _let_expire(channel: Any, name: str) -> None:
    """Let Redis forget an answer that nobody reads. RabbitMQ has dropped it, because the queue is gone."""
    client = getattr(channel, "client", None)
    if client is not None:
        client.expire(name, EXPIRES)

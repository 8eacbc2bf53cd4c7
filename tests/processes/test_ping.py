"""A ping goes through a real broker to a worker's task, and its answer comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from kombu import Connection as Broker

from bridge import __version__
from bridge.doctor.context import BrokerAway
from bridge.processes.broker import CLOCK_QUEUE
from bridge.processes.ping import EXPIRES, PING, answering, ask_worker
from testkit.waiting import PATIENCE
from tests.vendor import closed_port


class OneWorker:
    """It takes the next call from the clock's queue, and runs the task."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.message: Any = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> OneWorker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _work(self) -> None:
        until = time.monotonic() + PATIENCE
        with Broker(self._url) as broker, broker.channel() as channel:
            channel.queue_declare(CLOCK_QUEUE, durable=True, auto_delete=False)
            while self.message is None and time.monotonic() < until:
                self.message = channel.basic_get(CLOCK_QUEUE, no_ack=True)
        answering(self._url)(*json.loads(self.message.body)[0])


@pytest.fixture(autouse=True)
def _empty(broker_url: str) -> Iterator[None]:
    yield
    with Broker(broker_url) as broker, broker.channel() as channel:
        channel.queue_declare(CLOCK_QUEUE, durable=True, auto_delete=False)
        channel.queue_purge(CLOCK_QUEUE)


def test_a_worker_answers_with_its_clock_and_its_version(broker_url: str) -> None:
    with OneWorker(broker_url) as worker:
        pong = ask_worker(broker_url, within=PATIENCE)
    assert pong is not None
    assert pong.version == __version__
    assert abs(pong.at - datetime.now(UTC)) < timedelta(seconds=PATIENCE)
    assert worker.message.headers["task"] == PING
    assert worker.message.headers["expires"] is not None


def test_without_a_worker_nobody_answers(broker_url: str) -> None:
    assert ask_worker(broker_url, within=0.2) is None


def test_nothing_is_left_at_redis(redis_url: str) -> None:
    with OneWorker(redis_url):
        assert ask_worker(redis_url, within=PATIENCE)
    left = redis.Redis.from_url(redis_url).keys("*bridge.ping*")
    assert left == []


def test_an_answer_that_nobody_reads_expires(redis_url: str) -> None:
    name = "bridge.ping." + "a" * 32
    answering(redis_url)(name)
    client = redis.Redis.from_url(redis_url)
    assert client.llen(name) == 1
    assert 0 < client.ttl(name) <= EXPIRES


def test_a_late_answer_is_no_trouble_to_rabbitmq(rabbitmq_url: str) -> None:
    answering(rabbitmq_url)("bridge.ping." + "a" * 32)
    with OneWorker(rabbitmq_url):
        assert ask_worker(rabbitmq_url, within=PATIENCE)


def test_a_worker_answers_to_no_queue_of_another_name(redis_url: str) -> None:
    answering(redis_url)("bridge.end_chat")
    assert redis.Redis.from_url(redis_url).llen("bridge.end_chat") == 0


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_broker_that_refuses_is_told_without_its_address(kind: str) -> None:
    with pytest.raises(BrokerAway) as away:
        ask_worker(f"{kind}://somebody:not-to-be-shown@127.0.0.1:{closed_port()}", within=1)
    assert "not-to-be-shown" not in str(away.value)

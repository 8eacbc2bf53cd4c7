"""The notifier on real brokers, and on brokers that hang, refuse, lose their connections or have no room."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from kombu import Connection as Broker
from kombu.utils.url import parse_url
from sqlalchemy.engine import make_url

from bridge.processes.broker import (
    AWAY,
    FETCH,
    FETCH_EVERY,
    MAX_WAITING,
    PUBLISH_TIMEOUT,
    CeleryNotifier,
    build_consumer,
    queue_name,
)
from bridge.processes.dispatcher import LINGER
from bridge.queues.notifier import Notifier, NullNotifier
from testkit.waiting import until
from tests.vendor import closed_port

HERE = "127.0.0.1"

AT_ONCE = 0.5
"""Seconds. A wake-up takes microseconds; a machine that is busy may halt anything for a moment."""

A_FEW_SECONDS = 3 * PUBLISH_TIMEOUT

WakeUp = tuple[str, list[Any]]


class WakeUps:
    """What has arrived at the broker."""

    def __init__(self, url: str) -> None:
        self.messages: list[Any] = []
        self._url = url

    def __call__(self) -> list[WakeUp]:
        """All of it so far. Of one queue it is in order."""
        with Broker(self._url) as broker, broker.channel() as channel:
            for queue in map(queue_name, [FETCH, "end_chat"]):
                channel.queue_declare(queue, durable=True, auto_delete=False)
                self.messages += iter(lambda queue=queue: channel.basic_get(queue, no_ack=True), None)
        return [(message.headers["task"], json.loads(message.body)[0]) for message in self.messages]

    def until_there_are(self, how_many: int) -> list[WakeUp]:
        """All of it, once there is so much."""
        until(lambda: len(self()) >= how_many, f"{how_many} wake-ups have arrived")
        return self()


@pytest.fixture
def wakeups(broker_url: str) -> Iterator[WakeUps]:
    WakeUps(broker_url)()  # away with what others have left
    yield WakeUps(broker_url)
    WakeUps(broker_url)()


@contextmanager
def notifier_at(url: str) -> Iterator[CeleryNotifier]:
    notifier = CeleryNotifier(url)
    try:
        yield notifier
    finally:
        notifier.close()


class Gate:
    """A way to the broker that can be shut: connections are taken, and nothing goes through."""

    def __init__(self, url: str) -> None:
        parts = parse_url(url)
        self._broker = (parts["hostname"], parts["port"])
        self._open = threading.Event()
        self._server = socket.create_server((HERE, 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)
        self.url = make_url(url).set(host=HERE, port=self._server.getsockname()[1]).render_as_string(False)

    @property
    def besieged(self) -> bool:
        """Does anybody want to go through?"""
        return bool(self._sockets)

    def open(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """End all connections."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        """Nobody is let in any more, and who is in is thrown out."""
        with suppress(OSError):  # it is shut
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def close(self) -> None:
        self.open()
        self.shut()
        for thread in self._threads:
            thread.join()
        for end in (*self._sockets, self._server):
            end.close()

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                self._sockets.append(ours)
                self._open.wait()
                theirs = socket.create_connection(self._broker)
                self._sockets.append(theirs)
                self._spawn(_carry, ours, theirs)
                self._spawn(_carry, theirs, ours)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def gate(broker_url: str) -> Iterator[Gate]:
    gate = Gate(broker_url)
    yield gate
    gate.close()


@pytest.fixture(params=["redis", "amqp"])
def silent_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A broker that takes connections and never says a word."""
    with socket.create_server((HERE, 0)) as server:
        yield f"{request.param}://{HERE}:{server.getsockname()[1]}/0"


@pytest.fixture(params=["redis", "amqp"])
def refusing_url(request: pytest.FixtureRequest) -> str:
    """Nobody listens there."""
    return f"{request.param}://{HERE}:{closed_port()}/0"


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


# -- all is well ---------------------------------------------------------------------------------------------------


def test_a_wake_up_arrives_as_a_task_with_one_id_and_nothing_else(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        notifier.wake("end_chat", 17)
        until(wakeups, "the wake-up has arrived")
    [message] = wakeups.messages
    assert json.loads(message.body)[:2] == [[17], {}]
    assert message.content_type == "application/json"
    assert [message.headers[name] for name in ("task", "eta", "expires", "retries")] == ["end_chat", None, None, 0]


def test_wake_ups_arrive_in_order_also_those_of_the_last_moment(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        for row in range(100):
            notifier.wake("end_chat", row)
    assert wakeups.until_there_are(100) == [("end_chat", [row]) for row in range(100)]


def test_wake_ups_that_no_worker_has_taken_are_counted(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        assert notifier.backlog("end_chat") == 0
        for row in range(5):
            notifier.wake("end_chat", row)
        until(lambda: notifier.backlog("end_chat") == 5, "all of them wait")
        assert notifier.backlog(FETCH) == 0


def test_wake_ups_are_counted_again_after_an_outage(gate: Gate, wakeups: WakeUps) -> None:
    gate.open()
    with notifier_at(gate.url) as notifier:
        notifier.wake("end_chat", 1)
        until(lambda: notifier.backlog("end_chat") == 1, "it waits")
        gate.cut()
        notifier.wake("end_chat", 2)  # finds a connection that is gone
        until(lambda: notifier.backlog("end_chat") >= 1, "they are counted again")


def test_no_wake_up_is_counted_at_a_broker_of_no_use(silent_url: str, refusing_url: str) -> None:
    for url in (silent_url, refusing_url):
        with notifier_at(url) as notifier:
            assert seconds(lambda notifier=notifier: notifier.backlog("end_chat")) < A_FEW_SECONDS
            assert notifier.backlog("end_chat") == 0


def test_a_burst_for_the_same_row_is_one_wake_up(gate: Gate, wakeups: WakeUps) -> None:
    with notifier_at(gate.url) as notifier:
        notifier.wake("end_chat", 1)
        until(lambda: gate.besieged, "the notifier is on its way with the first one")
        for n in range(1000):
            for task, row in (("end_chat", 2), ("process_turns", n), ("process_deliveries", n), ("end_chat", 3)):
                notifier.wake(task, row)
        gate.open()
    assert sorted(wakeups.until_there_are(4)) == [
        ("end_chat", [1]),
        ("end_chat", [2]),
        ("end_chat", [3]),
        ("fetch", []),
    ]


def test_a_wake_up_for_a_queue_says_fetch_and_nothing_else(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        notifier.wake("process_turns", 17)
        until(wakeups, "the wake-up has arrived")
    [message] = wakeups.messages
    assert json.loads(message.body)[:2] == [[], {}]
    assert message.headers["task"] == FETCH
    assert "17" not in json.dumps({**message.headers, "origin": "", "id": "", "root_id": "", "expires": ""})


def test_a_worker_goes_on_looking_for_longer_than_wake_ups_are_apart() -> None:
    assert LINGER > 2 * FETCH_EVERY


def test_a_stream_of_texts_is_a_wake_up_every_quarter_of_a_second_at_most(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        began = time.monotonic()
        while time.monotonic() - began < 5 * FETCH_EVERY:
            notifier.wake("process_turns", 1)
        lasted = time.monotonic() - began
    assert 1 <= len(wakeups.until_there_are(1)) <= lasted / FETCH_EVERY + 2


def test_many_threads_wake_workers_over_one_connection(broker_url: str, wakeups: WakeUps) -> None:
    with notifier_at(broker_url) as notifier:
        threads = [threading.Thread(target=notifier.wake, args=("end_chat", row)) for row in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [thread.name for thread in threading.enumerate()].count("notifier") == 1
    assert sorted(wakeups.until_there_are(50)) == [("end_chat", [row]) for row in range(50)]


def test_a_broker_that_answers_is_reachable(broker_url: str) -> None:
    with notifier_at(broker_url) as notifier:
        assert notifier.reachable()


# -- all is not well -----------------------------------------------------------------------------------------------


def test_a_broker_that_never_answers_delays_no_caller(silent_url: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = CeleryNotifier(silent_url)
    assert seconds(lambda: [notifier.wake("end_chat", row) for row in range(100)]) < AT_ONCE
    assert seconds(lambda: notifier.wake("end_chat", 100)) < AT_ONCE
    assert seconds(notifier.close) < A_FEW_SECONDS
    until(lambda: "notifier" not in [thread.name for thread in threading.enumerate()], "the thread has ended")
    assert "the broker is away" in caplog.text


def test_a_broker_that_never_answers_is_soon_known_to_be_out_of_reach(silent_url: str) -> None:
    with notifier_at(silent_url) as notifier:
        assert seconds(lambda: notifier.reachable()) < A_FEW_SECONDS
        assert not notifier.reachable()


def test_a_broker_that_refuses_costs_a_warning_and_the_wake_ups(
    refusing_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = CeleryNotifier(refusing_url)
    assert not notifier.reachable()
    assert seconds(lambda: notifier.wake("end_chat", 1)) < AT_ONCE
    assert seconds(notifier.close) < A_FEW_SECONDS
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().endswith("the sweeper will send 1 wake-ups")


def test_wake_ups_that_no_worker_takes_do_not_fill_the_memory(
    silent_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with notifier_at(silent_url) as notifier:
        for row in range(2 * MAX_WAITING + 2):
            notifier.wake("end_chat", row)
    assert 1 <= caplog.text.count("too many wake-ups wait") <= 5  # once for each batch, and not for each wake-up


def test_a_worker_that_can_not_tell_redis_what_it_has_done_takes_more_all_the_same(redis_url: str) -> None:
    gate = Gate(redis_url)
    gate.open()
    try:
        with build_consumer(gate.url).connection_for_read() as connection, connection.channel() as channel:
            channel.basic_qos(0, 1, False)
            with notifier_at(gate.url) as notifier:
                notifier.wake("end_chat", 1)
            until(lambda: channel.basic_get(queue_name("end_chat")), "the wake-up was taken")
            assert not channel.qos.can_consume()
            [taken] = channel.qos._delivered.values()
            gate.shut()
            taken.ack_log_error(logging.getLogger(), AWAY)
            assert channel.qos.can_consume()
    finally:
        gate.close()


def test_a_broker_that_comes_back_gets_wake_ups_again(
    gate: Gate, wakeups: WakeUps, caplog: pytest.LogCaptureFixture
) -> None:
    with notifier_at(gate.url) as notifier:
        notifier.wake("end_chat", 1)
        until(lambda: "the broker is away" in caplog.text, "the wake-up was given up")
        gate.open()
        notifier.wake("end_chat", 2)
        until(lambda: ("end_chat", [2]) in wakeups(), "the next one has arrived")


def test_after_a_cut_the_notifier_connects_again(gate: Gate, wakeups: WakeUps) -> None:
    gate.open()
    with notifier_at(gate.url) as notifier:
        notifier.wake("end_chat", 1)
        until(wakeups, "the first wake-up has arrived")
        gate.cut()

        def woken_again() -> bool:
            notifier.wake("end_chat", 2)  # the first one after a cut may be lost on the way
            return ("end_chat", [2]) in wakeups()

        until(woken_again, "another wake-up has arrived")


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"database": "nowhere"}])
def test_a_broker_that_does_not_let_us_in_is_away(
    rabbitmq_url: str, wrong: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with notifier_at(make_url(rabbitmq_url).set(**wrong).render_as_string(False)) as notifier:
        assert not notifier.reachable()
        for row in (1, 2):
            notifier.wake("end_chat", row)
            until(lambda row=row: caplog.text.count("the broker is away") == row, "it has tried, each time")


@pytest.fixture
def full_url(redis_url: str) -> Iterator[str]:
    """A Redis that lets us in and takes nothing any more, as one does that has no memory left."""
    user = f"bridge-test-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser(user, enabled=True, passwords="+full", keys="*", channels="*", commands=["+@all", "-lpush"])
        yield make_url(redis_url).set(username=user, password="full").render_as_string(False)
        client.acl_deluser(user)


def test_a_broker_that_takes_nothing_is_away(full_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with notifier_at(full_url) as notifier:
        assert notifier.reachable()
        for row in (1, 2):
            notifier.wake("end_chat", row)
            until(lambda row=row: caplog.text.count("the broker is away") == row, "it has tried, each time")


# -- notifiers that send nothing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("notifier", [NullNotifier(), CeleryNotifier("redis://nobody.invalid:1")])
def test_a_notifier_that_was_never_used_needs_no_broker(notifier: Notifier) -> None:
    assert seconds(notifier.close) < AT_ONCE


def test_the_null_notifier_wakes_no_worker() -> None:
    notifier = NullNotifier()
    notifier.wake("end_chat", 1)
    assert not notifier.reachable()

"""The pool of connections: first come, first served."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.util.queue import Empty, Full

from bridge.db.engine import build_engine
from bridge.db.fair_pool import FairPool, InOrder
from testkit.waiting import until


class Line:
    """Some who wait for a connection, one behind the other, and what they get."""

    def __init__(self) -> None:
        self.queue = InOrder(2)
        self.got: list[tuple[str, str]] = []
        self.threads: list[threading.Thread] = []

    def wait(self, name: str, timeout: float = 10) -> None:
        before = self.queue.waiting
        self.begin(lambda: self.got.append((name, self.queue.get(timeout=timeout))))
        until(lambda: self.queue.waiting == before + 1, f"{name} waits")

    def begin(self, work: Callable[[], Any]) -> None:
        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def end(self) -> None:
        for thread in self.threads:
            thread.join()


def test_who_has_waited_goes_before_who_has_just_given_it_back() -> None:
    line = Line()
    line.wait("ann")
    line.queue.put("connection")
    with pytest.raises(Empty):
        line.queue.get(block=False)
    line.end()
    assert line.got == [("ann", "connection")]


def test_those_who_wait_are_served_in_the_order_in_which_they_came() -> None:
    line = Line()
    for name in ("ann", "bob", "cid"):
        line.wait(name)
    for connection in ("1", "2", "3"):
        line.queue.put(connection)
    line.end()
    assert sorted(line.got) == [("ann", "1"), ("bob", "2"), ("cid", "3")]


def test_a_thread_that_has_waited_too_long_leaves_and_no_connection_is_lost() -> None:
    queue = InOrder(1)
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    queue.put("connection")
    assert queue.get(block=False) == "connection"


def test_there_are_no_more_than_fit() -> None:
    queue = InOrder(1)
    assert queue.empty()
    queue.put("connection")
    assert (queue.full(), queue.qsize()) == (True, 1)
    with pytest.raises(Full):
        queue.put("another")


def test_sqlite_has_one_connection_for_all_threads_and_every_one_gets_it(sqlite_url: str) -> None:
    engine = build_engine(sqlite_url)
    done: list[int] = []

    def work(n: int) -> None:
        for _ in range(20):
            with engine.begin() as connection:
                done.append(connection.scalar(text("SELECT :n"), {"n": n}) or 0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(engine.pool, FairPool)
    assert (engine.pool.size(), engine.pool.checkedin(), engine.pool.checkedout()) == (1, 1, 0)
    assert sorted(done) == sorted(20 * list(range(1, 9)))
    engine.dispose()


def test_a_connection_that_comes_back_to_a_pool_that_was_disposed_of_is_closed(postgresql_url: str) -> None:
    """A thread may still be at work when its process or its test ends."""
    engine = build_engine(postgresql_url)
    connection = engine.connect()
    own: Any = connection.connection.dbapi_connection
    engine.dispose()
    assert not own.closed
    connection.close()
    assert own.closed
    engine.dispose()

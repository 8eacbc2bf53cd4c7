"""The door to the database: what it does when the other side says nothing, and what SQLite needs."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bridge.db import AWAY, Sessions, build_engine, build_sessions
from bridge.models import Conversation
from bridge.postgres import IDLE_TIMEOUT
from tests.fakes import FakeClock


def test_a_server_that_does_not_answer_is_not_waited_for(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url, silence=0.3)
    began = time.monotonic()
    with pytest.raises(AWAY, match="does not answer"), engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(10)"))
    assert time.monotonic() - began < 5
    with engine.connect() as connection:  # the pool has thrown the silent one away
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_errors_do_not_show_what_was_to_be_stored(sessions: Sessions) -> None:
    with pytest.raises(Exception, match="conversations") as caught, sessions.begin() as session:
        session.add(Conversation(bridge_number="+15550001111", phone=None, created_at=FakeClock()()))
    assert "+15550001111" not in str(caught.value).split("DETAIL")[0]


def test_a_moment_keeps_its_zone(sessions: Sessions) -> None:
    now = FakeClock()()
    with sessions.begin() as session:
        session.add(Conversation(bridge_number="+1", phone="+2", created_at=now))
    with sessions() as session:
        assert session.query(Conversation).one().created_at == now


def test_a_moment_without_a_zone_is_refused(sessions: Sessions) -> None:
    naive = FakeClock()().replace(tzinfo=None)
    with pytest.raises(Exception, match="without a time zone"), sessions.begin() as session:
        session.add(Conversation(bridge_number="+1", phone="+2", created_at=naive))


def test_two_writers_on_sqlite_wait_for_each_other(sqlite_url: str) -> None:
    """Each has an engine of its own, as two processes have: the threads of one share its connection."""
    failures: list[OperationalError] = []

    def write(n: int) -> None:
        engine = build_engine(sqlite_url)
        try:
            for m in range(10):
                with build_sessions(engine).begin() as session:
                    session.query(Conversation).count()
                    session.add(Conversation(bridge_number=f"+{n}", phone=f"+{m}", created_at=FakeClock()()))
        except OperationalError as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_who_is_halted_in_the_middle_of_a_transaction_does_not_keep_its_locks(postgresql_url: str) -> None:
    engine = build_engine(postgresql_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == f"{IDLE_TIMEOUT}s" == "15s"
    engine.dispose()

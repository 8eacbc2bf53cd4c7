"""The engine: a database that does not answer, and the needs of SQLite."""

from __future__ import annotations

import socketserver
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bridge.config import SettingsError
from bridge.db.engine import AWAY, Sessions, build_engine, build_sessions, must_fit, unfit
from bridge.db.models import Conversation
from bridge.db.postgres import IDLE_TIMEOUT, fault_of_server
from tests.fakes import FakeClock
from tests.vendor import closed_port


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


# -- a server that will not do -------------------------------------------------------------------------------------

CANNOT_STORE = "can't store all that people write"
TOO_OLD = "too old; the bridge needs 12 or newer"


@pytest.mark.parametrize(
    ("encoding", "version", "words"),
    [
        ("UTF8", 150004, None),
        ("UTF8", 120000, None),
        (None, 180001, None),  # a pooler may not tell
        ("UTF8", 0, None),
        ("SQL_ASCII", 150004, f"in the encoding SQL_ASCII, which {CANNOT_STORE}"),
        ("LATIN1", 150004, CANNOT_STORE),
        ("LATIN9", 150004, CANNOT_STORE),
        ("WIN1252", 150004, CANNOT_STORE),
        ("EUC_JP", 180000, CANNOT_STORE),
        ("UTF8", 110022, f"leads to PostgreSQL 11, which is {TOO_OLD}"),
        ("UTF8", 90624, f"leads to PostgreSQL 9.6, which is {TOO_OLD}"),
        ("LATIN1", 90406, f"leads to PostgreSQL 9.4, which is {TOO_OLD}"),
    ],
)
def test_a_server_that_will_not_do_is_told_in_a_sentence(encoding: str | None, version: int, words: str | None) -> None:
    fault = fault_of_server(encoding, version)
    assert fault is None if words is None else words in str(fault)


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"])
def narrow_url(postgres: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that can't store what people write."""
    with postgres.database(f"ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C'") as url:
        yield url


def test_a_narrow_database_takes_nothing(narrow_url: str) -> None:
    engine = build_engine(narrow_url)
    with pytest.raises(AWAY, match=CANNOT_STORE) as caught:
        engine.connect()
    assert CANNOT_STORE in str(unfit(caught.value))
    with pytest.raises(SettingsError, match=f"^DATABASE_URL leads to a database in the encoding .*{CANNOT_STORE}"):
        must_fit(narrow_url)
    engine.dispose()


def test_a_database_that_is_away_may_come_back(silent_database: str) -> None:
    must_fit(f"postgresql+psycopg://somebody@127.0.0.1:{closed_port()}/nothing")
    must_fit(silent_database)
    assert unfit(OSError()) is None


@pytest.fixture
def old_server() -> Iterator[str]:
    """Says that it is PostgreSQL 9.6, and nothing more."""
    told = {"server_version": "9.6.24", "server_encoding": "UTF8", "client_encoding": "UTF8"}
    hello = [(b"R", struct.pack("!i", 0)), *((b"S", f"{k}\0{v}\0".encode()) for k, v in told.items())]
    hello += [(b"K", struct.pack("!ii", 1, 1)), (b"Z", b"I")]
    answer = b"".join(kind + struct.pack("!i", 4 + len(body)) + body for kind, body in hello)

    class Greets(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while header := self.rfile.read(8):
                length, code = struct.unpack("!ii", header)
                self.rfile.read(length - 8)
                self.wfile.write(answer if code == 196608 else b"N")  # version 3.0 of the protocol; else: no TLS here
                if code == 196608:
                    self.rfile.read()
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greets) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"postgresql+psycopg://somebody@127.0.0.1:{server.server_address[1]}/nothing"
        server.shutdown()
        thread.join()


def test_a_server_that_is_too_old_is_told_at_the_start(old_server: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL leads to PostgreSQL 9\.6, which is too old"):
        must_fit(old_server)


def test_sqlite_is_fit(sqlite_url: str) -> None:
    must_fit(sqlite_url)


def test_sqlite_that_is_too_old_is_told_at_the_start(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(SettingsError, match=r"^SQLite is 3\.34\.1 here, which is too old; it must be 3\.35 or newer$"):
        must_fit(sqlite_url)

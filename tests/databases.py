"""Transactions for tests: at a moment of their own, and with commits that fail when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from bridge.db.engine import build_engine
from bridge.db.models import Base
from bridge.db.sealing import NO_KEYS, Keyring
from bridge.db.transaction import Database, Sessions, Transaction, Wake

EMPTIED = [table.name for table in reversed(Base.metadata.sorted_tables)]
"""All tables, each before those to which its rows refer."""

FILLED = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in EMPTIED)
"""Most tables are empty, so one question costs less than a statement for each."""

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def no_wakeups(task: str, row: int) -> None:
    """For tests that ask for no worker."""


def database(
    sessions: Sessions,
    now: Callable[[], datetime] = lambda: NOON,
    wake: Wake = no_wakeups,
    commit: Callable[[Connection], None] = Connection.commit,
) -> Database:
    return Database(sessions.kw["bind"], wake, now, commit=commit)


@contextmanager
def never_flushed(file: Path, keyring: Keyring = NO_KEYS) -> Iterator[Engine]:
    """Yield an engine on a new SQLite file with the tables, for tests in which processes die, and no machine does."""
    engine = build_engine(f"sqlite:///{file}", keyring=keyring)

    @event.listens_for(engine, "connect")
    def _never_flush(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def empty(connection: Connection, *kept: str) -> None:
    """Delete all rows but those of the tables that are kept. SQLite's next rows are numbered from 1 again."""
    filled = set(connection.exec_driver_sql(FILLED).scalars()) - set(kept)
    for name in EMPTIED:
        if name in filled:
            connection.exec_driver_sql(f"DELETE FROM {name}")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_sequence")


@contextmanager
def transaction(sessions: Sessions, now: datetime = NOON) -> Iterator[Transaction]:
    with database(sessions, lambda: now).transaction() as tx:
        yield tx


class Unsteady:
    """Commits of a database that goes away in the middle of some of them."""

    def __init__(self) -> None:
        self.left = 0
        """Commits that are yet to fail."""
        self._done = False

    def fails(self, *, times: int, done: bool) -> None:
        """The next commits fail; the last of them after it was carried out, where it is ``done``."""
        self.left, self._done = times, done

    def commit(self, connection: Connection) -> None:
        if not self.left:
            connection.commit()
            return
        self.left -= 1
        if self._done and not self.left:
            connection.commit()
        raise OperationalError("COMMIT", None, Exception("the connection is gone"))


def away(sessions: Sessions, *at: int, now: Callable[[], datetime], wake: Wake = no_wakeups) -> Database:
    """Return a database that can't be reached at some calls, counted from 1."""
    return Database(_Away(sessions.kw["bind"], *at), wake, now)  # type: ignore[arg-type]


class _Away:
    """An engine whose connection can't be had at some calls, counted from 1."""

    def __init__(self, engine: Engine, *at: int) -> None:
        self._engine = engine
        self._at = at
        self._calls = 0

    def connect(self) -> Connection:
        self._calls += 1
        if self._calls in self._at:
            raise OperationalError("SELECT 1", {}, Exception("the database restarts"))
        return self._engine.connect()

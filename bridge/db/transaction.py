"""Transactions: the only way to write, and the wake-ups that follow a commit.

A wake-up before its commit would be wasted: the worker would find nothing to do. So a transaction collects its wake-ups
and sends them once it is committed, or once the outcome of the commit is unknown. A wake-up too many does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, sessionmaker

from bridge.db.engine import AWAY, build_sessions
from bridge.db.sealing import Keyring, keyring_of

Sessions = sessionmaker[Session]

Wake = Callable[[str, int], None]
"""Wake a worker for a task and the id of a row. It returns immediately and never raises."""


class Transaction:
    """One open transaction: its connection, its moment, and what follows the commit."""

    def __init__(self, connection: Connection, sessions: Sessions, now: datetime) -> None:
        self.connection = connection
        self.now = now
        """When it began."""
        self._sessions = sessions
        self._session: Session | None = None
        self._wakeups: list[tuple[str, int]] = []

    @property
    def session(self) -> Session:
        """Return the session. It is made at first use, because batches of plain SQL need none."""
        if self._session is None:
            self._session = self._sessions(bind=self.connection)
        return self._session

    @property
    def keyring(self) -> Keyring:
        """Return what seals and opens the words in plain SQL. The session's types do so by themselves."""
        return keyring_of(self.connection.dialect)

    def wake(self, task: str, row: int) -> None:
        """Wake a worker for this row after the commit."""
        self._wakeups.append((task, row))

    def roll_back(self) -> None:
        """Undo everything, wake-ups included. The block may go on to read, and ends without a commit."""
        if self._session:
            self._session.rollback()
        self.connection.rollback()
        self._wakeups.clear()

    def flush(self) -> None:
        """Write what the session has not written yet."""
        if self._session:
            self._session.flush()

    def close(self) -> None:
        """Let the session go. Its rows can still be read."""
        if self._session:
            self._session.close()

    def send_wakeups(self, wake: Wake) -> None:
        """Send what was collected, in order, each once."""
        for task, row in dict.fromkeys(self._wakeups):
            wake(task, row)


class Database:
    """Transactions and reads on one engine."""

    def __init__(
        self,
        engine: Engine,
        wake: Wake,
        now: Callable[[], datetime],
        *,
        commit: Callable[[Connection], None] = Connection.commit,
    ) -> None:
        self.engine = engine
        self._sessions = build_sessions(engine)
        self._wake = wake
        self._now = now
        self._commit = commit
        """The seam at which tests let a process die, or a database go away."""

    @property
    def keyring(self) -> Keyring:
        """Return the keys of the engine."""
        return keyring_of(self.engine.dialect)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what the block has done, then send its wake-ups. An error in the block undoes all of it."""
        with self.engine.connect() as connection:
            connection.begin()
            tx = Transaction(connection, self._sessions, self._now())
            try:
                yield tx
                tx.flush()
                self._commit_or_wake(tx)
            finally:
                tx.close()
        tx.send_wakeups(self._wake)

    def _commit_or_wake(self, tx: Transaction) -> None:
        try:
            self._commit(tx.connection)
        except AWAY:  # it may be committed all the same
            tx.send_wakeups(self._wake)
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading. Nothing of it is committed."""
        with self.engine.connect() as connection, self._sessions(bind=connection) as session:
            yield session

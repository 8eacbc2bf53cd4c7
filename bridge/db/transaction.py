"""Transactions: the only way to write, and the wake-ups that follow a commit.

A wake-up before its commit would be wasted: the worker would find nothing to do. So a transaction collects its wake-ups
and sends them once it is committed, or once the outcome of the commit is unknown. A wake-up too many does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from bridge.db.engine import AWAY

Sessions = sessionmaker[Session]

Wake = Callable[[str, int], None]
"""Wake a worker for a task and the id of a row. It returns immediately and never raises."""


class Transaction:
    """One open transaction: its session, its moment, and what follows the commit."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        """When it began."""
        self._wakeups: list[tuple[str, int]] = []

    def wake(self, task: str, row: int) -> None:
        """Wake a worker for this row after the commit."""
        self._wakeups.append((task, row))

    def roll_back(self) -> None:
        """Undo everything, wake-ups included. The block may go on to read, and ends without a commit."""
        self.session.rollback()
        self._wakeups.clear()

    def send_wakeups(self, wake: Wake) -> None:
        """Send what was collected, in order, each once."""
        for task, row in dict.fromkeys(self._wakeups):
            wake(task, row)


class Database:
    """Transactions and reads on one engine."""

    def __init__(
        self,
        sessions: Sessions,
        wake: Wake,
        now: Callable[[], datetime],
        *,
        commit: Callable[[Session], None] = Session.commit,
    ) -> None:
        self._sessions = sessions
        self._wake = wake
        self._now = now
        self._commit = commit
        """The seam at which tests let a process die, or a database go away."""

    @property
    def engine(self) -> Engine:
        engine: Engine = self._sessions.kw["bind"]
        return engine

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what the block has done, then send its wake-ups. An error in the block undoes all of it."""
        with self._sessions() as session:
            tx = Transaction(session, self._now())
            yield tx
            try:
                self._commit(session)
            except AWAY:  # it may be committed all the same
                tx.send_wakeups(self._wake)
                raise
        tx.send_wakeups(self._wake)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading. Nothing of it is committed."""
        with self._sessions() as session:
            yield session

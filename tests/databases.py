"""Transactions for tests: at a moment of their own, and with commits that fail when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bridge.db.transaction import Database, Sessions, Transaction, Wake

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def no_wakeups(task: str, row: int) -> None:
    """For tests that ask for no worker."""


def database(
    sessions: Sessions,
    now: Callable[[], datetime] = lambda: NOON,
    wake: Wake = no_wakeups,
    commit: Callable[[Session], None] = Session.commit,
) -> Database:
    return Database(sessions, wake, now, commit=commit)


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

    def commit(self, session: Session) -> None:
        if not self.left:
            session.commit()
            return
        self.left -= 1
        if self._done and not self.left:
            session.commit()
        raise OperationalError("COMMIT", None, Exception("the connection is gone"))


class Away:
    """Sessions that can't be had at some calls, counted from 1."""

    def __init__(self, sessions: Sessions, *at: int) -> None:
        self._sessions = sessions
        self._at = at
        self._calls = 0

    def __call__(self) -> Session:
        self._calls += 1
        if self._calls in self._at:
            raise OperationalError("SELECT 1", {}, Exception("the database restarts"))
        return self._sessions()

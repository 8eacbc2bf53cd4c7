"""A database whose commits fail when they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bridge.db.engine import Sessions


class Unsteady:
    """Sessions of a database that goes away in the middle of some commits."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._done = False
        self.left = 0
        """Commits that are yet to fail."""

    def fails(self, *, times: int, done: bool) -> None:
        """The next commits fail; the last of them having been carried out, where it is ``done``."""
        self.left, self._done = times, done

    def __call__(self) -> Session:
        return self._sessions()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions() as session:
            yield session
            if not self.left:
                session.commit()
                return
            self.left -= 1
            if self._done and not self.left:
                session.commit()
        raise OperationalError("COMMIT", None, Exception("the connection is gone"))

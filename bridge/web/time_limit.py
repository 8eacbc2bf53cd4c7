"""The limit on a request's wait for the database. Twilio gets a 503 in time, whatever the database does.

A silent server, an exhausted pool and a locked file each have their own timeout, and one request can meet several of
them. So the work runs beside the request, and the request waits only so long. Work that ends later does no harm:
Twilio's next attempt finds the text stored.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from sqlalchemy.exc import TimeoutError as DatabaseTimeout

from bridge.config import WEB_THREADS

WITHIN = 1.8
"""Seconds until the answer is 503. A commit takes milliseconds."""

T = TypeVar("T")


class InTime:
    """Run work with a limit on the wait for it.

    There are as many threads as request threads, so no request waits for a thread while the database answers.
    """

    def __init__(self, within: float = WITHIN, threads: int = WEB_THREADS) -> None:
        self._within = within
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="in-time")  # starts no thread before a fork

    def __call__(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``. Raise one of :data:`bridge.db.engine.AWAY` if it takes too long."""
        done = self._pool.submit(copy_context().run, work)  # what the work logs has the request's id
        try:
            return done.result(self._within)
        except TimeoutError:
            done.cancel()
            raise DatabaseTimeout("the database takes too long") from None

"""A bound on what a request waits for: Twilio is told 503 while it still listens, whatever the database does.

A server that is silent, a pool without a free connection and a file that somebody has locked each have their own
patience, and a request can meet several of them. So the work is done beside the request, and the request waits only
so long. Work that is done later than that does no harm: Twilio's next try finds the text stored.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.exc import TimeoutError as DatabaseTimeout

from bridge.config import WEB_THREADS

WITHIN = 1.8
"""Seconds until the answer is 503. A commit takes milliseconds."""

T = TypeVar("T")


class InTime:
    """Runs work with a bound on the wait for it.

    On as many threads as answer requests: nobody waits for one as long as the database answers.
    """

    def __init__(self, within: float = WITHIN, threads: int = WEB_THREADS) -> None:
        self._within = within
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="in-time")  # begins no thread before a fork

    def __call__(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises; one of :data:`bridge.db.engine.AWAY` where it takes too long."""
        done = self._pool.submit(work)
        try:
            return done.result(self._within)
        except TimeoutError:
            done.cancel()
            raise DatabaseTimeout("the database takes too long") from None

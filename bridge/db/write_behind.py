"""Write-behind: requests whose sender waits for no result are written together, a moment later, by one thread.

It is for news that may be learnt again, such as how far a text has come. A process that is killed loses what came in
the last moment. What a person has written never goes this way.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from bridge.db.engine import AWAY

log = logging.getLogger(__name__)

EVERY = 0.2
"""Seconds between two batches, and so the age of what a killed process loses."""

AT_MOST = 200
"""Requests in one batch. A longer one would hold its locks for long."""

MOST_WAITING = 10_000
"""Requests that may wait while the database is away. The next one is refused."""

Q = TypeVar("Q")


class WriteBehind(Generic[Q]):
    """One stage of one process. Its thread starts with the first request, so it is safe before a fork."""

    def __init__(self, name: str, write: Callable[[Sequence[Q]], object], *, every: float = EVERY) -> None:
        self._name = name
        self._write = write
        self._every = every
        self._lock = threading.Lock()
        self._waiting: deque[Q] = deque()
        self._come = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_away = False

    def add(self, request: Q) -> bool:
        """Write the request soon. Return False if too many wait, or after the end: then the caller must write it."""
        with self._lock:
            if self._closing.is_set() or len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        if not self._come.is_set():
            self._come.set()
        return True

    def close(self) -> None:
        """Write what waits, and end. While the database is away, what waits is lost."""
        with self._lock:
            self._closing.set()
            self._come.set()
        if self._thread:
            self._thread.join()
        if self._waiting:
            log.error("%s: %s requests are lost, because the database is away", self._name, len(self._waiting))

    def _run(self) -> None:
        closing = False
        while not closing:
            self._come.wait()
            closing = self._closing.wait(self._every)
            self._come.clear()
            self._write_all()

    def _write_all(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, AT_MOST))
            if not self._written(batch):
                self._come.set()
                return
            for _ in batch:
                self._waiting.popleft()

    def _written(self, batch: Sequence[Q]) -> bool:
        """Write the batch. Return False if the database is away. A faulty request harms none of the others."""
        try:
            self._write(batch)
        except AWAY as error:
            if not self._is_away:
                log.warning("%s: requests wait for the database: %s", self._name, type(error).__name__)
            self._is_away = True
            return False
        except Exception:
            if len(batch) > 1:
                return all(self._written([request]) for request in batch)
            log.exception("%s: a request can't be written", self._name)
        self._is_away = False
        return True

"""The courier. It runs jobs in the background: each queue in order, some jobs with a delay.

A text's webhook must not overtake an earlier one from the same phone. Two phones do not wait for each other.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

log = logging.getLogger(__name__)

Job = Callable[[], None]


class Courier:
    """A few threads. They start with the first job and are gone after :meth:`stop`."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._lock = threading.Lock()
        self._ready_changed = threading.Condition(self._lock)
        self._later_changed = threading.Condition(self._lock)
        self._queues: dict[Hashable, deque[tuple[float, Job]]] = {}
        self._ready: deque[Hashable] = deque()
        self._later: list[tuple[float, int, Hashable]] = []
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._workers = 0
        self._idle = 0
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Return True if a job waits or runs."""
        return bool(self._queues)

    def post(self, queue: Hashable, job: Job, delay: float = 0.0) -> None:
        """Run ``job`` after all earlier jobs of ``queue``, and ``delay`` seconds after that."""
        with self._lock:
            if self._stopping:
                return
            jobs = self._queues.setdefault(queue, deque())
            jobs.append((delay, job))
            if len(jobs) == 1:
                self._schedule(queue, delay)

    def stop(self) -> None:
        """Drop the waiting jobs, and return when no job runs any more."""
        with self._lock:
            self._stopping = True
            self._ready_changed.notify_all()
            self._later_changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._lock:
            self._queues.clear()
            self._ready.clear()
            self._later.clear()
            self._threads.clear()
            self._workers = 0
            self._stopping = False

    def _schedule(self, queue: Hashable, delay: float) -> None:
        if delay > 0:
            heapq.heappush(self._later, (time.monotonic() + delay, next(self._numbers), queue))
            self._later_changed.notify()
        else:
            self._ready.append(queue)
            self._ready_changed.notify()
        self._hire()

    def _hire(self) -> None:
        if not self._threads:
            self._start(self._watch_the_clock)
        if self._workers < self._most and self._idle < len(self._ready) + 1:
            self._workers += 1
            self._start(self._work)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="simulator-courier", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch_the_clock(self) -> None:
        with self._lock:
            while not self._stopping:
                wait = self._later[0][0] - time.monotonic() if self._later else None
                if wait is None or wait > 0:
                    self._later_changed.wait(wait)
                    continue
                self._ready.append(heapq.heappop(self._later)[2])
                self._ready_changed.notify()

    def _work(self) -> None:
        while (following := self._take()) is not None:
            queue, job = following
            try:
                job()
            except Exception:
                log.exception("a job of the simulator failed")
            self._done(queue)

    def _take(self) -> tuple[Hashable, Job] | None:
        with self._lock:
            self._idle += 1
            self._ready_changed.wait_for(lambda: self._ready or self._stopping)
            self._idle -= 1
            if self._stopping:
                return None
            queue = self._ready.popleft()
            return queue, self._queues[queue][0][1]

    def _done(self, queue: Hashable) -> None:
        with self._lock:
            jobs = self._queues[queue]
            jobs.popleft()
            if jobs:
                self._schedule(queue, jobs[0][0])
            else:
                del self._queues[queue]
